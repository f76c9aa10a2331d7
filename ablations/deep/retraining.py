"""Sets of a study trained anew: what only a training can tell of a store that agrees with itself."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version

import numpy as np
import torch

from ablations.deep.trainings import Trainings, Trial
from rambo.errors import require
from rambo.home import Home
from rambo.measurement import Measurement
from rambo.progress import Progress
from rambo.randomness import numpy_generator
from rambo.store import Store
from rambo.training.measuring import trained
from rambo.training.trainer import Problem, SetSpec

MOST_ERRORS = 4.0
"""Standard errors of a difference within which a training of another kind of device must lie."""


@dataclass(frozen=True)
class Retrained:
    """What was trained anew, and what did not agree."""

    differences: tuple[str, ...]
    num_sets: int
    """Sets of the study that the store holds."""
    num_exact: int
    """Trainings that were compared bit by bit."""
    num_near: int
    """Those that were compared within an error, since another device or version had made the record."""

    @property
    def text(self) -> str:
        """How much was compared, and how closely."""
        said = f"{self.num_exact + self.num_near} of the {self.num_sets} sets in the store were trained anew"
        if self.num_exact:
            said += f"; {self.num_exact} bit by bit"
        if self.num_near:
            said += (
                f"; {self.num_near}, measured on another kind of device or by another version of torch, within "
                f"{MOST_ERRORS:g} standard errors of a difference, √(2p(1 − p)/n) each"
            )
        return f"{said}."


@dataclass(frozen=True, eq=False)
class _Set:
    """One set, and the trial that it was met in."""

    trial: Trial
    problem: Problem
    spec: SetSpec


def retrain(
    trials: Sequence[Trial], store: Store, number: int, device: torch.device, *, seed: int, progress: Progress
) -> Retrained:
    """Train `number` sets of `trials` anew on `device`, drawn by `seed` from those that `store` holds.

    On a CPU whose torch is the record's, every image must be answered alike, in as many epochs. Elsewhere each accuracy
    p over n images must lie within `MOST_ERRORS` · √(2p(1 − p)/n) of the record's. Nothing is written.
    """
    require(number > 0, f"--retrain must be at least 1, got {number}.")
    sets = _sets(trials)
    held = sorted(store.known_measurements(sets))
    drawn = numpy_generator(seed, "retrain").choice(len(held), size=min(number, len(held)), replace=False)
    keys = [held[place] for place in sorted(drawn)]
    records, found, num_exact = store.measurements(keys), list[str](), 0
    with progress.task("trainings anew", len(keys)) as advance:
        for key in keys:
            one = sets[key]
            [(_, anew)] = trained(one.problem, [one.spec], device)
            exact = _is_same_kind(store.home, one.trial.folder, records[key], device)
            num_exact += exact
            found += [
                f"store: the measurement {key} of {one.trial.what} {said}"
                for said in _differences(records[key], anew, one.problem, exact=exact)
            ]
            advance(1)
    return Retrained(tuple(found), len(held), num_exact, len(keys) - num_exact)


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
            for spec in group.specs:
                found.setdefault(group.problem.key(spec), _Set(trial, group.problem, spec))
    return found


def _is_same_kind(home: Home, folder: str, record: Measurement, device: torch.device) -> bool:
    """Whether bits must agree: on CPUs with one version of torch. A GPU's stacks round by what they hold."""
    told = json.loads(home.read(f"{folder}/environment.json") or b"{}")
    packages = told.get("packages", {}) if isinstance(told, Mapping) else {}
    return record.device == device.type == "cpu" and packages.get("torch") == version("torch")


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
