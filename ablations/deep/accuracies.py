"""Every accuracy of every trial, worked out anew from which images each training got right."""

import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from ablations.deep.pairs import pair_differences
from ablations.deep.trainings import ROUNDING, Trainings, Trial
from rambo.correctness import correct_text, share_right
from rambo.measurement import Measurement
from rambo.store import Store


@dataclass
class Recomputed:
    """What was compared, and what did not agree."""

    differences: list[str] = field(default_factory=list)
    num_trials: int = 0
    num_accuracies: int = 0
    """Accuracies of results that were worked out anew."""
    held: set[str] = field(default_factory=set)
    """Keys of the trainings behind accuracies that the store holds; what trials share is one."""
    absent: set[str] = field(default_factory=set)
    """Of those that it does not hold, as where records are kept small."""
    without_bits: set[str] = field(default_factory=set)
    """Of the former, those from before the bits of test images: their test accuracy is taken as it stands."""
    planned: set[str] = field(default_factory=set)
    """Of other trainings in the store, that û or a choice rests on."""

    @property
    def text(self) -> str:
        """How much was compared."""
        said = (
            f"{self.num_accuracies} accuracies of {self.num_trials} trials were worked out anew from the bits of "
            f"{len(self.held)} trainings in the store"
        )
        if self.absent:
            said += f"; {len(self.absent)} more trainings are not kept there, so what rests on them was not"
        if self.without_bits:
            said += f"; {len(self.without_bits)} have no bits of test images, whose accuracy was taken as it stands"
        if others := self.planned - self.held:
            said += f"; {len(others)} more, that û or a choice rests on, were held to their bits"
        return f"{said}."


def recompute(trials: Iterable[tuple[str, Trial | None, str]], store: Store) -> tuple[Recomputed, list[Trial]]:
    """Hold each result to the store, and each measurement that it rests on to its bits; the trials that could be read.

    Held-out pairs are what their trainings say, too: û's pair accuracy is by them.
    """
    found, read, known = Recomputed(), list[Trial](), set[str]()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _, trial, sentence in trials:
            if trial is None:
                found.differences.append(sentence)
                continue
            read.append(trial)
            found.num_trials += 1
            for trainings in trial.judged:
                found.differences += _compared(trial, trainings, store, found)
            if trial.prepared.known_id not in known:
                known.add(trial.prepared.known_id)
                found.differences += _planned(trial, store, found)
            found.differences += pair_differences(trial, store)
    found.differences += [f"store: {one.message}" for one in caught if "store/corrupt" in str(one.message)]
    found.differences = list(dict.fromkeys(found.differences))
    return found, read


def _compared(trial: Trial, trainings: Trainings, store: Store, found: Recomputed) -> Iterator[str]:
    keys = [trainings.problem.key(spec) for spec in trainings.specs]
    held, digests = store.measurements(keys), store.measurement_digests(keys)
    found.held.update(held)
    found.absent.update(key for key in keys if key not in held)
    found.without_bits.update(key for key, one in held.items() if one.test_correct is None)
    for key, one in held.items():
        yield from _consistent(key, one, digests[key], trainings)
    if len(held) < len(set(keys)):
        return
    measured = [held[key] for key in keys]
    for name, kept in trainings.fields.items():
        value = getattr(trial.result, kept)
        if value is not None:  # None: a result from before the field
            found.num_accuracies += 1
            right = float(np.mean([_accuracy(one, name, trainings) for one in measured]))
            if not abs(right - value) <= ROUNDING:
                yield f"{trial.what}: {kept} is {value!r}, the store's trainings on {trainings.what} give {right!r}."
    bits = correct_text(measured)
    told = trial.result.test_correct
    if trainings.fields.get("test_accuracy") == "test_accuracy" and None not in (bits, told) and bits != told:
        yield f"{trial.what}: test_correct is not what the store's trainings got right."


def _planned(trial: Trial, store: Store, found: Recomputed) -> Iterator[str]:
    """The measurements that no accuracy need be a mean of."""
    for trainings in trial.planned:
        keys = [key for spec in trainings.specs if (key := trainings.problem.key(spec)) not in found.planned]
        held, digests = store.measurements(keys), store.measurement_digests(keys)
        found.planned.update(held)
        for key, one in held.items():
            yield from _consistent(key, one, digests[key], trainings)


def _consistent(key: str, one: Measurement, digest: str, trainings: Trainings) -> Iterator[str]:
    """A measurement must be what it was written as, and have the accuracies that its bits give."""
    if one.digest != digest:
        yield f"store: the measurement {key} is not what its digest was taken of."
    for name in ("val_accuracy", "test_accuracy"):
        if not abs(_accuracy(one, name, trainings) - getattr(one, name)) <= ROUNDING:
            yield f"store: the measurement {key} has a {name} that its bits do not give."


def _accuracy(one: Measurement, name: str, trainings: Trainings) -> float:
    """From the bits; as it stands where there are none, no number where they are of another set of images."""
    problem = trainings.problem
    bits, images = (one.val_correct, problem.validation) if name == "val_accuracy" else (one.test_correct, problem.test)
    return getattr(one, name) if bits is None else share_right(bits, len(images))
