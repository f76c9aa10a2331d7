"""One-round acquisition: what every strategy is asked, what it may use, and what it answers.

A strategy sees a `Request` and a generator of its own. No label of an unlabelled image is within its reach, and of
S_val's labels, f's learning rate, a way to train f, predicted losses and û only what its record in
`rambo.strategies.facts` declares.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

import numpy as np

from rambo.arrays import Features, Floats, Indices, Labels
from rambo.data.pool import Pool
from rambo.errors import require
from rambo.strategies.facts import Grant, StrategyFacts
from rambo.training.committee import Committee
from rambo.training.trainer import Predictor
from rambo.utility.scoring import BatchScorer

MakeScorer = Callable[[Indices, Indices], BatchScorer]
"""û over (labelled, reachable): scores batches of the reachable images beside the labelled set."""

Train = Callable[[Indices, Labels, int], Predictor]
"""f trained on images (n,) with labels (n,), by the number of the repeat, which decides its training seed."""

PredictLosses = Callable[[Indices], Features]
"""Images (n,) to what f's losses on them are predicted to be (n,), of which only the order means something."""


class NotGrantedError(LookupError):
    """A strategy has asked for what its record does not declare."""


@dataclass(frozen=True, eq=False)
class Request:
    """What a strategy is asked: B of the pool's unlabelled images."""

    pool: Pool
    """All images and the labels of the labelled set; those of S_val are hidden here."""
    scout: Committee | None
    """Who scores the pool: f trained on all of S_0, unless `acquisition.scout` and `num_scouts` say otherwise; None for
    a strategy whose record says that it asks for none."""
    budget: int
    """B."""
    batch_size: int
    """b."""
    num_candidates: int
    """M, the margin filter; capped at what is left."""
    in_batches: bool = False
    """Whether the strategy picks batches of b."""
    block_epsilon: float = 0.1
    """ε of stochastic greedy search."""
    portfolio: tuple[str, ...] = ()
    """Names of the strategies that propose candidates to a portfolio."""
    granted: Mapping[Grant, Any] = field(default_factory=dict)
    """What the strategy's record declares, and nothing else."""

    def __post_init__(self) -> None:
        available = len(self.pool.unlabelled)
        require(
            0 < self.budget <= available,
            f"acquisition.budget must lie between 1 and the {available} unlabelled images, got {self.budget}.",
        )

    @property
    def classifier(self) -> Committee:
        """Who scores the pool."""
        if self.scout is None:
            raise NotGrantedError("A strategy's record must declare what it uses, got scores_pool without.")
        return self.scout

    @property
    def utility(self) -> MakeScorer:
        """û."""
        made: MakeScorer = self._grant("utility")
        return made

    @property
    def measured(self) -> MakeScorer:
        """Measured utilities in û's place, by true labels or by drawn ones, whichever the record declares."""
        name: Grant = "measured" if "measured" in self.granted else "marginally_measured"
        made: MakeScorer = self._grant(name)
        return made

    @property
    def validation_labels(self) -> Labels:
        """(v,) labels of `pool.validation`."""
        labels: Labels = self._grant("validation_labels")
        return labels

    @property
    def learning_rate(self) -> float:
        """The step size that f is trained with."""
        return float(self._grant("learning_rate"))

    @property
    def train(self) -> Train:
        """A way to train f."""
        train: Train = self._grant("training")
        return train

    @property
    def predicted_loss(self) -> PredictLosses:
        """What f's losses are predicted to be, by a module that was trained beside an f of its own."""
        predict: PredictLosses = self._grant("predicted_loss")
        return predict

    def _grant(self, name: Grant) -> Any:
        if name not in self.granted:
            raise NotGrantedError(f"A strategy's record must declare what it uses, got {name} without.")
        return self.granted[name]


@dataclass(frozen=True, eq=False)
class Selection:
    """The answer: images in the order they were picked."""

    indices: Indices
    """(B,) different dataset indices, all unlabelled."""
    iterations: Indices
    """(B,) the iteration j in which each was picked."""
    scores: Floats
    """(B,) û of the labelled set with the picked batch; NaN for strategies without û."""

    @classmethod
    def at_once(cls, indices: Indices) -> "Selection":
        """A selection made in one iteration without û."""
        return cls(indices, np.zeros(len(indices), dtype=np.int64), np.full(len(indices), np.nan))

    @classmethod
    def one_after_another(cls, parts: Sequence["Selection"]) -> "Selection":
        """Selections of disjoint images as one, whose iterations are counted through."""
        counts = [int(part.iterations.max()) + 1 for part in parts]
        starts = np.cumsum([0, *counts[:-1]])
        return cls(
            np.concatenate([part.indices for part in parts]),
            np.concatenate([start + part.iterations for start, part in zip(starts, parts, strict=True)]),
            np.concatenate([part.scores for part in parts]),
        )


Select = Callable[[Request, np.random.Generator], Selection]


def load_select(facts: StrategyFacts) -> Select:
    """The function of a strategy, whose module is imported only now."""
    module, _, name = facts.select.partition(":")
    select: Select = getattr(import_module(module), name)
    return select


def by_margin(request: Request) -> Indices:
    """The unlabelled images by margin under f(S_0), ties by index."""
    unlabelled = request.pool.unlabelled
    return unlabelled[np.argsort(request.classifier.margins(unlabelled), kind="stable")]
