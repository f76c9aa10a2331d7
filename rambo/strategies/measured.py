"""Scores that are measured: what each candidate batch would really be worth, for study only.

An oracle bounds what any û could gain among the same candidates. The true one trains on the candidates' true labels;
most of its gain is that knowledge. The marginal one trains on labels drawn from the classifier that scores the pool,
which is all that can be known of them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from rambo.arrays import Floats, Indices

Measure = Callable[[Sequence[Indices]], Floats]
"""Sets of images -> (m,) mean accuracies on S_val of f trained on each."""


@dataclass(eq=False)
class MeasuredScores:
    """A `rambo.utility.scoring.BatchScorer` that trains f on the labelled set with each batch."""

    labelled: Indices
    measure: Measure

    def scores(self, batches: Indices) -> Floats:
        """(m,) measured utilities of the labelled set with each of `batches` (m, b)."""
        return self.measure([np.concatenate([self.labelled, batch]) for batch in batches])

    def add(self, batch: Indices) -> None:
        """Take `batch` (b,) into the labelled set."""
        self.labelled = np.concatenate([self.labelled, batch])
