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


AT_ONCE = 2**16
"""Images whose features are gathered at a time, but for one batch."""


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
        self._order = np.argsort(reachable)
        self._sorted = reachable[self._order]
        self._features = image_features(reachable)

    def scores(self, batches: Indices) -> Floats:
        """(m,) û of the labelled set with each of `batches` (m, b)."""
        step = max(1, AT_ONCE // batches.shape[1])
        added = [self._batch_sums(batches[start : start + step]) for start in range(0, len(batches), step)]
        sums = self._sum + np.concatenate(added)
        pooled = (sums / (self._size + batches.shape[1])).astype(np.float32)
        return self._score_pooled(pooled).astype(np.float64)

    def add(self, batch: Indices) -> None:
        """Take `batch` (b,) into the labelled set."""
        self._sum = self._sum + self._batch_sums(batch[None])[0]
        self._size += len(batch)

    def _batch_sums(self, batches: Indices) -> Floats:
        """(m, d) sums of the features of `batches` (m, b)."""
        places = np.searchsorted(self._sorted, batches).clip(max=len(self._sorted) - 1)
        if not np.array_equal(self._sorted[places], batches):
            raise KeyError("A batch has images that were not declared reachable.")
        sums: Floats = self._features[self._order[places]].sum(axis=1, dtype=np.float64)
        return sums
