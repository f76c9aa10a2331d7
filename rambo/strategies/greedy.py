"""Greedy selection, batch by batch: one part proposes candidate batches of what is left, another chooses among them."""

from typing import Protocol

import numpy as np

from rambo.arrays import Floats, Indices
from rambo.strategies.request import Request, Selection, by_margin
from rambo.utility.scoring import BatchScorer


class Proposer(Protocol):
    """Lists candidate batches."""

    @property
    def reachable(self) -> Indices:
        """The images that can become a candidate in any iteration."""
        ...

    def propose(self, generator: np.random.Generator) -> Indices:
        """(m, b) different batches of what is left, m ≥ 1."""
        ...

    def take(self, batch: Indices) -> Indices:
        """`batch` (b,), which is left no more, in the order in which its images are to be listed."""
        ...


class FirstBatch:
    """Chooses the first of the batches, which a proposer lists at random."""

    def scores(self, batches: Indices) -> Floats:
        """NaN: nothing is known of them."""
        return np.full(1, np.nan)

    def add(self, batch: Indices) -> None:
        """Nothing to remember."""


class MarginFilter:
    """Algorithm 2's candidates: the M smallest margins of what is left, divided at random into batches of b.

    f is not retrained, so margins stay. A batch is listed by margin: with M = b the picks are exactly Margin's.
    Deviation[filter-width]: the paper gives no M; ten batches unless `acquisition.candidate_batches` says another.
    """

    def __init__(self, request: Request) -> None:
        self._size, self._num_candidates = request.batch_size, max(request.num_candidates, request.batch_size)
        self.reachable = by_margin(request)[: self._num_candidates + request.budget - request.batch_size]
        self._left = self.reachable

    def propose(self, generator: np.random.Generator) -> Indices:
        """⌊M/b⌋ batches."""
        candidates = generator.permutation(self._left[: self._num_candidates])
        return candidates[: len(candidates) // self._size * self._size].reshape(-1, self._size)

    def take(self, batch: Indices) -> Indices:
        """`batch` by margin."""
        taken = np.isin(self._left, batch)
        listed, self._left = self._left[taken], self._left[~taken]
        return listed


def select_greedily(
    proposer: Proposer, scorer: BatchScorer, num_iterations: int, generator: np.random.Generator
) -> Selection:
    """The batch of the largest score, so many times; the first of several that score alike."""
    picked: list[Indices] = []
    scores: list[float] = []
    for _ in range(num_iterations):
        batches = proposer.propose(generator)
        values = scorer.scores(batches)
        best = int(np.argmax(values))
        batch = proposer.take(batches[best])
        scorer.add(batch)
        picked.append(batch)
        scores.append(float(values[best]))
    sizes = [len(batch) for batch in picked]
    return Selection(
        np.concatenate(picked), np.repeat(np.arange(num_iterations), sizes), np.repeat(np.array(scores), sizes)
    )
