"""What a search is and what came of it, as plain data: its plan, its trials, its best."""

import json
import math
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any, Literal

from cluster.named import Kind, Named
from cluster.tracking.entries import Entry
from cluster.tracking.names import last_parts
from rambo.config import Config
from rambo.errors import require
from rambo.fields import Value, from_nested, override
from rambo.formats import json_bytes
from rambo.home import Home
from tune.space import BUDGET, LAMBDA_OT, LAMBDAS, SWITCH_OT, Objective, Space

SEARCH = Kind("search", "searches", "tune")

State = Literal["WAITING", "RUNNING", "COMPLETE", "PRUNED", "FAIL"]
"""As Optuna has it."""

ORPHANED = "its driver was stopped before it ended; it was tried again"
"""Why a trial failed whose driver was killed or interrupted."""

OFFSET_LAMBDA, OFFSET_PENALTY, OT = "λ_OT(λ1+λ2)/2", "λ_OT·λ3", "OT on"
"""λ1 and λ2 are exchangeable, and λ_OT(λ1, λ2, λ3) has a free scale: only these can be told apart."""


@dataclass(frozen=True)
class SeedOutcome:
    """What one seed of a trial gave."""

    val_accuracy: float
    """Mean over R trainings, in [0, 1]: what is searched for."""
    test_accuracy: float
    """Recorded, never searched for."""
    trainings: int = 0
    """That this search paid for."""
    seconds: float = 0.0
    """Of work."""


@dataclass(frozen=True)
class Attempt:
    """A trial of a search: a setting, run with one seed after another."""

    number: int
    state: State
    fields: Mapping[str, Value]
    """What it changes in the base configuration."""
    folders: tuple[str, ...]
    """Where the trial of each seed lives, by the search's seeds; empty where the setting cannot be."""
    outcomes: tuple[SeedOutcome, ...]
    """By the search's seeds, as far as it came."""
    reason: str | None = None
    """Why it failed."""
    failed_place: int | None = None
    """Of the seed that failed; None: the one after the outcomes."""

    @property
    def is_finished(self) -> bool:
        """Whether it counts: it ran to its end, or was stopped for being worse."""
        return self.state in ("COMPLETE", "PRUNED")

    @property
    def val_accuracy(self) -> float:
        """Mean over the seeds run, NaN without any."""
        return fmean(outcome.val_accuracy for outcome in self.outcomes) if self.outcomes else math.nan

    @property
    def test_accuracy(self) -> float:
        """The same on test images."""
        return fmean(outcome.test_accuracy for outcome in self.outcomes) if self.outcomes else math.nan


@dataclass(frozen=True)
class SearchPlan:
    """What a search is: everything that its trials must have in common."""

    name: str
    space: Space
    base: Config
    seeds: tuple[int, ...]
    objectives: tuple[Objective, ...]
    data: str
    """Name and fingerprint of the data."""

    def to_bytes(self) -> bytes:
        """The content of plan.json."""
        return json_bytes(
            {
                "search": self.name,
                "objectives": list(self.objectives),
                "seeds": list(self.seeds),
                "space": self.space.described(),
                "data": self.data,
                "base": asdict(self.base),
            }
        )

    @classmethod
    def from_bytes(cls, content: bytes) -> "SearchPlan":
        """`to_bytes` undone."""
        read = json.loads(content)
        space, base = Space.from_described(read["space"]), from_nested(read["base"])
        return cls(read["search"], space, base, tuple(read["seeds"]), tuple(read["objectives"]), read["data"])

    def identity(self) -> dict[str, Any]:
        """What must stay: not the seed of the base, nor where the data lies."""
        read: dict[str, Any] = json.loads(self.to_bytes())
        read["base"].pop("seed")
        read["base"]["data"].pop("source")
        return read

    def check_same(self, old: "SearchPlan") -> None:
        """Raise `InvalidInput` where `old`, of the same name, is another search."""
        mine, theirs = self.identity(), old.identity()
        differing = [name for name in mine if mine[name] != theirs[name]]
        require(
            not differing,
            f"--study {self.name} must keep its space, base, seeds, objectives and data, got another "
            f"{' and '.join(differing)}; choose another --study or give the flags it was made with.",
        )

    def config(self, fields: Mapping[str, Value], seed: int | None = None) -> Config:
        """The configuration that a trial with `fields` runs; raises `InvalidInput` where it cannot be."""
        return override(self.base, {**fields, "seed": self.seeds[0] if seed is None else seed})

    def coordinates(self, attempt: Attempt) -> dict[str, Value]:
        """Where a trial lies, in coordinates that the accuracy can tell apart."""
        config = self.config(attempt.fields)
        model, names = config.utility_model, set(self.space.dimensions)
        found: dict[str, Value] = {}
        if names & {LAMBDA_OT, *LAMBDAS}:
            found[OT] = config.uses_ot
            if config.uses_ot:
                found[OFFSET_LAMBDA] = model.lambda_ot * (model.lambda_1 + model.lambda_2) / 2
                found[OFFSET_PENALTY] = model.lambda_ot * model.lambda_3
        others = names - {LAMBDA_OT, *LAMBDAS, SWITCH_OT}
        return found | {name: attempt.fields[name] for name in self.space.dimensions if name in others}

    def best(self, attempts: Sequence[Attempt]) -> Attempt | None:
        """The complete trial of the largest validation accuracy, the earliest of several."""
        complete = [attempt for attempt in attempts if attempt.state == "COMPLETE"]
        return max(complete, key=lambda attempt: (attempt.val_accuracy, -attempt.number), default=None)

    def budget_of(self, attempt: Attempt) -> int:
        """B of a trial."""
        return int(attempt.fields.get(BUDGET, self.base.acquisition.budget))

    def front(self, attempts: Sequence[Attempt]) -> list[Attempt]:
        """The complete trials that no other beats in both accuracy and budget, the cheapest first."""
        found: list[Attempt] = []
        complete = [attempt for attempt in attempts if attempt.state == "COMPLETE"]
        for one in sorted(complete, key=lambda one: (self.budget_of(one), -one.val_accuracy, one.number)):
            if not found or one.val_accuracy > found[-1].val_accuracy:
                found.append(one)
        return found


def settings_of(attempts: Sequence[Attempt]) -> list[Attempt]:
    """One finished trial for each setting, the one that ran the most seeds, in the order of the first of each.

    Settings that are equal in effect share their folders: what the second was told are the first one's results.
    """
    found: dict[tuple[str, ...] | int, Attempt] = {}
    for one in attempts:
        key = one.folders or one.number
        if one.is_finished and (key not in found or len(one.outcomes) > len(found[key].outcomes)):
            found[key] = one
    return list(found.values())


def named_search(name: str, home: Home) -> Named:
    """The search called `name`, there or not; raises `InvalidInput` for a name that is no plain file name."""
    return Named(SEARCH, name, home)


def alone(name: str, home: Home) -> AbstractContextManager[None]:
    """Hold the search called `name` for this command; raises `InvalidInput` on entry where another holds it."""
    busy = f"--study {name} must be searched or confirmed by one command at a time, got a second; wait for the first."
    return named_search(name, home).alone(busy)


def read_plan(home: Home, name: str) -> SearchPlan | None:
    """The plan of the search called `name`, None where there is none."""
    named = named_search(name, home)
    content = named.plan()
    return None if content is None else named.understood(content, SearchPlan.from_bytes)


def existing_plan(home: Home, name: str) -> SearchPlan:
    """The same, or `InvalidInput` with the searches there are."""
    named = named_search(name, home)
    return named.understood(named.existing_plan(), SearchPlan.from_bytes)


def entries(plan: SearchPlan, attempts: Sequence[Attempt]) -> list[Entry]:
    """What MLflow shows: each trial folder once, under the first trial that has a result of it, else its failure."""
    ended = [one for one in attempts if one.is_finished or (one.state == "FAIL" and one.reason != ORPHANED)]
    found: dict[str, Entry] = {}
    for one in ended:
        for folder, seed, _ in zip(one.folders, plan.seeds, one.outcomes, strict=False):
            found.setdefault(folder, _entry(plan, one, folder, seed, None))
    for one in ended:
        place = len(one.outcomes) if one.failed_place is None else one.failed_place
        if one.state == "FAIL" and place < len(one.folders):
            found.setdefault(one.folders[place], _entry(plan, one, one.folders[place], plan.seeds[place], one.reason))
    return list(found.values())


def _short(value: Value) -> str:
    """So that it fits a narrow column."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _entry(plan: SearchPlan, attempt: Attempt, folder: str, seed: int, failure: str | None) -> Entry:
    short = last_parts(plan.space.dimensions)
    fields = {short[name]: _short(value) for name, value in attempt.fields.items() if name in short}
    tags = {**fields, "number": str(attempt.number), "state": attempt.state, "seed": str(seed), "search": plan.name}
    return Entry(folder, f"trial {attempt.number}, seed {seed}", tags, failure)
