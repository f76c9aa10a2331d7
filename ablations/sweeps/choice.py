"""What a driver starts next, and what it does not start: pure decisions, which know no Ray and no clock of their own.

Higher priorities come first; within one, whole seeds do, so that every moment has whole comparisons. What does not fit
into what is left of a limit is not started, and the limit says so.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from ablations.sweeps.declaration import Limits


@dataclass(frozen=True)
class Cost:
    """What a trial holds of a cluster, and for how long."""

    seconds: float
    """Expected; 0 where nothing is known."""
    cpus: float
    gpus: float = 0.0


@dataclass(frozen=True)
class Candidate:
    """A trial of a sweep that could be started."""

    sweep: str
    study: str
    folder: str
    priority: int
    seed_place: int
    """Position of its seed among the study's."""


@dataclass(frozen=True)
class Spent:
    """What a sweep has had so far, what runs left out."""

    core_seconds: float = 0.0
    gpu_seconds: float = 0.0
    failures: int = 0


@dataclass(frozen=True)
class Standing:
    """A sweep at the moment of a choice."""

    limits: Limits
    on_failure: Literal["continue", "stop"]
    spent: Spent
    running: Sequence[Cost]
    """What its running trials are expected to take from now on."""


def in_order(candidates: Iterable[Candidate]) -> list[Candidate]:
    """Those to be started first first; among equals the given order, which is the file's, stays."""
    return sorted(candidates, key=lambda one: (-one.priority, one.seed_place))


def obstacle(standing: Standing, cost: Cost, *, now: datetime, cluster_cpus: float) -> str | None:
    """Why a trial of `cost` is not started, one sentence that names the limit; None where nothing is in its way."""
    for found in (
        _after_failures(standing),
        _past_hours(standing, cost),
        _past_deadline(standing.limits, cost, now),
        _past_share(standing, cost, cluster_cpus),
    ):
        if found is not None:
            return found
    return None


def _after_failures(standing: Standing) -> str | None:
    failures, most = standing.spent.failures, standing.limits.failures
    if standing.on_failure == "stop" and failures > 0:
        return f"policy.on_failure is stop, and {_trials(failures)} failed"
    if most is not None and failures >= most:
        return f"limits.failures of {most} is reached: {_trials(failures)} failed"
    return None


def _past_hours(standing: Standing, cost: Cost) -> str | None:
    limits, spent = standing.limits, standing.spent
    for name, most, had, held in (
        ("core_hours", limits.core_hours, spent.core_seconds, "cpus"),
        ("gpu_hours", limits.gpu_hours, spent.gpu_seconds, "gpus"),
    ):
        if most is None:
            continue
        promised = sum(one.seconds * getattr(one, held) for one in standing.running)
        next_one = cost.seconds * getattr(cost, held)
        if had + promised + next_one > 3600 * most or had >= 3600 * most:
            left = max(0.0, most - (had + promised) / 3600)
            return (
                f"limits.{name} of {most:g} leaves {left:.3g} beside what was spent and what runs, and a trial takes "
                f"{next_one / 3600:.3g}"
            )
    return None


def _past_deadline(limits: Limits, cost: Cost, now: datetime) -> str | None:
    if limits.deadline is None or now + timedelta(seconds=cost.seconds) <= limits.deadline:
        return None
    return f"limits.deadline is {limits.deadline:%Y-%m-%d %H:%M %Z}, and a trial takes {cost.seconds / 60:.3g} min"


def _past_share(standing: Standing, cost: Cost, cluster_cpus: float) -> str | None:
    running, limits = standing.running, standing.limits
    if limits.running is not None and len(running) >= limits.running:
        return f"limits.running of {limits.running} is reached"
    held = sum(one.cpus for one in running)
    if limits.cluster_share is not None and running and held + cost.cpus > limits.cluster_share * cluster_cpus + 1e-9:
        return f"limits.cluster_share of {limits.cluster_share:g} is {limits.cluster_share * cluster_cpus:g} CPUs"
    return None


def _trials(number: int) -> str:
    return f"{number} trial{'s' if number > 1 else ''}"
