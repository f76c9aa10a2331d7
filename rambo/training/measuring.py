"""Measure each set once: what the store holds is read, what it lacks is trained and kept.

What an experiment will need is known ahead, so a collection can have filled the store in parallel; nobody who asks for
measurements can tell.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice

import torch

from rambo.measurement import Measurement
from rambo.progress import Advance, Progress
from rambo.store import Store
from rambo.training.linear import LinearTrainer
from rambo.training.loss_prediction import JointTrainer, LossPredictor, loss_prediction_key
from rambo.training.own_classifier import blamed
from rambo.training.own_stacking import OwnArchitecture, say_how_trained, why_not_stacked
from rambo.training.stacking import StackedTrainer
from rambo.training.trainer import FittedClassifier, Problem, SetSpec, Trainer, weights_of

FLUSH_SECONDS = 5.0
"""Longest time that a finished measurement waits to be written."""

ENTERED_AT_ONCE = 64
"""Trainings of a stack that the ledger hears of together: on s3:// an entry is a request."""


class Measurer:
    """`fit`, `measure` and `fit_losses`, the only ways in which anything trains f."""

    def __init__(self, store: Store, device: torch.device, progress: Progress) -> None:
        self._store, self._device, self._progress = store, device, progress
        self.num_trainings = 0
        """Trainings that were not in the store when asked for."""

    def measure(self, problem: Problem, specs: Sequence[SetSpec], what: str) -> list[Measurement]:
        """The measurements of `specs`, in order; `what` names them in progress reports."""
        keys = [problem.key(spec) for spec in specs]
        missing = missing_specs(problem, specs, self._store)
        if missing:
            if self._device.type == "cuda":
                say_how_trained([problem], self._progress)
            with self._progress.task(what, len(missing)) as advance:
                measure_into(self._store, problem, missing, self._device, advance)
            self.num_trainings += len(missing)
        found = self._store.measurements(keys)
        return [found[key] for key in keys]

    def fit(self, problem: Problem, spec: SetSpec) -> FittedClassifier:
        """f trained on `spec`, from weights that were kept where there are any; keeps both weights and measurement.

        A collection keeps accuracies alone, so f(S_0) is trained once more by who first wants its weights. Weights
        that cannot be read are trained anew and replaced.
        """
        key = problem.key(spec)
        trainer = Trainer(problem, self._device)
        with self._store.training(key):
            weights, known = self._store.weights(key), self._store.measurements([key])
            if weights is not None and known:
                restored = trainer.restore(known[key], weights)
                if restored is not None:
                    return restored
            self._store.enter([key])
            fitted = trainer.fit(spec)
            self._store.put_weights(key, weights_of(fitted.model))
            self._store.put_measurements({key: fitted.measurement})
        self.num_trainings += not known
        return fitted

    def fit_losses(self, problem: Problem, spec: SetSpec) -> LossPredictor:
        """The module that has learned f's losses beside f on `spec`; its weights are kept and read back as `fit` does.

        It is a training of its own: its f has not been trained as what is measured has.
        """
        key, trainer = loss_prediction_key(problem, spec), JointTrainer(problem, self._device)
        with self._store.training(key):
            weights = self._store.weights(key)
            restored = trainer.restore(weights) if weights is not None else None
            if restored is not None:
                return restored
            self._store.enter([key])
            predictor = trainer.fit(spec)
            self._store.put_weights(key, weights_of(predictor.network))
        self.num_trainings += 1
        return predictor


def measure_into(
    store: Store | None, problem: Problem, specs: Iterable[SetSpec], device: torch.device, advance: Advance
) -> None:
    """Train `specs` and keep the measurements, every few seconds, so that a kill loses little.

    Each training is entered in the store's ledger when it begins, whatever becomes of it. Without a store nothing is
    kept: a pilot.
    """
    records: dict[str, Measurement] = {}
    written = time.monotonic()
    try:
        for spec, measurement in trained(problem, specs, device, begin=store.enter if store is not None else None):
            records[problem.key(spec)] = measurement
            advance(1)
            if store is not None and time.monotonic() - written > FLUSH_SECONDS:
                store.put_measurements(records)
                records, written = {}, time.monotonic()
    finally:  # an interrupt as well: what is measured is paid for
        if store is not None:
            store.put_measurements(records)


def trained(
    problem: Problem,
    specs: Iterable[SetSpec],
    device: torch.device,
    *,
    begin: Callable[[Sequence[str]], None] | None = None,
) -> Iterator[tuple[SetSpec, Measurement]]:
    """Each of `specs` with its measurement, in any order: stacked on a GPU, one by one on a CPU, where stacking loses.

    Logistic regressions are stacked wherever they are; one by one on a GPU as well is the user's own that cannot be.

    `begin` is told the keys of trainings as they are taken up.
    """
    is_linear, waiting = problem.classifier == "linear", iter(specs)
    stacks = is_linear or (device.type == "cuda" and why_not_stacked(problem) is None)

    def taken() -> Iterator[SetSpec]:
        while group := list(islice(waiting, ENTERED_AT_ONCE if stacks else 1)):
            if begin is not None:
                begin([problem.key(spec) for spec in group])
            yield from group

    if is_linear:
        yield from LinearTrainer(problem, device).train(taken())
    elif stacks:
        models = None if problem.own is None else OwnArchitecture(problem, device)
        with blamed(problem.own):
            yield from StackedTrainer(problem, device, models=models).train(taken())
    else:
        trainer = Trainer(problem, device)
        yield from ((spec, trainer.train(spec)) for spec in taken())


def missing_specs(problem: Problem, specs: Iterable[SetSpec], store: Store) -> list[SetSpec]:
    """Those of `specs` that the store lacks, each once: what every plan and count calls a training."""
    return list(missing_by_key(problem, specs, store).values())


def missing_by_key(problem: Problem, specs: Iterable[SetSpec], store: Store) -> dict[str, SetSpec]:
    """The same by the key of each."""
    by_key = {problem.key(spec): spec for spec in specs}
    known = store.known_measurements(by_key)
    return {key: spec for key, spec in by_key.items() if key not in known}
