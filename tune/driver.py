"""What is tried next, what the search is told of it, and when it ends; knows neither Ray nor Optuna."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from statistics import fmean

from cluster.failures import Failure, read_failure
from cluster.limits import Spending, Spent
from rambo.errors import InvalidInput
from rambo.fields import Value, flatten, with_absolute_paths
from rambo.formats import json_bytes
from rambo.home import Home
from rambo.preparation import Prepared, prepare
from rambo.result import read_result
from tune.halving import goes_on
from tune.records import Attempt, SearchPlan, SeedOutcome
from tune.search import Search
from tune.space import BUDGET

FAILURES_IN_A_ROW = 10
"""Trials that fail one after another before a search gives up: something is wrong with all of them."""

MOST_ASIDE = 10
"""Twins of what is in hand that are put aside, at most, where there is not room for more: a sampler may insist."""


@dataclass(frozen=True)
class Limits:
    """How much a search may spend, over all commands that ran it."""

    num_trials: int
    """That are finished: complete or stopped for being worse; failed ones do not count."""
    time_budget: float | None = None
    """Seconds."""
    max_trainings: int | None = None

    @property
    def spending(self) -> Spending:
        """All but the trials."""
        return Spending(self.time_budget, self.max_trainings)


def spent_trainings(spent: Spent, attempts: Sequence[Attempt]) -> int:
    """What was collected and what the seeds of `attempts` have reported."""
    return spent.collected + sum(outcome.trainings for one in attempts for outcome in one.outcomes)


@dataclass(frozen=True)
class Assignment:
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
        plan: SearchPlan,
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
        self._outcomes: dict[int, list[SeedOutcome]] = {}
        self._failures: dict[int, str] = {}
        self._jobs: dict[int, Assignment] = {}
        self._aside: dict[int, Assignment] = {}
        """Those whose folders another job fills."""
        self._failed_in_a_row = 0
        self._last_reason = ""
        self.num_finished = sum(attempt.is_finished for attempt in search.attempts())

    @property
    def num_in_hand(self) -> int:
        """Trials that were begun and have not ended, those put aside included."""
        return self._search.num_in_hand

    @property
    def num_running(self) -> int:
        """Trials that were handed out and have not ended."""
        return len(self._jobs)

    @property
    def is_done(self) -> bool:
        """Whether nothing is in hand and no further trial is begun."""
        return not self.num_in_hand and self.why_over() is not None

    def why_over(self, *, more: int = 1) -> str | None:
        """Why no `more` trials than those in hand are run, one sentence; None where they may be."""
        limits, seconds = self._limits, self._spent.seconds
        if self.num_finished >= limits.num_trials:
            return f"All {limits.num_trials} trials are finished."
        if over := limits.spending.why_over(seconds, self.trainings, self._trainings_with(more)):
            return over
        if self._failed_in_a_row >= FAILURES_IN_A_ROW:
            return f"{FAILURES_IN_A_ROW} trials in a row have failed, the last since {self._last_reason.rstrip('.')}."
        return None

    @property
    def trainings(self) -> int:
        """That this search has paid for; those of a killed process that it had not reported are not known."""
        return spent_trainings(self._spent, self._search.attempts())

    def next(self, room: int) -> Assignment | None:
        """A trial to run, None while there is to be none; `room` is how many may run at once.

        A setting whose results are all there, or that is known to fail, or that cannot be, is told at once. One whose
        folders a running trial fills is put aside until that has ended, and another is asked for.
        """
        job = self._taken_up(room)
        while job is None and self.why_over() is None and self._has_room(room):
            job = self._asked()
        return job

    def _has_room(self, room: int) -> bool:
        enough = self.num_in_hand >= self._limits.num_trials - self.num_finished
        return not enough and self.num_running < room and len(self._aside) < max(room, MOST_ASIDE)

    def _asked(self) -> Assignment | None:
        """A new setting, None where it is not to be run now."""
        suggestion = self._search.ask()
        fields = dict(suggestion.fields)
        try:
            experiments = [self._prepare(fields, seed) for seed in self._plan.seeds]
        except InvalidInput as error:
            self._end(suggestion.number, f"the setting cannot be: {error}")
            return None
        configs = [flatten(with_absolute_paths(one.config)) for one in experiments]
        job = Assignment(suggestion.number, fields, [one.folder for one in experiments], configs)
        self._search.place(job.number, job.folders)
        has_twin = self._has_twin(job)
        self._jobs[job.number] = job
        if self._is_known(job):
            return None
        if has_twin:
            self._aside[job.number] = self._jobs.pop(job.number)
        return None if has_twin else job

    def _taken_up(self, room: int) -> Assignment | None:
        """One put aside whose twin has left no result for each seed, to be run now; those that are known are told.

        Where nothing more is to be run it is closed, for the next command to try.
        """
        for job in [one for one in self._aside.values() if not self._has_twin(one)]:
            in_a_row = self._failed_in_a_row
            self._jobs[job.number] = self._aside.pop(job.number)
            if self._is_known(job):
                self._failed_in_a_row = min(in_a_row, self._failed_in_a_row)  # a setting fails once
            elif self.why_over(more=0) is not None:
                del self._jobs[job.number]
                self._search.give_back(job.number)
            elif self.num_running > room:
                self._aside[job.number] = self._jobs.pop(job.number)
            else:
                return job
        return None

    def _has_twin(self, job: Assignment) -> bool:
        """Whether a running trial is the same in effect, as all settings without OT are."""
        return any(one.folders == job.folders for one in self._jobs.values())

    def heard(self, number: int, place: int, outcome: SeedOutcome | Failure) -> bool:
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
            self._home.write(f"{job.folders[place]}/failure.json", json_bytes(vars(Failure("killed", reason))))
        self._end(number, reason)

    def _end(self, number: int, reason: str | None, place: int | None = None) -> None:
        """`place`: of the seed that failed, where it is not the one after those that were heard of."""
        outcomes, job = self._outcomes.pop(number, []), self._jobs.pop(number, None)
        if reason is not None or job is None or not outcomes:
            self._last_reason = reason or "it reported nothing"
            self._search.fail(number, self._last_reason, place)
            self._failed_in_a_row += 1
        else:
            self._tell(job, outcomes)
            self._failed_in_a_row = 0
            self.num_finished += 1
        self._on_end(number)

    def _tell(self, job: Assignment, outcomes: list[SeedOutcome]) -> None:
        if len(outcomes) < len(self._plan.seeds):
            self._search.prune(job.number)
            return
        values = [fmean(outcome.val_accuracy for outcome in outcomes)]
        if "budget" in self._plan.objectives:
            values.append(float(job.fields.get(BUDGET, self._plan.base.acquisition.budget)))
        self._search.complete(job.number, values)

    def _is_known(self, job: Assignment) -> bool:
        """Tell a trial of which everything is known already; whether it was one."""
        results = [read_result(self._home, folder) for folder in job.folders]
        failures = [read_failure(self._home, folder) for folder in job.folders]
        places = [
            place
            for place, (result, failure) in enumerate(zip(results, failures, strict=True))
            if result is None and failure is not None and failure.is_final
        ]
        known = list(takewhile(lambda result: result is not None, results))
        if len(known) < len(results) and not places:
            return False
        for place, result in enumerate(known):
            if result is not None and job.number not in self._failures:
                self.heard(job.number, place, SeedOutcome(result.val_accuracy, result.test_accuracy))
        failed = failures[places[0]] if places else None
        if failed is None or job.number in self._failures:
            self.ended(job.number)
        else:
            self._end(job.number, failed.reason, places[0])
        return True

    def _prepare(self, fields: dict[str, Value], seed: int) -> Prepared:
        return prepare(self._plan.config(fields, seed), self._data_dir)

    def _trainings_with(self, more: int) -> int:
        """What will be spent at most once all in hand and `more` have run all their seeds."""
        return self.trainings + (self.num_in_hand + more) * self._most_a_trial
