"""Several trainings of f that predict as one, for whoever scores the pool by a classifier.

A committee of one is that f itself, to the bit. Of several, probabilities are means (the ensemble of query by
committee), and features are laid side by side, so that a squared distance is the mean of the members' own.
"""

from dataclasses import dataclass

import numpy as np
import torch

from rambo.arrays import Features, Indices, Labels
from rambo.errors import require
from rambo.training.trainer import Predictor, margins_of

SMALLEST = float(np.finfo(np.float32).tiny)
"""Probabilities below it have its logarithm: that of zero is no number to calculate with."""


@dataclass(frozen=True, eq=False)
class Committee:
    """M ≥ 1 trained classifiers; it holds no label."""

    members: tuple[Predictor, ...]

    def __post_init__(self) -> None:
        require(len(self.members) > 0, "A committee must have at least one member, got none.")

    @property
    def device(self) -> torch.device:
        """Where the members compute, and where what is worked out of their answers may be."""
        return self.members[0].device

    def probabilities(self, indices: Indices) -> Features:
        """(n, classes) means of the members' softmax outputs."""
        return self._mean([member.probabilities(indices) for member in self.members])

    def logits(self, indices: Indices) -> Features:
        """(n, classes) outputs before the softmax; of several members the logarithms of the mean probabilities."""
        if len(self.members) == 1:
            return self.members[0].logits(indices)
        logits: Features = np.log(np.maximum(self.probabilities(indices), SMALLEST))
        return logits

    def features(self, indices: Indices) -> Features:
        """(n, M·d) penultimate activations side by side, divided by √M."""
        if len(self.members) == 1:
            return self.members[0].features(indices)
        beside: Features = np.concatenate([member.features(indices) for member in self.members], axis=1)
        return beside / np.float32(np.sqrt(len(self.members)))

    def margins(self, indices: Indices) -> Features:
        """(n,) mean probability of the likeliest class minus that of the second."""
        return margins_of(self.probabilities(indices))

    def likeliest(self, indices: Indices) -> Labels:
        """(n,) the class of the largest mean probability."""
        classes: Labels = self.probabilities(indices).argmax(axis=1)
        return classes

    def draw(self, indices: Indices, generator: np.random.Generator) -> Labels:
        """(n,) a class for each image with its mean probability."""
        cumulated = self.probabilities(indices).astype(np.float64).cumsum(axis=1)
        places = generator.random((len(indices), 1)) * cumulated[:, -1:]
        classes: Labels = (places >= cumulated).sum(axis=1)
        return classes

    @staticmethod
    def _mean(values: list[Features]) -> Features:
        if len(values) == 1:
            return values[0]
        mean: Features = np.asarray(np.mean(values, axis=0, dtype=np.float64), dtype=np.float32)
        return mean
