"""What missing work costs: its parts with what one of each takes, a total with an interval, and the time it lasts."""

import math
import os
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from rambo.console import Table
from rambo.errors import FitCollapsed
from rambo.fields import override
from rambo.preparation import Prepared
from rambo.progress import Progress
from rambo.randomness import numpy_generator
from rambo.tracker import JsonLinesTracker
from rambo.utility.pretraining import Evidence, UtilityLearner

ELSEWHERE = 8
"""Workers that a plan tells the time on beside this machine's, where none are asked for."""

UNSURE = 0.25
"""Standard error of what was timed once, as a share of it."""

STEPS = 3
"""Outer steps of the short fit that tells how long a whole one takes, after one that pays for what is loaded once."""


@dataclass(frozen=True)
class Timing:
    """Seconds that one of something takes on one worker."""

    mean: float
    error: float
    """Standard error of the mean."""

    @classmethod
    def of(cls, seconds: Sequence[float]) -> "Timing | None":
        """From what was timed, None from nothing; one value says little of how far others differ."""
        if not seconds:
            return None
        mean = float(np.mean(seconds))
        spread = float(np.std(seconds, ddof=1)) / math.sqrt(len(seconds)) if len(seconds) > 1 else UNSURE * mean
        return cls(mean, spread)


@dataclass(frozen=True)
class Part:
    """So many of one kind."""

    name: str
    count: int
    each: Timing | None
    """None where nothing is known of it."""


@dataclass(frozen=True)
class Later:
    """What trials ask for once they have chosen, which nobody knows before: at most so much."""

    trainings: int
    fits: int
    """Of û, one at a time, in rounds after the first."""
    distances: int
    example: Prepared
    """One of the trials."""

    @classmethod
    def of(cls, experiments: Sequence[Prepared]) -> "Later":
        """Of all of `experiments` together, of which there is one at least."""
        return cls(
            sum(one.num_later_trainings for one in experiments),
            sum(one.num_growth_fits for one in experiments),
            sum(one.num_growth_distances for one in experiments),
            next((one for one in experiments if one.num_growth_fits), experiments[0]),
        )

    def parts(self, training: Timing | None, whole: Timing | None, distance: Timing | None) -> tuple["Part", ...]:
        """By what a training, all fits of a û of the first round, and an OT distance take."""
        one = None
        if whole is not None and self.fits:
            share = 1 / (1 + self.example.config.num_pretraining_iterations)
            one = Timing(share * whole.mean, share * whole.error)
        return (
            Part("fits of û in later rounds", self.fits, one),
            Part("OT distances of later rounds", self.distances, distance),
            Part("final and other later trainings", self.trainings, training),
        )


@dataclass(frozen=True)
class Cost:
    """All parts of a plan."""

    parts: tuple[Part, ...]
    on_gpu: bool = False

    @property
    def seconds(self) -> float:
        """On one worker, of the parts that are timed."""
        return sum(part.count * part.each.mean for part in self.parts if part.each)

    @property
    def interval(self) -> tuple[float, float]:
        """About 95 %, by two standard errors of what was timed."""
        error = math.hypot(*(part.count * part.each.error for part in self.parts if part.each))
        return max(0.0, self.seconds - 2 * error), self.seconds + 2 * error

    def table(self) -> Table:
        """A row a part, then the total."""
        unit = "GPU-hours" if self.on_gpu else "core-hours"
        header = ("what", "number", "s each", unit, "95 % interval")
        rows = [self._row(part) for part in self.parts if part.count]
        total = ("total", "", "", hours(self.seconds), _interval(self))
        return Table(header, [*rows, total], leaving=("95 % interval",))

    def lasting(self, here: int, asked: int | None) -> str:
        """How long it takes on this machine's workers, and on as many as are asked for, or on a few more."""
        there = asked or ELSEWHERE
        noun = "GPU" if self.on_gpu else "core"
        said = f"About {duration(self.seconds / here)} on the {here} {noun}{'s' if here > 1 else ''} of this machine"
        said += "" if there == here else f", {duration(self.seconds / there)} on {there} such workers"
        untimed = [part.name for part in self.parts if part.count and part.each is None]
        without = f" (without {', '.join(untimed)}, which could not be timed)" if untimed else ""
        return f"{said}{without}; starting Ray, some 30 s, comes to it."

    def _row(self, part: Part) -> tuple[str, ...]:
        if part.each is None:
            return (part.name, str(part.count), "not timed", "", "")
        one = Cost((part,))
        each = f"{part.each.mean:.2g}" if part.each.mean < 10 else f"{part.each.mean:.0f}"
        return (part.name, str(part.count), each, hours(one.seconds), _interval(one))


def _interval(cost: Cost) -> str:
    return " to ".join(map(hours, cost.interval))


def hours(seconds: float) -> str:
    """Hours with as many digits as say something.

    >>> hours(30), hours(5400), hours(360_000)
    ('0.008', '1.5', '100')
    """
    found = seconds / 3600
    return f"{found:.0f}" if found >= 10 else f"{found:.1f}" if found >= 1 else f"{found:.3f}"


def duration(seconds: float) -> str:
    """Seconds as people say them.

    >>> duration(45), duration(600), duration(9000)
    ('45 s', '10 min', '2.5 h')
    """
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def workers_here(device: torch.device) -> int:
    """That this machine has room for."""
    return torch.cuda.device_count() if device.type == "cuda" else os.cpu_count() or 1


def time_fit(prepared: Prepared, data_dir: Path, device: torch.device) -> Timing | None:
    """How long the û of an experiment takes to fit, from a short one to made-up accuracies; nothing is kept.

    None where images would first have to go through a frozen network, which takes longer than it tells.
    """
    model, plan = prepared.config.utility_model, prepared.plan
    if plan is None or model.extractor == "resnet18":
        return None
    _short_fit(prepared, 1, data_dir, device)
    mean = _short_fit(prepared, STEPS, data_dir, device) * model.num_outer_steps / STEPS
    return Timing(mean, UNSURE * mean)


def _short_fit(prepared: Prepared, steps: int, data_dir: Path, device: torch.device) -> float:
    """Seconds of the fits of û with so many outer steps each."""
    generator = numpy_generator(0, "made-up accuracies")
    config = override(prepared.config, {"utility_model.num_outer_steps": steps})
    seen = prepared.representation(data_dir, device)
    inputs = seen.inputs(prepared.split.seed_set)
    evidence = Evidence(
        lambda members, repeat, what: generator.uniform(0.5, 0.9, members.shape[:-1]),
        (lambda members: generator.uniform(1.0, 2.0, members.shape[:-1])) if config.uses_ot else None,
    )
    learner = UtilityLearner(config, tracker=JsonLinesTracker(), progress=Progress(quiet=True))
    assert prepared.plan is not None
    start = time.perf_counter()
    with suppress(FitCollapsed):  # few steps teach little; they have taken their time all the same
        learner.learn(prepared.plan, evidence, inputs)
    return time.perf_counter() - start
