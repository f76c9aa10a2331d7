"""How far a sweep is, as text, as JSON and as its page in MLflow: all from the home, whoever drives it."""

import json
import math
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from ablations.plans import StudyPlan, read_plan
from ablations.sweeps.choice import Candidate, Cost, Spent, in_order, obstacle
from ablations.sweeps.choice import Standing as AtRest
from ablations.sweeps.declaration import DeclaredStudy, Limits, Sweep
from ablations.sweeps.hours import Hours
from ablations.sweeps.kept import DRIVER, Kept, State, read_state
from ablations.sweeps.studies import Standing, prepare_study, standing_by_plan, standing_of
from cluster.costs import duration
from cluster.tracking.content import source_tags
from cluster.tracking.entries import BoardSummary
from rambo.console import Table
from rambo.formats import counted, json_bytes
from rambo.home import Home
from rambo.result import commit, read_result

SILENT_SECONDS = 60.0
"""A driver that has said nothing for so long is gone."""

MOST_REASONS = 5
"""Failures that a status lists."""

MOST_NEXT = 5

TIMED = 200
"""Finished trials of a study that tell how long others take."""


@dataclass(frozen=True)
class StudyStatus:
    """How far one study of a sweep is, in trials."""

    name: str
    priority: int
    trials: int
    done: int
    running: int
    waiting: int
    failed: int
    stale: int
    """Of those that wait: such as had a result that no longer counts."""
    reasons: Sequence[str] = ()
    """Of those that failed."""
    retried: Sequence[str] = ()
    """Of those that wait because a try has failed."""


@dataclass(frozen=True)
class SweepStatus:
    """The same of a whole sweep."""

    name: str
    state: State
    driver: str | None
    """Where one is at work, None where none is."""
    why: str | None
    """What keeps the next trial from being started."""
    studies: Sequence[StudyStatus]
    core_hours: float
    gpu_hours: float
    limits: Limits
    seconds_left: tuple[float, float] | None
    """An interval, None where nothing is known of how long a trial takes."""
    trials_an_hour: float | None
    """Over the last hour; None where none has ended in it."""
    next: Sequence[str] = ()
    """The trials that come next."""
    pages: Sequence[str] = field(default_factory=tuple)
    shared: int = 0
    """By how much the studies' trials are more than the different ones."""

    @property
    def table(self) -> Table:
        """A row a study."""
        header = ("study", "priority", "trials", "done", "running", "waiting", "failed", "stale")
        rows = [(one.name, *map(str, _numbers(one))) for one in self.studies]
        if len(self.studies) > 1:
            totals = [sum(_numbers(one)[place] for one in self.studies) for place in range(1, 7)]
            rows.append(("all", "", *map(str, totals)))
        return Table(header, rows, leaving=("priority", "stale", "trials"))

    def sentences(self) -> list[str]:
        """What stands beside the table."""
        lines = [f"{self.name}: {self._stands()}."]
        if self.why is not None:
            lines.append(f"The next trial waits: {self.why}.")
        lines.append(self._spent())
        if self.shared:
            lines.append(f"{self.shared} of these trials are another study's too, and run once; every row has them.")
        lines += [f"failed: {reason}" for one in self.studies for reason in one.reasons[:MOST_REASONS]]
        lines += [f"to be tried again: {reason}" for one in self.studies for reason in one.retried[:MOST_REASONS]]
        if self.seconds_left is not None and any(one.waiting or one.running for one in self.studies):
            low, high = map(duration, self.seconds_left)
            rate = "" if self.trials_an_hour is None else f", {self.trials_an_hour:.0f} trials in the last hour"
            lines.append(f"About {low} to {high} are left{rate}.")
        if self.pages:
            lines.append("In MLflow: " + " ".join(self.pages))
        if self.next:
            lines.append(f"Next: {'; '.join(self.next)}.")
        return lines

    def _stands(self) -> str:
        if not any(one.waiting or one.running for one in self.studies):
            failed = sum(one.failed for one in self.studies)
            return "complete" if not failed else f"complete but for {counted(failed, 'trial')} that failed"
        return f"{self.state}, " + (f"driven on {self.driver}" if self.driver else "no driver is at work")

    def _spent(self) -> str:
        limits = self.limits
        cores = f"{self.core_hours:.3g}" + (f" of {limits.core_hours:g}" if limits.core_hours is not None else "")
        parts = [f"{cores} core-hours"]
        if self.gpu_hours or limits.gpu_hours is not None:
            gpus = f"{self.gpu_hours:.3g}" + (f" of {limits.gpu_hours:g}" if limits.gpu_hours is not None else "")
            parts.append(f"{gpus} GPU-hours")
        until = "" if limits.deadline is None else f", until {limits.deadline:%Y-%m-%d %H:%M %Z}"
        return f"Spent: {', '.join(parts)}{until}."

    @property
    def summary(self) -> BoardSummary:
        """Its page in MLflow: the table, what stands beside it, the whole as JSON."""
        table = self.table
        rows = ["| " + " | ".join(row) + " |" for row in (table.header, ["---"] * len(table.header), *table.rows)]
        metrics = {
            f"trials_{name}": float(sum(getattr(one, name) for one in self.studies))
            for name in ("done", "running", "waiting", "failed")
        }
        return BoardSummary(
            "\n".join([f"# {self.name}", "", *rows, "", *(f"{sentence}\n" for sentence in self.sentences())]),
            {"status.json": json_bytes(self.to_json())},
            {**metrics, "core_hours": self.core_hours, "gpu_hours": self.gpu_hours},
            tags={"sweep": self.name, "state": self.state, **source_tags("python -m ablations", commit() or "")},
        )

    def to_json(self) -> dict[str, object]:
        """All of it in JSON's types."""
        found = asdict(self)
        deadline = self.limits.deadline
        found["limits"]["deadline"] = None if deadline is None else deadline.isoformat()
        return found


def _numbers(one: StudyStatus) -> tuple[int, ...]:
    return one.priority, one.trials, one.done, one.running, one.waiting, one.failed, one.stale


def status_of(kept: Kept, home: Home, data_dir: Path) -> SweepStatus:
    """How far a sweep is, by its trial folders and by what its driver said last."""
    declared, driver = kept.declared(), _driver(home)
    held = _held(driver, kept.sweep)
    studies = [_seen(kept.sweep, study, home, data_dir) for study in declared.by_priority]
    times = [_times(study, home) for study in studies]
    hours = Hours.kept(home, kept.sweep)
    ahead, so_far, taken = list[list[Candidate]](), list[list[float]](), set[str]()
    for study in studies:  # a trial that studies share runs once
        so_far.append([held[folder] for folder in study.ahead if folder in held and folder not in taken])
        ahead.append(_waiting(study, taken | held.keys()))
        taken |= set(study.standing.states)
    at_once = max(1, len(held) or int(driver.get("cpus", 1)))
    coming, state = in_order(one for many in ahead for one in many), read_state(home, kept.sweep)
    why = driver.get("why", {}).get(kept.sweep)
    if coming and not driver and state == "running":
        why = _limit(declared, hours, studies, times, coming[0])
    return SweepStatus(
        kept.sweep,
        state,
        f"{driver['host']} (process {driver['process']})" if driver else None,
        why,
        [_study(study, held.keys()) for study in studies],
        hours.core_seconds / 3600,
        hours.gpu_seconds / 3600,
        declared.limits,
        _left(list(zip(map(len, ahead), so_far, times, strict=True)), at_once),
        hours.ended_in(3600.0),
        [_named(studies, one) for one in coming[:MOST_NEXT]],
        driver.get("pages", {}).get(kept.sweep, ()),
        sum(len(study.standing.states) for study in studies) - len(taken),
    )


def num_running(home: Home, sweep: str) -> int:
    """Trials of a sweep that run now, by what the driver said last."""
    return len(_held(_driver(home), sweep))


def _held(driver: Mapping[str, Any], sweep: str) -> dict[str, float]:
    """By folder how long each trial of a sweep has run."""
    running = driver.get("running", {}).items()
    return {folder: float(one["seconds"]) for folder, one in running if one["sweep"] == sweep}


def _limit(
    declared: Sweep, hours: Hours, studies: Sequence["_Seen"], times: Sequence[list[float]], first: Candidate
) -> str | None:
    """What would keep a driver from starting the trial that comes first."""
    place = [study.name for study in studies].index(first.study)
    study, took = studies[place].declared, times[place]
    failed = {folder for one in studies for folder in one.standing.folders("failed")}
    spent = Spent(hours.core_seconds, hours.gpu_seconds, len(failed))
    cost = Cost(fmean(took) if took else 0.0, study.cpus_per_trial, study.gpus_per_trial or 0.0)
    at_rest = AtRest(declared.limits, declared.on_failure, spent, ())
    return obstacle(at_rest, cost, now=datetime.now(UTC), cluster_cpus=math.inf)


def _driver(home: Home) -> dict[str, Any]:
    found = home.record(DRIVER, lambda content: dict(json.loads(content)), "remove it")
    return found if found and time.time() - float(found["time"]) < SILENT_SECONDS else {}


@dataclass(frozen=True)
class _Seen:
    """A study as far as it is seen from its plan and its trial folders."""

    sweep: str
    declared: DeclaredStudy
    plan: StudyPlan
    standing: Standing

    @property
    def name(self) -> str:
        return self.declared.name

    @property
    def ahead(self) -> list[str]:
        """Trials that wait or run."""
        return self.standing.folders("missing", "stale")

    def label(self, folder: str) -> str:
        cell, seed = self.plan.keys_of(folder)[0]
        return f"{self.name}, {cell}, seed {seed}"


def _seen(sweep: str, declared: DeclaredStudy, home: Home, data_dir: Path) -> _Seen:
    """By the plan that the driver has kept, where the file still says the same: no data are read for that."""
    plan = read_plan(home, declared.name)
    if plan is not None and plan.grid == declared.grid:
        return _Seen(sweep, declared, plan, standing_by_plan(plan, home))
    study = prepare_study(sweep, declared, data_dir)
    return _Seen(sweep, declared, study.plan, standing_of(study, home))


def _study(study: _Seen, held: Collection[str]) -> StudyStatus:
    now = study.standing
    counts, running = now.counts, [folder for folder in study.ahead if folder in held]
    return StudyStatus(
        study.name,
        study.declared.priority,
        len(now.states),
        counts["done"],
        len(running),
        len(study.ahead) - len(running),
        counts["failed"],
        counts["stale"],
        [f"{study.label(folder)}: {now.reasons[folder]}" for folder in now.folders("failed")],
        [f"{study.label(one)}: {now.reasons[one]}" for one in now.folders("missing") if one in now.reasons],
    )


def _waiting(study: _Seen, taken: set[str]) -> list[Candidate]:
    """Trials in no `taken` folder that wait."""
    places = {seed: place for place, seed in enumerate(study.plan.grid.seeds)}
    seeds = {folder: places[seed] for (_, seed), folder in study.plan.folders.items()}
    waits = [folder for folder in study.ahead if folder not in taken]
    priority = study.declared.priority
    return [Candidate(study.sweep, study.name, folder, priority, seeds[folder]) for folder in waits]


def _named(studies: Sequence[_Seen], one: Candidate) -> str:
    return next(study.label(one.folder) for study in studies if study.name == one.study)


def _times(study: _Seen, home: Home) -> list[float]:
    results = (read_result(home, folder) for folder in study.standing.folders("done")[:TIMED])
    return [sum(result.seconds.values()) for result in results if result is not None]


def _left(ahead: Sequence[tuple[int, list[float], list[float]]], at_once: int) -> tuple[float, float] | None:
    """About 95 % of what is left of each study, so many at once, by what its trials took that have ended.

    Of each the trials that wait, and how long those have run that do.
    """
    known = [one for _, _, times in ahead for one in times]
    if not known:
        return None
    mean, variance, longest = 0.0, 0.0, 0.0
    for count, so_far, times in ahead:
        found = times or known
        spread = stdev(found) if len(found) > 1 else found[0]
        rests, number = [max(0.0, fmean(found) - one) for one in so_far], count + len(so_far)
        mean += count * fmean(found) + sum(rests)
        longest = max(longest, *rests, 0.0)
        variance += number * spread**2 + (number * spread) ** 2 / len(found)
    error = 2 * math.sqrt(variance)
    return max(0.0, mean - error) / at_once, max((mean + error) / at_once, longest)
