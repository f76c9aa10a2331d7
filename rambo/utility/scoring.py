"""û at acquisition: how much candidate batches would add to what is labelled, batch after batch."""

from collections.abc import Callable
from typing import Protocol

import numpy as np

from rambo.arrays import Features, Floats, Indices


class BatchScorer(Protocol):
    """Scores candidate batches beside the labelled set so far; each kind of û hands out its own."""

    def scores(self, batches: Indices) -> Floats:
        """(m,) values of `batches` (m, b)."""
        ...

    def add(self, batch: Indices) -> None:
        """Take `batch` (b,) into the labelled set."""
        ...


class RunningMeans:
    """û(S_j ∪ batch) from running sums of image features, for a û that reads a set through their mean: O(b) a batch."""

    def __init__(
        self,
        labelled: Indices,
        reachable: Indices,
        *,
        image_features: Callable[[Indices], Features],
        score_pooled: Callable[[Features], Features],
    ) -> None:
        """`image_features`: (n,) images to (n, d); `score_pooled`: (s, d) mean features to (s,) scores."""
        self._score_pooled = score_pooled
        self._sum = image_features(labelled).sum(axis=0, dtype=np.float64)
        self._size = len(labelled)
        self._row = {int(index): row for row, index in enumerate(reachable)}
        self._features = image_features(reachable).astype(np.float64)

    def scores(self, batches: Indices) -> Floats:
        """(m,) û of the labelled set with each of `batches` (m, b)."""
        sums = self._sum + np.stack([self._batch_sum(batch) for batch in batches])
        pooled = (sums / (self._size + batches.shape[1])).astype(np.float32)
        return self._score_pooled(pooled).astype(np.float64)

    def add(self, batch: Indices) -> None:
        """Take `batch` (b,) into the labelled set."""
        self._sum = self._sum + self._batch_sum(batch)
        self._size += len(batch)

    def _batch_sum(self, batch: Indices) -> Floats:
        rows = [self._row[int(index)] for index in batch]
        return self._features[rows].sum(axis=0)
