from dataclasses import replace
from itertools import combinations, pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from stand_ins import Told

from rambo.strategies import coreset
from rambo.strategies.coreset import distance_to_nearest, pick_farthest, select_coreset


def distances(points, centres):
    """(n, m) by the definition, in float64."""
    return np.sqrt(((np.float64(points)[:, None] - np.float64(centres)[None]) ** 2).sum(axis=-1))


def radius(points, centres):
    """How far the farthest of `points` lies from its nearest centre."""
    return distances(points, centres).min(axis=1).max()


def picked(points, centres, num_picks):
    return pick_farthest(torch.tensor(points), torch.tensor(centres), num_picks).tolist()


@st.composite
def planes(draw, most=12):
    """Points and centres on a small grid, where many coincide and many are equally far, or anywhere."""
    generator = np.random.default_rng(draw(st.integers(0, 10**6)))
    shape, count = (draw(st.integers(3, most)), 2), draw(st.integers(1, 3))
    if draw(st.booleans()):
        return generator.integers(0, 4, shape).astype(np.float32), generator.integers(0, 4, (count, 2)).astype("f4")
    return generator.standard_normal(shape, dtype=np.float32), generator.standard_normal((count, 2), dtype=np.float32)


@given(planes())
def test_each_pick_is_the_farthest_from_all_before_it(drawn):
    points, centres = drawn
    picks, radii = picked(points, centres, len(points)), []
    for number, pick in enumerate(picks):
        before = np.concatenate([centres, points[picks[:number]]])
        away = distances(points, before).min(axis=1)
        others = np.delete(away, picks[:number])
        assert away[pick] == pytest.approx(others.max(), abs=1e-6)
        radii.append(away[pick])
    assert all(later <= earlier + 1e-6 for earlier, later in pairwise(radii)), "radii never rise"
    assert sorted(picks) == list(range(len(points))), "each once"


@given(planes(), st.integers(1, 3))
def test_the_radius_is_at_most_twice_the_best(drawn, num_picks):
    points, centres = drawn
    ours = radius(points, np.concatenate([centres, points[picked(points, centres, num_picks)]]))
    best = min(
        radius(points, np.concatenate([centres, points[list(chosen)]]))
        for chosen in combinations(range(len(points)), num_picks)
    )
    assert ours <= 2 * best + 1e-6


def test_what_is_labelled_repels():
    """Without the labelled points at both ends the first pick would be an end."""
    points = np.array([[0.0], [1], [5], [9], [10]], dtype=np.float32)
    assert picked(points, np.array([[0.0], [10]], dtype=np.float32), 2) == [2, 1]
    assert picked(points, np.array([[0.0]], dtype=np.float32), 2) == [4, 2]


def test_copies_are_never_picked_twice_while_others_are_left():
    points = np.repeat(np.array([[0.1, 0.7], [3.3, 1.1], [9.7, 4.2]], dtype=np.float32), 50, axis=0)
    picks = picked(points, np.array([[100.0, 0.0]], dtype=np.float32), 60)
    assert {pick // 50 for pick in picks[:3]} == {0, 1, 2}
    assert len(set(picks)) == 60


def test_where_all_distances_are_zero_each_is_picked_once_by_index():
    points = np.full((7, 3), 0.3, dtype=np.float32)
    assert picked(points, points[:2], 7) == list(range(7))


def test_copies_are_at_no_distance_however_large_their_features():
    """By a product of matrices rounding would put them apart."""
    points = torch.from_numpy(np.random.default_rng(0).standard_normal((30, 84), dtype=np.float32) * 1e3)
    assert distance_to_nearest(points, points[7:8])[7] == 0
    assert (distance_to_nearest(points, points) == 0).all()


@pytest.mark.parametrize("block", [1, 40, 10**6])
def test_distances_do_not_depend_on_the_size_of_the_blocks(monkeypatch, block):
    generator = np.random.default_rng(0)
    points, centres = generator.standard_normal((25, 6)), generator.standard_normal((4, 6))
    monkeypatch.setattr(coreset, "BLOCK", block)
    found = distance_to_nearest(torch.from_numpy(points), torch.from_numpy(centres)).numpy()
    assert np.allclose(found, distances(points, centres).min(axis=1), atol=1e-9)


def test_a_request_is_answered_in_features_around_all_that_is_labelled(request_for_forty):
    pool = request_for_forty.pool
    features = np.random.default_rng(3).standard_normal((len(pool.labels), 5), dtype=np.float32)
    told = Told(np.full((len(features), 10), 0.1), features)
    picks = select_coreset(replace(request_for_forty, scout=told), np.random.default_rng(0))
    expected, centres = [], list(pool.labelled)
    for _ in range(40):
        away = distances(features[pool.unlabelled], features[centres]).min(axis=1)
        expected.append(int(pool.unlabelled[away.argmax()]))
        centres.append(expected[-1])
    assert picks.indices.tolist() == expected
