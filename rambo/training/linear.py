"""Many sets at once by logistic regression, each as `rambo.training.trainer.Trainer` would train and judge it."""

import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

import numpy as np
import torch

from rambo.data.pool import HIDDEN
from rambo.errors import require
from rambo.measurement import Measurement
from rambo.training.logistic import classes_of, minimise
from rambo.training.trainer import Problem, SetSpec, measurement_of, single_thread

TAKEN_AT_ONCE = 128
"""Sets that are taken up together: of so many of mixed sizes there are enough of each for a stack."""


class LinearTrainer:
    """Trains the linear classifier on one set after another; only how many are at work together differs."""

    def __init__(self, problem: Problem, device: torch.device) -> None:
        self._problem, self._device = problem, device
        judged, self._labelled = np.concatenate([problem.validation, problem.test]), problem.labels != HIDDEN
        self._load = problem.loader(device)
        self._judged = self._load(judged).flatten(1)
        self._truth = torch.from_numpy(problem.labels[judged]).to(device)

    def train(self, specs: Iterable[SetSpec]) -> Iterator[tuple[SetSpec, Measurement]]:
        """Each spec with its utility, in order."""
        waiting = iter(specs)
        while group := list(islice(waiting, TAKEN_AT_ONCE)):
            start = time.perf_counter()
            correct = self._correct(group)
            seconds = (time.perf_counter() - start) / len(group)
            for spec, row in zip(group, correct, strict=True):
                yield spec, measurement_of(self._problem, row, 1, seconds, self._device)

    def _correct(self, group: Sequence[SetSpec]) -> np.ndarray[tuple[int, int], np.dtype[np.bool_]]:
        """(sets, judged) which images each predicts right."""
        used = np.unique(np.concatenate([spec.indices for spec in group]))
        require(bool(self._labelled[used].all()), "A set to train on must be labelled, got a hidden label.")
        labels = torch.from_numpy(self._problem.labels[used]).to(self._device)
        sets = [torch.from_numpy(np.searchsorted(used, spec.indices)).to(self._device) for spec in group]
        with single_thread(), torch.inference_mode():
            weights = minimise(self._load(used).flatten(1), labels, sets, self._problem.num_classes)
            right = [classes_of(one, self._judged) == self._truth for one in weights]
            return torch.stack(right).cpu().numpy()
