from itertools import permutations

import numpy as np
import pytest

from rambo.utility.latent_ot import set_distances


def test_equally_large_sets_are_matched_as_well_as_any_order_can():
    """Uniform weights on n and n points: an optimal plan is a matching (Birkhoff), here the best of all 24."""
    features = np.random.default_rng(0).normal(size=(9, 3)).astype(np.float32)
    members = np.zeros((2, 9), dtype=bool)
    members[0, [0, 2, 4, 6]] = members[1, [1, 2, 5, 8]] = True
    first, second = (features[row].astype(float) for row in members)
    best = min(((first - second[list(order)]) ** 2).sum(axis=1).mean() for order in permutations(range(4)))
    found = set_distances(features, members, members)
    assert found[0, 1] == pytest.approx(best)
    assert found[1, 0] == pytest.approx(best)
    assert np.diag(found) == pytest.approx([0, 0], abs=1e-9)


def test_a_set_moved_as_a_whole_is_as_far_as_it_was_moved():
    """W² of a set and its translate is the square of the shift, whatever the set."""
    features = np.random.default_rng(1).normal(size=(5, 4)).astype(np.float32)
    shift = np.array([1.0, -2.0, 0.0, 0.5], dtype=np.float32)
    both = np.concatenate([features, features + shift])
    members = np.arange(10)[None] < 5
    assert set_distances(both, members, ~members)[0, 0] == pytest.approx(5.25, rel=1e-5)


def test_one_image_is_reached_from_all():
    features = np.array([[0.0], [1.0], [3.0]], dtype=np.float32)
    everything, last = np.ones((1, 3), dtype=bool), np.array([[False, False, True]])
    assert set_distances(features, everything, last)[0, 0] == pytest.approx((9 + 4 + 0) / 3)
