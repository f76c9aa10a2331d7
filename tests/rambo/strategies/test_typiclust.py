import warnings
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from rambo.strategies import typiclust
from rambo.strategies.request import Request
from rambo.strategies.typiclust import Crowd, cluster, in_order, pick_typical, select_typical

CROSS = [(1.0, 0.0), (-1.0, 0.0), (0.0, 0.0), (0.0, 1.0), (0.0, -1.0), (4.0, 4.0), (-4.0, 4.0)]
"""The third is the most typical: three neighbours at distance 1."""


def generator(seed=0):
    return np.random.default_rng(seed)


def crosses(*centres):
    return torch.tensor([(x + a, y + b) for x, y in centres for a, b in CROSS])


def pick(features, clusters, num_labelled, budget, seed=0):
    return pick_typical(features, np.array(clusters), num_labelled, budget, generator(seed)).tolist()


def most_typical(rows, left):
    """From all distances one by one."""
    typicality = {}
    for place in left:
        distances = sorted(float(np.linalg.norm(rows[place] - rows[other])) for other in left if other != place)
        nearest = distances[: min(20, len(left) // 2)]
        typicality[place] = 1 / np.mean(nearest) if nearest else 0.0
    return max(left, key=typicality.__getitem__)


@pytest.mark.parametrize("num", [1, 2, 3, 5, 30, 75])
def test_each_pick_is_the_most_typical_of_what_is_left(num):
    rows = generator(num).normal(size=(num, 4)).astype(np.float32)
    crowd, left = Crowd(torch.from_numpy(rows), np.arange(num), generator()), list(range(num))
    while left:
        assert len(crowd) == len(left)
        expected = most_typical(rows, left)
        assert crowd.take() == expected
        left.remove(expected)
    assert len(crowd) == 0


def test_the_middle_of_each_blob_is_picked():
    far = crosses((0, 0), (100, 0), (0, 100))
    assert pick(far, np.repeat([0, 1, 2], 7), 0, 3) == [2, 9, 16]


def test_neighbours_are_the_unlabelled_alone():
    """Labelled images crowd around the last of the cross, which is no reason to label it."""
    crowd = torch.tensor([(-4.0, 4.0 + n / 100) for n in range(1, 9)])
    assert pick(torch.cat([crowd, crosses((0, 0))]), [0] * 15, 8, 1) == [8 + 2]


def test_clusters_with_few_labels_come_first_then_large_ones():
    clusters = np.array([0, 0, 1, 4] + [0] * 20 + [1] * 6 + [2] * 7 + [3] * 8 + [4] * 9 + [5] * 5)
    visited, waiting = in_order(clusters, 4)
    assert visited == [3, 2, 4, 1, 0], "without labels 3 and 2, with one 4 and 1, with two 0"
    assert waiting == [5]


def test_a_cluster_s_size_counts_its_labels_too():
    assert in_order(np.array([0] * 3 + [1] * 3 + [0] * 3 + [1] * 2), 6) == ([0], [1])


def test_clusters_are_visited_by_turns_and_each_visit_picks_the_most_typical_of_what_is_left():
    features, left = crosses((0, 0), (100, 0)), {0: list(range(7, 14)), 1: list(range(7))}
    picks = pick(features, np.repeat([1, 0], 7), 0, 6)
    for number, place in enumerate(picks):
        assert place == most_typical(features.numpy(), left[number % 2])
        left[number % 2].remove(place)


def test_an_emptied_cluster_is_passed_over():
    """The first has one unlabelled image, the second three, the last a hundred."""
    clusters = np.array([0] * 5 + [1] * 5 + [2] * 5 + [0] + [1] * 3 + [2] * 100)
    features = torch.from_numpy(generator().normal(size=(119, 2)).astype(np.float32))
    visited = clusters[pick(features, clusters, 15, 20)].tolist()
    assert visited == [2, 1, 0, 2, 1, 2, 1, *[2] * 13]


def test_tiny_clusters_wait_until_nothing_else_is_left():
    clusters = np.array([1] * 5 + [0] * 7 + [2] * 3)
    features = torch.from_numpy(generator().normal(size=(15, 2)).astype(np.float32))
    picks = pick(features, clusters, 0, 15)
    assert sorted(picks) == list(range(15))
    assert clusters[picks].tolist() == [*[0] * 7, 1, 2, 1, 2, 1, 2, 1, 1]


def test_where_all_clusters_are_tiny_all_are_visited():
    features = torch.from_numpy(generator().normal(size=(9, 2)).astype(np.float32))
    clusters = np.array([0, 0, 0, 1, 1, 1, 1, 2, 2])
    assert clusters[pick(features, clusters, 0, 6)].tolist() == [1, 0, 2, 1, 0, 2]


def test_equal_images_are_picked_once_each():
    assert sorted(pick(torch.ones(12, 3), [0] * 12, 2, 10)) == list(range(2, 12))


def test_in_a_crowd_a_sample_is_compared(monkeypatch):
    monkeypatch.setattr(typiclust, "MOST_COMPARED", 25)
    features = torch.from_numpy(generator().normal(size=(200, 2)).astype(np.float32))
    picks = pick(features, [0] * 200, 0, 50)
    assert len(set(picks)) == 50
    assert picks == pick(features, [0] * 200, 0, 50)
    assert picks != pick(features, [0] * 200, 0, 50, seed=1)


@pytest.mark.parametrize("num_blobs", [3, 60])
def test_blobs_are_found(num_blobs):
    """By k-means and by its form for many clusters."""
    blob = np.repeat(np.arange(num_blobs), 20)
    centres = 100 * generator(1).normal(size=(num_blobs, 8))
    rows = (centres[blob] + 0.01 * generator(2).normal(size=(len(blob), 8))).astype(np.float32)
    found = cluster(rows, num_blobs, generator())
    assert all(len(set(found[blob == one])) == 1 for one in range(num_blobs))
    assert len(set(found)) >= 0.9 * num_blobs
    assert found.tolist() == cluster(rows, num_blobs, generator()).tolist()


@pytest.mark.parametrize("num_clusters", [5, 60])
def test_equal_rows_are_no_reason_for_a_warning(num_clusters):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = cluster(np.ones((60, 3), dtype=np.float32), num_clusters, generator())
    assert len(set(found)) == 1


class Directions:
    """A classifier whose features tell image i's direction at any length, and nothing else."""

    device = torch.device("cpu")

    def __init__(self, angles):
        self.rows = np.stack([np.cos(angles), np.sin(angles)], axis=1)
        self.rows = (self.rows * generator(5).uniform(0.1, 10, (len(angles), 1))).astype(np.float32)

    def features(self, indices):
        return self.rows[indices]


def test_what_is_asked_of_f_and_of_the_pool():
    """Six directions, two of which have a label: the four others are picked from first, and lengths do not count."""
    angles = np.concatenate([one + 0.01 * np.array([-2, -1, 0, 1, 2, 30]) for one in range(6)])
    pool = SimpleNamespace(labelled=np.array([0, 6]), unlabelled=np.setdiff1d(np.arange(36), [0, 6]))
    request = Request(pool=pool, scout=Directions(angles), budget=4, batch_size=1, num_candidates=4)
    picks = select_typical(request, generator()).indices
    assert sorted(picks // 6) == [2, 3, 4, 5]
    assert (picks % 6 != 5).all(), "the outlier of each direction is not typical"
    whole = Request(pool=pool, scout=Directions(angles), budget=34, batch_size=1, num_candidates=4)
    assert sorted(select_typical(whole, generator()).indices) == pool.unlabelled.tolist()


def test_successive_rounds_visit_the_same_order():
    clusters = np.repeat(np.arange(4), [9, 8, 7, 6])
    features = torch.from_numpy(generator().normal(size=(30, 2)).astype(np.float32))
    visited = clusters[pick(features, clusters, 0, 12)].tolist()
    assert all(first == second for first, second in pairwise([visited[:4], visited[4:8], visited[8:]]))
