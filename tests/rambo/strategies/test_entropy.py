from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import entropy
from stand_ins import Told

from rambo.strategies.entropy import entropies, select_entropy
from rambo.strategies.request import by_margin


def test_entropies_are_those_of_an_independent_library():
    rows = np.random.default_rng(0).dirichlet(np.full(10, 0.2), size=50).astype(np.float32)
    assert np.allclose(entropies(rows), entropy(rows, axis=1), atol=1e-6)


def test_certainty_has_none_and_indifference_the_logarithm_of_the_classes():
    assert entropies(np.eye(4, dtype=np.float32)).tolist() == [0, 0, 0, 0]
    assert entropies(np.full((1, 4), 0.25, dtype=np.float32))[0] == pytest.approx(np.log(4))


def test_the_most_even_predictions_come_first_and_equals_by_index(request_for_forty):
    """A dozen different predictions, each of many images."""
    everyone = np.arange(len(request_for_forty.pool.labels))
    kinds = np.random.default_rng(1).dirichlet(np.ones(10), size=12)
    told = Told(kinds[everyone % 12], np.zeros((len(everyone), 1)))
    spread = entropy(kinds, axis=1)
    expected = sorted(request_for_forty.pool.unlabelled, key=lambda index: (-spread[index % 12], index))
    picks = select_entropy(replace(request_for_forty, scout=told), np.random.default_rng(0))
    assert picks.indices.tolist() == expected[:40]


def test_all_classes_count_and_not_the_first_two_alone(request_for_forty):
    """Twice .4 is nearer to a tie than .5 and the rest shared out, and of smaller entropy."""
    total, pool = len(request_for_forty.pool.labels), request_for_forty.pool.unlabelled
    tied, shared = [0.4, 0.4, 0.2, *[0] * 7], [0.5, *[0.5 / 9] * 9]
    probabilities = np.array([tied if index in pool[40:] else shared for index in range(total)])
    request = replace(request_for_forty, scout=Told(probabilities, np.zeros((total, 1))))
    assert select_entropy(request, np.random.default_rng(0)).indices.tolist() == pool[:40].tolist()
    assert not set(by_margin(request)[:40]) & set(pool[:40])
