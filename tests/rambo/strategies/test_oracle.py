"""Oracles over made-up utilities: what they pick is known by hand."""

import numpy as np
import pytest
from stand_ins import request_over

from rambo.strategies.greedy import MarginFilter
from rambo.strategies.measured import MeasuredScores
from rambo.strategies.oracle import select_by_measuring


def worth(sets):
    """A set is worth the sum of its images."""
    return np.array([float(images.sum()) for images in sets])


@pytest.mark.parametrize("grant", ["measured", "marginally_measured"])
def test_the_batch_that_is_worth_most_is_taken_each_time(grant):
    granted = {grant: lambda labelled, reachable: MeasuredScores(labelled, worth)}
    request = request_over(
        num_images=12, budget=4, margins=np.linspace(0, 1, 17), num_candidates=6, in_batches=True, granted=granted
    )
    picks = select_by_measuring(request, np.random.default_rng(0))
    generator, filtered = np.random.default_rng(0), MarginFilter(request)
    for iteration in range(2):
        batches = filtered.propose(generator)
        best = batches[int(np.argmax(batches.sum(axis=1)))]
        assert set(picks.indices[picks.iterations == iteration]) == set(best)
        filtered.take(best)
    assert set(picks.indices) <= set(request.pool.unlabelled[:8]), "candidates are those of the margin filter"
