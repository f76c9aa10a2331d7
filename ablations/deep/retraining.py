"""Sets of a study trained anew: what only a training can tell of a store that agrees with itself."""

import json
from base64 import b64decode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from ablations.deep.trainings import Trainings, Trial
from rambo.correctness import share_right
from rambo.errors import require
from rambo.home import Home
from rambo.measurement import Measurement
from rambo.progress import Progress
from rambo.randomness import numpy_generator
from rambo.store import Store
from rambo.training.measuring import trained
from rambo.training.rounding import rounding
from rambo.training.trainer import Problem, SetSpec

MOST_ERRORS = 4.0
"""Standard errors of a difference within which a training must lie that another kind of machine has made."""


@dataclass(frozen=True)
class Retrained:
    """What was trained anew, and what did not agree."""

    differences: tuple[str, ...]
    num_sets: int
    """Sets of the study that the store holds, or a result tells the test images of."""
    num_exact: int
    """Trainings that were compared bit by bit."""
    num_near: int
    """Those that were compared within an error, since another kind of machine has made them or none is told."""
    num_told: int = 0
    """Of the sets, those that results alone tell of: the store has lost them, or was kept small."""

    @property
    def text(self) -> str:
        """How much was compared, and how closely."""
        if self.num_sets == 0:
            return "No set of the study is in the store or told of by a result, so none was trained anew."
        where = f"in the store or, {self.num_told} of them, in results alone" if self.num_told else "in the store"
        said = f"{self.num_exact + self.num_near} of the {self.num_sets} sets {where} were trained anew"
        if self.num_exact:
            said += f"; {self.num_exact} bit by bit"
        if self.num_near:
            said += (
                f"; {self.num_near}, measured on another kind of machine, or older than what tells its kind, within "
                f"{MOST_ERRORS:g} standard errors of a difference, √(2p(1 − p)/n) each"
            )
        return f"{said}."


@dataclass(frozen=True, eq=False)
class _Set:
    """One set, and the trial that it was met in."""

    trial: Trial
    problem: Problem
    spec: SetSpec
    told: bytes | None = None
    """Bits of the test images, where the trial's result tells them."""


def retrain(
    trials: Sequence[Trial], store: Store, number: int, device: torch.device, *, seed: int, progress: Progress
) -> Retrained:
    """Train `number` sets of `trials` anew on `device`, drawn by `seed` from those whose answers are known.

    The store holds them, or a result tells of its test images, as where the store was kept small or has lost some. On a
    CPU that rounds as the record's, every image must be answered alike, in as many epochs. Elsewhere, and where a
    record is older than what tells of its CPU, each accuracy p over n images must lie within `MOST_ERRORS` ·
    √(2p(1 − p)/n) of the record's. Nothing is written.
    """
    require(number > 0, f"--retrain must be at least 1, got {number}.")
    sets = _sets(trials)
    there = store.known_measurements(sets)
    held = sorted({*there, *(key for key, one in sets.items() if one.told is not None)})
    drawn = numpy_generator(seed, "retrain").choice(len(held), size=min(number, len(held)), replace=False)
    keys = [held[place] for place in sorted(drawn)]
    records, found, num_exact = store.measurements(keys), list[str](), 0
    with progress.task("trainings anew", len(keys)) as advance:
        for key in keys:
            one = sets[key]
            [(_, anew)] = trained(one.problem, [one.spec], device)
            record = records.get(key)
            what = f"store: the measurement {key} of {one.trial.what}"
            if record is None:
                record, what = _told_only(one, anew), f"{one.trial.what}: what the result tells of the training {key}"
                made = _environment(store.home, one.trial.folder).get("rounding")
            else:
                made = record.rounding
            here = rounding(device)
            exact = here is not None and (made == here or (made is None and not _inequalities(record, anew)))
            num_exact += exact
            found += [f"{what} {said}" for said in _differences(record, anew, one.problem, exact=exact)]
            advance(1)
    return Retrained(tuple(found), len(held), num_exact, len(keys) - num_exact, len(held) - len(there))


def _sets(trials: Sequence[Trial]) -> dict[str, _Set]:
    """Every set that is known to have been measured for `trials`, by key; what trials share is listed once."""
    found: dict[str, _Set] = {}
    planned: set[str] = set()
    for trial in trials:
        groups: list[Trainings] = list(trial.judged)
        if trial.prepared.known_id not in planned:
            planned.add(trial.prepared.known_id)
            groups += trial.planned
        for group in groups:
            for spec, told in zip(group.specs, _told(trial, group), strict=True):
                found.setdefault(group.problem.key(spec), _Set(trial, group.problem, spec, told))
    return found


def _told(trial: Trial, group: Trainings) -> list[bytes | None]:
    """The bits of test images that the trial's result tells, one a training; None of trainings it tells nothing of."""
    nothing: list[bytes | None] = [None] * len(group.specs)
    if trial.result.test_correct is None or group.fields.get("test_accuracy") != "test_accuracy":
        return nothing
    try:
        words: list[bytes | None] = [b64decode(word, validate=True) for word in trial.result.test_correct.split()]
    except ValueError:  # `verify` has named it
        return nothing
    return words if len(words) == len(group.specs) else nothing


def _told_only(one: _Set, anew: Measurement) -> Measurement:
    """A record of which the test images alone are known: all else is what a training anew gives."""
    assert one.told is not None
    return replace(anew, test_correct=one.told, test_accuracy=share_right(one.told, len(one.problem.test)))


def _environment(home: Home, folder: str) -> Mapping[str, object]:
    told = json.loads(home.read(f"{folder}/environment.json") or b"{}")
    return told if isinstance(told, Mapping) else {}


def _differences(record: Measurement, anew: Measurement, problem: Problem, *, exact: bool) -> list[str]:
    if exact:
        return _inequalities(record, anew)
    pairs = {
        "val_accuracy": (record.val_accuracy, anew.val_accuracy, len(problem.validation)),
        "test_accuracy": (record.test_accuracy, anew.test_accuracy, len(problem.test)),
    }
    return [
        f"has a {name} of {kept:.4f}, a training anew {new:.4f}, more than {allowed:.4f} apart."
        for name, (kept, new, number) in pairs.items()
        if not abs(kept - new) <= (allowed := stated_error(new, number))
    ]


def _inequalities(record: Measurement, anew: Measurement) -> list[str]:
    other = {
        "validation": record.val_correct != anew.val_correct,
        "test": record.test_correct not in (None, anew.test_correct),
    }
    said = [f"answers {images} images otherwise than a training anew." for images, off in other.items() if off]
    if record.epochs != anew.epochs:
        said.append(f"took {record.epochs} epochs, a training anew {anew.epochs}.")
    return said


def stated_error(accuracy: float, num_images: int) -> float:
    """`MOST_ERRORS` · √(2p(1 − p)/n), p kept off 0 and 1 by half an image.

    >>> round(stated_error(0.9, 1000), 4)
    0.0537
    """
    p = float(np.clip(accuracy, 0.5 / num_images, 1 - 0.5 / num_images))
    return MOST_ERRORS * float(np.sqrt(2 * p * (1 - p) / num_images))
