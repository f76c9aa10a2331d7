"""Optimal-transport distance between a labelled set and S_val: the regularising target of û (Definition 3).

The distance of a set ξ is the exact earth mover's distance (POT's network simplex) between uniform weights on ξ and on
S_val under the label-aware ground cost of dataset distances (Alvarez-Melis and Fusi, 2020; LAVA):

    cost(z, y; z', y') = ‖z − z'‖² / (2s) + W[y, y'] / (2s)

z are L2-normalised features that never change (pixels, or a frozen network's), W the squared 2-Wasserstein distance
between the classes seen as Gaussians, s the median of ‖z − z'‖² over S_0 x S_val. W and s come from S_0 ∪ S_val, once a
split. Deviation[dataset-distance]: that pooling, the scaling by s and the shrunk covariances are ours; the paper names
the distance alone. Where half of those pairs are an image and its copy (black frames, a camera that sees nothing move),
the median is 0 or what rounding has left of it; s is then the median over the images that differ.
"""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

import numpy as np
import scipy.linalg
from threadpoolctl import threadpool_limits

from rambo.arrays import Features, Floats, Indices, Members
from rambo.progress import Progress
from rambo.store import Store

OT_VERSION = 1
"""Raise by hand when the distance changes what it computes. Part of every key."""


COPIES = 1e-6
"""Squared distances up to this share of their mean are those of copies: a grey level of one pixel is more in all but
the largest images, and a unit as small would make millions of every other distance."""

ROUNDING = 1e-12
"""The same of images that are all alike: what rounding leaves of 0 between features of length 1."""


@dataclass(frozen=True, eq=False)
class OTProblem:
    """What the OT distances of one split depend on; a set is named by its members among the k seed images."""

    fingerprint: str
    feature_id: str
    seed_set: Indices
    seed_labels: Indices
    seed_features: Features
    """(k, d), L2-normalised."""
    validation: Indices
    validation_labels: Indices
    validation_features: Features
    """(v, d), L2-normalised."""

    def key(self, members: Members) -> str:
        """32 hex digits that name the distance of the set with `members` (k,)."""
        digest = hashlib.sha256(self._common)
        digest.update(self.seed_set[members].astype("<i8").tobytes())
        return digest.hexdigest()[:32]

    @cached_property
    def _common(self) -> bytes:
        digest = hashlib.sha256(repr((self.fingerprint, self.feature_id, OT_VERSION)).encode())
        for part in (self.seed_set, self.seed_labels, self.validation, self.validation_labels):
            digest.update(part.astype("<i8").tobytes())
        return digest.digest()

    @cached_property
    def ground_cost(self) -> Floats:
        """(k, v) cost between each seed image and each validation image."""
        features = np.concatenate([self.seed_features, self.validation_features])
        labels = np.concatenate([self.seed_labels, self.validation_labels])
        between = class_distances(features, labels, int(labels.max()) + 1)
        feature_cost = squared_distances(self.seed_features, self.validation_features)
        pairs = between[np.ix_(self.seed_labels, self.validation_labels)]
        return (feature_cost + pairs) / (2 * typical_cost(feature_cost))

    def distance(self, members: Members) -> float:
        """OT(ξ, S_val) for the set ξ with `members` (k,), in units of the median feature cost."""
        return exact_distance(self.ground_cost[members])


def measure_ot(problem: OTProblem, members: Members, store: Store, progress: Progress) -> Floats:
    """(s,) distances of the sets with `members` (s, k); those that the store lacks are computed and kept."""
    missing = missing_ot(problem, members, store)
    computed: dict[str, float] = {}
    with progress.task("OT distances", len(missing)) as advance:
        for row in missing:
            computed[problem.key(row)] = problem.distance(row)
            advance(1)
    store.put_ot_values(computed)
    keys = [problem.key(row) for row in members]
    known = store.ot_values(keys)
    return np.array([known[key] for key in keys], dtype=np.float64)


def missing_ot(problem: OTProblem, members: Members, store: Store) -> Members:
    """Those rows of `members` (s, k) whose distance the store lacks, each once."""
    absent = list(missing_ot_by_key(problem, members, store).values())
    return np.array(absent, dtype=bool).reshape(-1, members.shape[-1])


def missing_ot_by_key(problem: OTProblem, members: Members, store: Store) -> dict[str, Members]:
    """The same rows (k,) by the key of each."""
    by_key = {problem.key(row): row for row in members}
    known = store.ot_values(list(by_key))
    return {key: row for key, row in by_key.items() if key not in known}


def exact_distance(cost: Floats) -> float:
    """Earth mover's distance between uniform weights on the rows and on the columns of `cost` (n, m).

    Raises `RuntimeError` where the network simplex does not end at an optimum.

    >>> exact_distance(np.array([[0.0, 1.0], [1.0, 0.0]]))
    0.0
    """
    import ot  # imports torch: seconds that a store hit does not need

    rows, columns = cost.shape
    value, log = ot.emd2(np.full(rows, 1 / rows), np.full(columns, 1 / columns), cost, numItermax=10_000_000, log=True)
    if log["warning"] is not None:
        raise RuntimeError(f"The OT solver must end at an optimum, got: {log['warning']}")
    return float(value)


def squared_distances(first: Features, second: Features) -> Floats:
    """(n, m) squared Euclidean distances between the rows of (n, d) and of (m, d)."""
    a, b = first.astype(np.float64), second.astype(np.float64)
    squares = (a**2).sum(1)[:, None] + (b**2).sum(1)[None, :] - 2 * a @ b.T
    return np.maximum(squares, 0)


def typical_cost(costs: Floats) -> float:
    """s: the median of squared distances between features of length 1, never 0 or what rounding leaves of it.

    Where copies are half of all pairs or more it is the median over the others; 1 where there are no others.

    >>> typical_cost(np.array([0.2, 0.4, 0.9])), typical_cost(np.array([0.0, 0.0, 0.9])), typical_cost(np.zeros(3))
    (0.4, 0.9, 1.0)
    """
    median, of_copies = float(np.median(costs)), max(COPIES * float(costs.mean()), ROUNDING)
    if median > of_copies:
        return median
    apart = costs[costs > of_copies]
    return float(np.median(apart)) if len(apart) else 1.0


def class_distances(features: Features, labels: Indices, num_classes: int) -> Floats:
    """(C, C) squared 2-Wasserstein distances between the classes as Gaussians.

    W²(i, j) = ‖m_i − m_j‖² + tr Σ_i + tr Σ_j − 2 tr (Σ_i^½ Σ_j Σ_i^½)^½, with covariances shrunk by Ledoit and Wolf.
    Classes without an image have distance 0 to all: no entry of the ground cost reads them.
    """
    present = [label for label in range(num_classes) if (labels == label).any()]
    with threadpool_limits(1, user_api="blas"):  # sums in one order, however many cores there are
        classes = {label: _Gaussian.of(features[labels == label]) for label in present}
        distances = np.zeros((num_classes, num_classes))
        for i, j in combinations(present, 2):
            distances[i, j] = distances[j, i] = _gaussian_distance(classes[i], classes[j])
    return distances


@dataclass(frozen=True, eq=False)
class _Gaussian:
    """Mean m and covariance Σ = RᵀR + floor · I of n images: R (n, d) is thin, so that Σ (d, d) need not be formed."""

    mean: Floats
    root: Floats
    floor: float

    @classmethod
    def of(cls, features: Features) -> "_Gaussian":
        from sklearn.covariance import ledoit_wolf_shrinkage

        mean = features.mean(axis=0, dtype=np.float64)
        centred = features - mean
        if len(features) < 2:  # one image has no spread to estimate
            return cls(mean, centred, 0.0)
        shrinkage = float(ledoit_wolf_shrinkage(centred, assume_centered=True))
        variance = float((centred**2).sum()) / len(features) / features.shape[1]
        return cls(mean, centred * np.sqrt((1 - shrinkage) / len(features)), shrinkage * variance)

    @property
    def trace(self) -> float:
        return float((self.root**2).sum()) + self.floor * self.root.shape[1]

    def within(self, basis: Floats) -> Floats:
        """Σ in the coordinates of an orthonormal `basis` (d, r)."""
        projected = self.root @ basis
        return projected.T @ projected + self.floor * np.eye(basis.shape[1])


def _gaussian_distance(first: _Gaussian, second: _Gaussian) -> float:
    """W² of two Gaussians.

    Outside the span of both classes' images, r of d dimensions, either covariance is its floor times the identity, so
    the last trace is that of r x r matrices plus (d − r) √(floor_i · floor_j).
    """
    spanned = np.concatenate([first.root, second.root])
    num_dimensions = spanned.shape[1]
    basis = np.linalg.qr(spanned.T)[0] if len(spanned) < num_dimensions else np.eye(num_dimensions)
    root = _symmetric_root(first.within(basis))
    inside = scipy.linalg.eigvalsh(root @ second.within(basis) @ root)
    outside = (num_dimensions - basis.shape[1]) * np.sqrt(first.floor * second.floor)
    overlap = np.sqrt(np.maximum(inside, 0)).sum() + outside
    squared = ((first.mean - second.mean) ** 2).sum() + first.trace + second.trace - 2 * overlap
    return float(max(squared, 0.0))


def _symmetric_root(matrix: Floats) -> Floats:
    values, vectors = scipy.linalg.eigh(matrix)
    return (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
