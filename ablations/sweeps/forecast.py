"""What a sweep would take before it starts: what is missing, its hours and price, and what the limits leave undone."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from statistics import fmean, stdev

from ablations.show import fit_seconds, num_tests
from ablations.statistics import power_text
from ablations.sweeps.choice import Spent
from ablations.sweeps.declaration import Limits, Sweep
from ablations.sweeps.studies import Standing, State, SweepStudy, retired, standing_of
from cluster.costs import Cost, Later, Part, Timing, duration, hours
from cluster.place import Place
from cluster.trials import missing_fits
from rambo.console import Table
from rambo.formats import counted
from rambo.home import Home
from rambo.inference import attainable
from rambo.progress import Progress
from rambo.result import read_result
from rambo.store import Store

STATES: tuple[State, ...] = ("done", "missing", "failed", "stale")

MOST_TIMED = 100
"""Finished trials whose times are read, about."""


@dataclass(frozen=True)
class StudyForecast:
    """One study: where it stands, and what the rest of it costs."""

    study: SweepStudy
    standing: Standing
    num_retired: int
    num_trainings: int
    """Known in advance, that the store lacks."""
    cost: Cost | None
    """None where nothing is missing."""
    num_shared: int = 0
    """Trials that a study before it runs."""

    @property
    def to_run(self) -> int:
        """Trials, beside those that a study before it runs."""
        return len(self.standing.folders("missing", "stale")) - self.num_shared


@dataclass
class Counted:
    """What the studies before have counted: a sweep does it once."""

    trials: set[str] = field(default_factory=set)
    known: set[str] = field(default_factory=set)
    """The `known_id` of each, which names its trainings that are known in advance."""
    fits: set[str] = field(default_factory=set)


def forecast(study: SweepStudy, place: Place, progress: Progress, counted: Counted | None = None) -> StudyForecast:
    """By what the store lacks and a few trainings that are timed here; of trials that have ended their own times.

    What is `counted` is left out, and what is counted here comes to it.
    """
    counted = counted or Counted()
    standing = standing_of(study, place.home)
    waits = set(standing.folders("missing", "stale"))
    waiting = [one for folder, (one, _) in study.trials.items() if folder in waits - counted.trials]
    gone, num_shared = len(retired(study, place.home)), len(waits & counted.trials)
    if not waiting:
        return StudyForecast(study, standing, gone, 0, None, num_shared)
    with progress.doing(f"looking up what the store has for {study.name}"):
        work = place.known_work([one for one in waiting if one.known_id not in counted.known])
        fits = missing_fits(waiting, Store(place.home))
        fits = {key: one for key, one in fits.items() if key not in counted.fits}
    counted.trials |= waits
    counted.known |= {one.known_id for one in waiting}
    counted.fits |= fits.keys()
    known = fit_seconds([one for one, _ in study.trials.values()], place.home)
    cost = place.cost(work, Later.of(waiting), list(fits.values()), known, progress)
    cost = with_all_else(cost, seconds_taken(standing, place.home), len(waiting))
    return StudyForecast(study, standing, gone, work.num_trainings, cost, num_shared)


def seconds_taken(standing: Standing, home: Home) -> list[float]:
    """Of some trials that are done, spread over the study: what each took from its first stage to its last."""
    done = standing.folders("done")
    results = [read_result(home, folder) for folder in done[:: max(1, len(done) // MOST_TIMED)]]
    return [sum(result.seconds.values()) for result in results if result is not None]


def with_all_else(cost: Cost, taken: Sequence[float], number: int) -> Cost:
    """`cost` of `number` trials, and what trials have `taken` beyond it: choosing, predicting, reading and writing."""
    if len(taken) < 2:
        return cost
    rest = fmean(taken) - cost.seconds / number
    if rest <= 0:
        return cost
    part = Part("all else of a trial", number, Timing(rest, stdev(taken) / math.sqrt(len(taken))))
    return replace(cost, parts=(*cost.parts, part))


def forecast_table(found: Sequence[StudyForecast]) -> Table:
    """A row a study, then all of them, in which a trial that studies share is one."""
    header = ("study", "cells", "seeds", "done", "missing", "failed", "stale", "trainings", "hours", "95 % interval")
    rows = [_row(one) for one in found]
    if len(found) > 1:
        states = Counter({folder: state for one in found for folder, state in one.standing.states.items()}.values())
        counts = [states[state] for state in STATES]
        trainings = str(sum(one.num_trainings for one in found))
        rows.append(("all", "", "", *map(str, counts), trainings, hours(seconds_of(found)), _interval(found)))
    return Table(header, rows, leaving=("seeds", "cells", "95 % interval", "trainings"))


def _row(one: StudyForecast) -> tuple[str, ...]:
    grid, counts = one.study.plan.grid, one.standing.counts
    states = [str(counts[state]) for state in STATES]
    cost = ("0", "") if one.cost is None else (hours(one.cost.seconds), _interval([one]))
    return (one.study.name, str(len(grid.variants)), str(len(grid.seeds)), *states, str(one.num_trainings), *cost)


def seconds_of(found: Sequence[StudyForecast]) -> float:
    """On one core or GPU."""
    return sum(one.cost.seconds for one in found if one.cost is not None)


def interval_of(found: Sequence[StudyForecast]) -> tuple[float, float]:
    """About 95 %; errors of studies are their own."""
    seconds = seconds_of(found)
    error = math.hypot(*(one.cost.seconds - one.cost.interval[0] for one in found if one.cost is not None), 0.0)
    return max(0.0, seconds - error), seconds + error


def _interval(found: Sequence[StudyForecast]) -> str:
    return " to ".join(map(hours, interval_of(found)))


def forecast_sentences(
    sweep: Sweep,
    found: Sequence[StudyForecast],
    *,
    workers: int,
    price: float | None,
    now: datetime,
    spent: Spent | None = None,
) -> list[str]:
    """When it would end on so many workers, what it costs, what limits leave undone, why results no longer count."""
    seconds, on_gpu = seconds_of(found), any(one.cost is not None and one.cost.on_gpu for one in found)
    noun = "GPU" if on_gpu else "core"
    lines = []
    if seconds:
        low, high = interval_of(found)
        end = (now + timedelta(seconds=seconds / workers)).astimezone(UTC)
        lines.append(
            f"About {duration(seconds / workers)} ({duration(low / workers)} to {duration(high / workers)}) on "
            f"{workers} {noun}{'s' if workers > 1 else ''}, until {end:%Y-%m-%d %H:%M} UTC."
        )
        if price is not None:
            money = " to ".join(f"{price * value / 3600:.2f}" for value in (low, high))
            lines.append(f"At {price:g} a {noun}-hour: {price * seconds / 3600:.2f} ({money}).")
        undone = left_undone(sweep.limits, found, workers=workers, on_gpu=on_gpu, now=now, spent=spent or Spent())
        lines += [f"The limits leave about {counted(undone, 'trial')} undone."] if undone else []
    for one in found:
        lines += [f"{one.study.name}: {count} stale: {why}." for why, count in one.standing.why_stale.items()]
        if one.num_retired:
            gone = counted(one.num_retired, "trial is", "trials are")
            lines.append(f"{one.study.name}: {gone} in it no more; their results stay.")
        grid = one.study.plan.grid
        power = power_text(attainable(len(grid.seeds), max(1, num_tests(one.study.plan))))
        lines.append(f"{one.study.name}: {power}")
    return lines


def left_undone(
    limits: Limits, found: Sequence[StudyForecast], *, workers: int, on_gpu: bool, now: datetime, spent: Spent
) -> int:
    """Trials for which, in order of priority and at the mean cost of their study, no room is left."""
    budgets = [math.inf]
    if limits.deadline is not None:
        budgets.append((limits.deadline - now).total_seconds() * workers)
    most, had = (limits.gpu_hours, spent.gpu_seconds) if on_gpu else (limits.core_hours, spent.core_seconds)
    if most is not None:
        budgets.append(3600 * most - had)
    left, undone = min(budgets), 0
    for one in found:
        if one.cost is None:
            continue
        each = one.cost.seconds / one.to_run
        fitting = one.to_run if one.cost.seconds <= left else math.floor(max(0.0, left) / each)
        undone += one.to_run - fitting
        left -= one.cost.seconds
    return undone
