"""Utility samples drawn by structure (in no paper), so that û learns of sets such as strategies propose.

Sets drawn uniformly from S_0 are much alike: û never sees a set of near duplicates, or one of hard images. Here each
set of a pair follows one of three laws, drawn for each set: *margin* (images near the border between two classes),
*balanced* (as many of each class as there are) or *clustered* (the neighbours of one image). All follow from the pixels
and labels of S_0, so the sets are named before anything is trained.
"""

from collections.abc import Callable

import numpy as np

from rambo.arrays import Features, Floats, Indices, Labels, Members
from rambo.utility.pairs import set_ids, size_range

Law = Callable[[int, np.random.Generator], Indices]
"""(size, generator) -> positions (size,) of different seed images."""


def draw_structured_pairs(
    features: Features,
    labels: Labels,
    num_pairs: int,
    generator: np.random.Generator,
    *,
    num_classes: int,
    exclude: frozenset[bytes] = frozenset(),
) -> Members:
    """Members (num_pairs, 2, k) of pairs of equally large, different sets of the k images.

    `features` (k, d) and `labels` (k,) are those of S_0. Sizes follow the law of uniform pairs; sets whose packed row
    is in `exclude` are drawn again.
    """
    laws = (_margin_law(class_margins(features, labels)), _balanced_law(labels), _clustered_law(features))
    low, high = size_range(len(labels), num_classes)
    members = np.zeros((num_pairs, 2, len(labels)), dtype=bool)
    for pair in members:
        size = int(generator.integers(low, high + 1))
        while np.array_equal(pair[0], pair[1]) or not exclude.isdisjoint(set_ids(pair)):
            pair[:] = False
            for row in pair:
                row[laws[int(generator.integers(len(laws)))](size, generator)] = True
    return members


def class_margins(features: Features, labels: Labels) -> Floats:
    """(k,) how much nearer each image is to the mean of its own class's others than to the nearest other class's mean.

    An image that is alone in its class has margin −∞: nothing of its class is near.
    """
    distances = _distances_to_means(features.astype(np.float64), labels)
    own = distances[np.arange(len(labels)), labels]
    distances[np.arange(len(labels)), labels] = np.inf
    margins: Floats = distances.min(axis=1) - own
    return margins


def _distances_to_means(features: Floats, labels: Labels) -> Floats:
    """(k, C) distances to class means, an image's own mean being that of the others."""
    one_hot = (labels[:, None] == np.arange(labels.max() + 1)).astype(np.float64)
    sums, counts = one_hot.T @ features, one_hot.sum(axis=0)
    distances = np.full(one_hot.shape, np.inf)
    for label in np.flatnonzero(counts):
        mine = labels == label
        distances[~mine, label] = np.linalg.norm(features[~mine] - sums[label] / counts[label], axis=1)
        if counts[label] > 1:
            others = (sums[label] - features[mine]) / (counts[label] - 1)
            distances[mine, label] = np.linalg.norm(features[mine] - others, axis=1)
    return distances


def _margin_law(margins: Floats) -> Law:
    """Of the smallest margins twice as many as wanted, or as leave half of the others out, at random."""
    order = np.argsort(margins, kind="stable")
    return lambda size, generator: generator.choice(
        order[: min(2 * size, (size + len(order)) // 2)], size, replace=False
    )


def _balanced_law(labels: Labels) -> Law:
    """Classes take turns, each giving its images in random order while it has any."""

    def draw(size: int, generator: np.random.Generator) -> Indices:
        shuffled = generator.permutation(len(labels))
        turn = np.empty(len(labels), dtype=np.int64)
        for label in np.unique(labels):
            mine = np.flatnonzero(labels[shuffled] == label)
            turn[mine] = np.arange(len(mine))
        return shuffled[np.argsort(turn, kind="stable")[:size]]

    return draw


def _clustered_law(features: Features) -> Law:
    """A random image and the ones nearest to it."""

    def draw(size: int, generator: np.random.Generator) -> Indices:
        centre = features[int(generator.integers(len(features)))].astype(np.float64)
        distances = np.linalg.norm(features.astype(np.float64) - centre, axis=1)
        return np.argsort(distances, kind="stable")[:size]

    return draw
