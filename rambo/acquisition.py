"""One-round acquisition: what every strategy is asked and answers, and Greedy-Margin (Algorithm 2).

A strategy sees a `Request` and a generator of its own; no label of an unlabelled image is within its reach.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from rambo.errors import require
from rambo.pool import Indices, Pool
from rambo.training import FittedClassifier

Floats = NDArray[np.float32]


class SetScorer(Protocol):
    """û as acquisition needs it: features of images, and scores of sets from the mean of their features."""

    def image_features(self, indices: Indices) -> Floats:
        """(n, d) features φ of images."""
        ...

    def score_pooled(self, pooled: Floats) -> Floats:
        """(s,) scores of sets whose mean features are `pooled` (s, d)."""
        ...


@dataclass(frozen=True, eq=False)
class Request:
    """What a strategy is asked: B of the pool's unlabelled images."""

    pool: Pool
    classifier: FittedClassifier
    """f trained on all of S_0."""
    budget: int
    """B."""
    batch_size: int
    """b."""
    num_candidates: int
    """M, the margin filter; capped at what is left."""
    utility: SetScorer | None = None
    """û, where the strategy learns one."""

    def __post_init__(self) -> None:
        available = len(self.pool.unlabelled)
        require(
            0 < self.budget <= available,
            f"acquisition.budget must lie between 1 and the {available} unlabelled images, got {self.budget}.",
        )


@dataclass(frozen=True, eq=False)
class Selection:
    """The answer: images in the order they were picked."""

    indices: Indices
    """(B,) different dataset indices, all unlabelled."""
    iterations: Indices
    """(B,) the iteration j in which each was picked."""
    scores: NDArray[np.float64]
    """(B,) û of the labelled set with the picked batch; NaN for strategies without û."""

    @classmethod
    def at_once(cls, indices: Indices) -> "Selection":
        """A selection made in one iteration without û."""
        return cls(indices, np.zeros(len(indices), dtype=np.int64), np.full(len(indices), np.nan))


Select = Callable[[Request, np.random.Generator], Selection]


def select_by_utility(request: Request, generator: np.random.Generator) -> Selection:
    """RAMBO: of each iteration's candidate batches the one with the largest û(S_j ∪ batch)."""
    require(request.utility is not None, "RAMBO selects by a utility model, got none.")
    return greedy_margin(request, generator, _RunningUtility(request))


def greedy_margin(request: Request, generator: np.random.Generator, scorer: "BatchScorer | None" = None) -> Selection:
    """Algorithm 2: filter the M smallest margins, divide at random into batches of b, take the best; B/b times.

    Without a scorer the first random batch is taken. The images of a batch are listed by margin, so M = b gives exactly
    Margin's list.
    """
    size, left = request.batch_size, reachable(request)
    rank = {int(index): place for place, index in enumerate(left)}
    picked: list[Indices] = []
    scores: list[float] = []
    for _ in range(request.budget // size):
        candidates = generator.permutation(left[: max(request.num_candidates, size)])
        batches = candidates[: len(candidates) // size * size].reshape(-1, size)
        values = scorer.scores(batches) if scorer else np.full(1, np.nan)
        best = int(np.argmax(values))
        batch = np.array(sorted(batches[best].tolist(), key=rank.__getitem__))
        if scorer:
            scorer.add(batch)
        picked.append(batch)
        scores.append(float(values[best]))
        left = left[~np.isin(left, batch)]
    iterations = np.repeat(np.arange(len(picked)), size)
    return Selection(np.concatenate(picked), iterations, np.repeat(scores, size))


def reachable(request: Request) -> Indices:
    """The images, by margin, that can become a candidate in any iteration: f is not retrained, so margins stay."""
    return by_margin(request)[: request.num_candidates + request.budget - request.batch_size]


def by_margin(request: Request) -> Indices:
    """The unlabelled images by margin under f(S_0), ties by index."""
    unlabelled = request.pool.unlabelled
    return unlabelled[np.argsort(request.classifier.margins(unlabelled), kind="stable")]


class BatchScorer(Protocol):
    """Scores candidate batches against the labelled set so far."""

    def scores(self, batches: Indices) -> NDArray[np.float64]:
        """(m,) values of `batches` (m, b)."""
        ...

    def add(self, batch: Indices) -> None:
        """Take `batch` (b,) into the labelled set."""
        ...


class _RunningUtility:
    """û(S_j ∪ batch) from running sums of features: O(b) a batch, since û reads a set through its mean alone."""

    def __init__(self, request: Request) -> None:
        assert request.utility is not None
        self._utility = request.utility
        labelled, reach = request.pool.labelled, reachable(request)
        self._sum = self._utility.image_features(labelled).sum(axis=0, dtype=np.float64)
        self._size = len(labelled)
        self._row = {int(index): row for row, index in enumerate(reach)}
        self._features = self._utility.image_features(reach).astype(np.float64)

    def scores(self, batches: Indices) -> NDArray[np.float64]:
        sums = self._sum + np.stack([self._batch_sum(batch) for batch in batches])
        pooled = (sums / (self._size + batches.shape[1])).astype(np.float32)
        return self._utility.score_pooled(pooled).astype(np.float64)

    def add(self, batch: Indices) -> None:
        self._sum = self._sum + self._batch_sum(batch)
        self._size += len(batch)

    def _batch_sum(self, batch: Indices) -> NDArray[np.float64]:
        rows = [self._row[int(index)] for index in batch]
        return self._features[rows].sum(axis=0)
