"""TypiClust (Hacohen, Dekel and Weinshall, 2022): the most typical image of each cluster, one cluster after another.

Labelled and unlabelled images are clustered by their features, scaled to length 1, into K = min(|L| + B, 500) clusters.
Clusters with few labels come first, then large ones; those of at most 5 images wait until all others are empty. Each
visit picks the unlabelled image of the largest typicality among those left:

    typicality(x) = 1 / (mean Euclidean distance to its min(20, n/2) nearest of the cluster's n unlabelled images)

Of a cluster with n > 2000 these are 2000 images, drawn uniformly and anew after each 20 picks: where features have
collapsed into one cluster the cost would else be O(N²).
"""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import chain, islice

import numpy as np
import torch
from jaxtyping import Float
from threadpoolctl import threadpool_limits
from torch import Tensor

from rambo.arrays import Features, Indices
from rambo.data.features import l2_normalise
from rambo.strategies.request import Request, Selection
from rambo.training.trainer import single_thread

MOST_CLUSTERS = 500
"""K at most."""

TINY_CLUSTER = 5
"""Images, labelled or not, up to which a cluster waits."""

NUM_NEIGHBOURS = 20
"""Neighbours that typicality is measured by, at most."""

MOST_AT_ONCE = 50
"""Clusters up to which every step of k-means looks at all images."""

MINI_BATCH = 5000
"""Images a step above that."""

SPARE = 20
"""Neighbours that are listed beyond those, so that a cluster's images are compared once for so many picks."""

MOST_COMPARED = 2000
"""Images of a cluster that are compared with each other: 32 MB of distances."""


def cluster(features: Features, num_clusters: int, generator: np.random.Generator) -> Indices:
    """(n,) clusters of features (n, d) by k-means; equal rows may leave some of the K empty."""
    from sklearn.cluster import KMeans, MiniBatchKMeans
    from sklearn.exceptions import ConvergenceWarning

    kind = KMeans if num_clusters <= MOST_AT_ONCE else partial(MiniBatchKMeans, batch_size=MINI_BATCH)
    means = kind(n_clusters=num_clusters, n_init=1, random_state=int(generator.integers(2**31)))
    with threadpool_limits(1), warnings.catch_warnings():  # one thread: sums in one order, however many cores there are
        warnings.simplefilter("ignore", ConvergenceWarning)  # said of equal rows
        clusters: Indices = means.fit_predict(features).astype(np.int64)
    return clusters


class Crowd:
    """The unlabelled images of one cluster, as they are picked."""

    def __init__(self, features: Float[Tensor, "n d"], rows: Indices, generator: np.random.Generator) -> None:
        """`rows` of `features` are the cluster's; `generator` draws whom to compare where they are many."""
        self._features, self._left, self._generator = features, rows, generator
        self._num_taken = 0

    def __len__(self) -> int:
        return len(self._left)

    def take(self) -> int:
        """The row of the most typical, which is left no more; of equals the first."""
        if self._num_taken % SPARE == 0:
            self._compare()
        place = int(self._typicality().argmax())
        self._there[place] = False
        self._num_taken += 1
        row = int(self._compared[place])
        self._left = self._left[self._left != row]
        return row

    def _typicality(self) -> Tensor:
        """Of those that are compared; −1 for those that have left, inf for one alone."""
        there = self._there[self._nearest]
        num_neighbours = min(NUM_NEIGHBOURS, max(int(self._there.sum()) // 2, 1))
        counted = there & (there.cumsum(dim=1) <= num_neighbours)
        means = torch.where(counted, self._distances, 0).sum(dim=1) / num_neighbours
        return torch.where(self._there, 1 / means, -1)

    def _compare(self) -> None:
        self._compared = _at_most(MOST_COMPARED, self._left, self._generator)
        exact = self._features[self._compared].double()  # in single precision equal rows would be some 1e-4 apart
        distances = torch.cdist(exact, exact).fill_diagonal_(torch.inf)
        listed = distances.topk(min(NUM_NEIGHBOURS + SPARE, len(exact) - 1), largest=False)
        self._distances, self._nearest = listed.values.float(), listed.indices.int()
        self._there = torch.ones(len(exact), dtype=torch.bool, device=exact.device)


def in_order(clusters: Indices, num_labelled: int) -> tuple[list[int], list[int]]:
    """The clusters by (labels, −size), apart from each other those that are visited and the tiny ones that wait.

    `clusters` (n,) are those of n images, the first `num_labelled` of which are labelled.
    """
    sizes = np.bincount(clusters)
    labels = np.bincount(clusters[:num_labelled], minlength=len(sizes))
    ordered = np.lexsort((-sizes, labels)).tolist()
    return [one for one in ordered if sizes[one] > TINY_CLUSTER], [one for one in ordered if sizes[one] <= TINY_CLUSTER]


def pick_typical(
    features: Float[Tensor, "n d"], clusters: Indices, num_labelled: int, budget: int, generator: np.random.Generator
) -> Indices:
    """(budget,) rows of the unlabelled among `features`, the first `num_labelled` of which are labelled."""
    order = in_order(clusters, num_labelled)
    unlabelled = np.arange(num_labelled, len(clusters))
    crowds = {one: Crowd(features, unlabelled[clusters[num_labelled:] == one], generator) for one in chain(*order)}
    return np.array([crowds[visited].take() for visited in islice(_turns(order, crowds), budget)])


def select_typical(request: Request, generator: np.random.Generator) -> Selection:
    """B images in the order of the visits; of equally typical ones the first."""
    labelled, unlabelled = request.pool.labelled, request.pool.unlabelled
    features = l2_normalise(request.classifier.features(np.concatenate([labelled, unlabelled])))
    clusters = cluster(features, min(len(labelled) + request.budget, MOST_CLUSTERS), generator)
    with single_thread(), torch.inference_mode():
        on_device = torch.from_numpy(features).to(request.classifier.device)
        rows = pick_typical(on_device, clusters, len(labelled), request.budget, generator)
    return Selection.at_once(unlabelled[rows - len(labelled)])


def _turns(order: Sequence[Sequence[int]], left: Mapping[int, Crowd]) -> Iterator[int]:
    """Visits, round after round, to those that have anything left; the next group once one has nothing."""
    for group in order:
        while any(len(left[one]) for one in group):
            yield from (one for one in group if len(left[one]))


def _at_most(num: int, rows: Indices, generator: np.random.Generator) -> Indices:
    return rows if len(rows) <= num else np.sort(generator.choice(rows, num, replace=False))
