"""What a strategy is lent that declares it: ways to train f and to measure sets.

They hold the labels bought so far, S_val's and the test set's, by which trainings are judged, never one that is for
sale; an oracle's, whose record says so, hold those as well. A strategy gets them `closed`: to be called, not opened.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import ParamSpec, TypeVar

import numpy as np

from rambo.arrays import Floats, Indices, Labels
from rambo.data.pool import HIDDEN
from rambo.randomness import derive, numpy_generator
from rambo.training.committee import Committee
from rambo.training.measuring import Measurer
from rambo.training.trainer import Predictor, Problem, SetSpec

P = ParamSpec("P")
R = TypeVar("R")

Draw = Callable[[Indices, np.random.Generator], Labels]
"""Labels (n,) of images (n,), drawn from what is known of them."""


def closed(call: Callable[P, R]) -> Callable[P, R]:
    """`call` as a bare function: no attribute leads to what it holds."""

    def called(*args: P.args, **named: P.kwargs) -> R:
        return call(*args, **named)

    return called


@dataclass(frozen=True, eq=False)
class Training:
    """Trains f on images with labels that may be guesses; kept in the store like any training."""

    problem: Problem
    measurer: Measurer
    seeds: Callable[[int], int]
    """Repeat -> training seed."""

    def __call__(self, indices: Indices, labels: Labels, repeat: int) -> Predictor:
        """f trained on images (n,) with labels (n,)."""
        judged = np.concatenate([self.problem.validation, self.problem.test])
        shown = np.full_like(self.problem.labels, HIDDEN)
        shown[judged] = self.problem.labels[judged]
        shown[indices] = labels
        told = replace(self.problem, labels=shown)
        return self.measurer.fit(told, SetSpec(indices, self.seeds(repeat))).predictor

    def committee(self, indices: Indices, labels: Labels, size: int) -> Committee:
        """So many trainings, one a repeat."""
        return Committee(tuple(self(indices, labels, repeat) for repeat in range(size)))


@dataclass(frozen=True, eq=False)
class Measuring:
    """Measures sets of images whose labels are drawn, or known to who made this."""

    problem: Problem
    measurer: Measurer
    draw: Draw
    seed: int
    repeats: int

    def __call__(self, sets: Sequence[Indices]) -> Floats:
        """(m,) accuracies on S_val, means over the repeats; what is not labelled is labelled anew in each.

        Training seeds have a name of their own: trainings that choose must not be those that judge.
        """
        return np.mean([self._once(sets, repeat) for repeat in range(self.repeats)], axis=0)

    def _once(self, sets: Sequence[Indices], repeat: int) -> Floats:
        labels, everyone = self.problem.labels.copy(), np.unique(np.concatenate(list(sets)))
        unknown = everyone[labels[everyone] == HIDDEN]
        labels[unknown] = self.draw(unknown, numpy_generator(self.seed, "drawn labels", repeat))
        specs = [SetSpec(images, derive(self.seed, "oracle", repeat)) for images in sets]
        found = self.measurer.measure(replace(self.problem, labels=labels), specs, "candidate batches")
        return np.array([one.val_accuracy for one in found])
