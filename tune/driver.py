"""What is tried next, what the search is told of it, and when it ends; knows neither Ray nor Optuna."""

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from cluster.trials import Failure, read_failure
from rambo.errors import InvalidInput
from rambo.fields import Value, flatten, with_absolute_paths
from rambo.home import Home
from rambo.preparation import Prepared, prepare
from rambo.result import read_result, to_json
from tune.halving import goes_on
from tune.records import Outcome, Plan, search_folder
from tune.search import Search
from tune.space import BUDGET

FAILURES_IN_A_ROW = 10
"""Trials that fail one after another before a search gives up: something is wrong with all of them."""

TICK_SECONDS = 5.0
"""Time that a killed driver may have spent without it being known."""


@dataclass(frozen=True)
class Limits:
    """How much a search may spend, over all commands that ran it."""

    num_trials: int
    """That are finished: complete or stopped for being worse; failed ones do not count."""
    time_budget: float | None = None
    """Seconds."""
    max_trainings: int | None = None


class Spent:
    """What a search has spent, kept where a killed driver cannot lose it."""

    def __init__(self, home: Home, name: str) -> None:
        self._home, self._name = home, f"{search_folder(name)}/spent.json"
        kept = json.loads(home.read(self._name) or b"{}")
        self._before: float = kept.get("seconds", 0.0)
        self.collected: int = kept.get("collected", 0)
        """Trainings of the collections that went before the first trial."""
        self._start = self._ticked = time.monotonic()

    @property
    def seconds(self) -> float:
        """Wall-clock time of all commands so far."""
        return self._before + time.monotonic() - self._start

    def tick(self) -> None:
        """Write down the time from time to time."""
        if time.monotonic() - self._ticked >= TICK_SECONDS:
            self.keep()

    def keep(self) -> None:
        """Write down what is spent."""
        self._ticked = time.monotonic()
        self._home.write(self._name, to_json({"seconds": round(self.seconds, 3), "collected": self.collected}))

    def collect(self, missing: int) -> None:
        """Count a collection before it begins; what a killed one has left over is not counted again."""
        self.collected = max(self.collected, missing)
        self.keep()


@dataclass(frozen=True)
class Job:
    """A trial to be run: its setting, and the folder of each seed."""

    number: int
    fields: dict[str, Value]
    folders: list[str]
    configs: list[dict[str, Value]]
    """By seed, every field, for a process that works in another folder."""


class Driver:
    """Hands out jobs and hears of them; all it remembers between two commands is in the search."""

    def __init__(
        self,
        search: Search,
        plan: Plan,
        limits: Limits,
        spent: Spent,
        home: Home,
        data_dir: Path,
        *,
        most_a_trial: int,
        stops: bool,
        on_end: Callable[[int], None],
    ) -> None:
        """`most_a_trial`: trainings that a trial can need. `stops`: halve over seeds.

        `on_end` hears the number of each trial that has ended.
        """
        self._search, self._plan, self._limits, self._spent = search, plan, limits, spent
        self._home, self._data_dir, self._stops, self._on_end = home, data_dir, stops, on_end
        self._most_a_trial = most_a_trial
        self._outcomes: dict[int, list[Outcome]] = {}
        self._failures: dict[int, str] = {}
        self._jobs: dict[int, Job] = {}
        self._failed_in_a_row = 0
        self._last_reason = ""
        self.num_finished = sum(attempt.is_finished for attempt in search.attempts())

    @property
    def num_in_hand(self) -> int:
        """Trials that were handed out and have not ended."""
        return self._search.num_in_hand

    def why_over(self) -> str | None:
        """Why no further trial is begun, one sentence; None where one may be."""
        limits, seconds = self._limits, self._spent.seconds
        if self.num_finished >= limits.num_trials:
            return f"All {limits.num_trials} trials are finished."
        if limits.time_budget is not None and seconds >= limits.time_budget:
            return f"The time budget of {limits.time_budget:g} s is spent."
        if limits.max_trainings is not None and self._trainings_if_more() > limits.max_trainings:
            return f"Another trial could go beyond {limits.max_trainings} trainings; {self.trainings} are spent."
        if self._failed_in_a_row >= FAILURES_IN_A_ROW:
            return f"{FAILURES_IN_A_ROW} trials in a row have failed, the last since {self._last_reason.rstrip('.')}."
        return None

    @property
    def trainings(self) -> int:
        """That this search has paid for; those of a killed process that it had not reported are not known."""
        reported = [outcome.trainings for attempt in self._search.attempts() for outcome in attempt.outcomes]
        return self._spent.collected + sum(reported)

    def next(self, room: int) -> Job | None:
        """A trial to run, None while there is to be none; `room` is how many may be in hand at once.

        A setting whose results are all there, or that is known to fail, or that cannot be, is told at once.
        """
        while self.why_over() is None:
            if self.num_in_hand >= min(room, self._limits.num_trials - self.num_finished):
                return None
            suggestion = self._search.ask()
            fields = dict(suggestion.fields)
            try:
                experiments = [self._prepare(fields, seed) for seed in self._plan.seeds]
            except InvalidInput as error:
                self._end(suggestion.number, f"the setting cannot be: {error}")
                continue
            configs = [flatten(with_absolute_paths(one.config)) for one in experiments]
            job = Job(suggestion.number, fields, [one.folder for one in experiments], configs)
            self._search.place(job.number, job.folders)
            self._jobs[job.number] = job
            if not self._is_known(job):
                return job
        return None

    def heard(self, number: int, place: int, outcome: Outcome | Failure) -> bool:
        """Take what the seed at `place` gave; whether the trial shall run its next seed."""
        if isinstance(outcome, Failure):
            self._failures[number] = outcome.reason
            return False
        if not math.isfinite(outcome.val_accuracy):
            self._failures[number] = f"its accuracy is {outcome.val_accuracy} at seed {self._plan.seeds[place]}"
            return False
        outcomes = self._outcomes.setdefault(number, [])
        if place == len(outcomes):  # else it is run again since its process died, and says what it has said before
            outcomes.append(outcome)
            self._search.report(number, outcomes)
        if not self._stops or place == len(self._plan.seeds) - 1:
            return place < len(self._plan.seeds) - 1
        mean = fmean(one.val_accuracy for one in outcomes[: place + 1])
        return goes_on(mean, self._search.means_at(place, but=number))

    def ended(self, number: int) -> None:
        """The trial runs no more: it is told as what it is by what was heard of it."""
        self._end(number, self._failures.pop(number, None))

    def died(self, number: int, reason: str) -> None:
        """The trial's process died too often; its folder says so as well."""
        job, place = self._jobs[number], len(self._outcomes.get(number, []))
        if place < len(job.folders) and read_result(self._home, job.folders[place]) is None:
            self._home.write(f"{job.folders[place]}/failure.json", to_json(vars(Failure("killed", reason))))
        self._end(number, reason)

    def _end(self, number: int, reason: str | None) -> None:
        outcomes, job = self._outcomes.pop(number, []), self._jobs.pop(number, None)
        if reason is not None or job is None or not outcomes:
            self._last_reason = reason or "it reported nothing"
            self._search.fail(number, self._last_reason)
            self._failed_in_a_row += 1
        else:
            self._tell(job, outcomes)
            self._failed_in_a_row = 0
            self.num_finished += 1
        self._on_end(number)

    def _tell(self, job: Job, outcomes: list[Outcome]) -> None:
        if len(outcomes) < len(self._plan.seeds):
            self._search.prune(job.number)
            return
        values = [fmean(outcome.val_accuracy for outcome in outcomes)]
        if "budget" in self._plan.objectives:
            values.append(float(job.fields.get(BUDGET, self._plan.base.acquisition.budget)))
        self._search.complete(job.number, values)

    def _is_known(self, job: Job) -> bool:
        """Tell a trial of which everything is known already; whether it was one."""
        results = [read_result(self._home, folder) for folder in job.folders]
        failures = [read_failure(self._home, folder) for folder in job.folders]
        found = [Outcome(result.val_accuracy, result.test_accuracy) for result in results if result is not None]
        if len(found) == len(results):
            for place, outcome in enumerate(found):
                if job.number not in self._failures:
                    self.heard(job.number, place, outcome)
            self.ended(job.number)
            return True
        pairs = zip(results, failures, strict=True)
        final = [failure for result, failure in pairs if failure and failure.is_final and result is None]
        if final:
            self._end(job.number, final[0].reason)
        return bool(final)

    def _prepare(self, fields: dict[str, Value], seed: int) -> Prepared:
        return prepare(self._plan.config(fields, seed), self._data_dir)

    def _trainings_if_more(self) -> int:
        """What will be spent at most once all in hand and one more have run all their seeds."""
        return self.trainings + (self.num_in_hand + 1) * self._most_a_trial
