from dataclasses import replace

import numpy as np
from stand_ins import Told

from rambo.strategies.least_confidence import select_least_confidence
from rambo.strategies.request import by_margin


def asked(request, probabilities):
    told = Told(probabilities, np.zeros((len(probabilities), 1)))
    return replace(request, scout=told)


def test_the_smallest_top_probabilities_come_first_and_equals_by_index(request_for_forty):
    """A dozen different predictions, each of many images."""
    kinds = np.random.default_rng(1).dirichlet(np.ones(10), size=12)
    request = asked(request_for_forty, kinds[np.arange(len(request_for_forty.pool.labels)) % 12])
    expected = sorted(request.pool.unlabelled, key=lambda index: (max(kinds[index % 12]), index))
    picks = select_least_confidence(request, np.random.default_rng(0))
    assert picks.indices.tolist() == expected[:40]


def test_the_second_class_does_not_count(request_for_forty):
    """Of .5 and .45 the margin is small, of .4 and .1 the confidence."""
    total, pool = len(request_for_forty.pool.labels), request_for_forty.pool.unlabelled
    close, low = [0.5, 0.45, 0.05, *[0] * 7], [0.4, *[0.6 / 9] * 9]
    request = asked(request_for_forty, np.array([close if index in pool[40:] else low for index in range(total)]))
    assert select_least_confidence(request, np.random.default_rng(0)).indices.tolist() == pool[:40].tolist()
    assert not set(by_margin(request)[:40]) & set(pool[:40])
