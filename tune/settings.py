"""What a search is asked to do, checked before anything runs."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

from cluster.databases import database_url, file_url
from rambo.config import Config
from rambo.errors import InvalidInput, require
from rambo.fields import Value
from rambo.home import Home
from rambo.preparation import Prepared, prepare
from tune.driver import Limits
from tune.records import SearchPlan, named_search, read_plan
from tune.search import SAMPLERS
from tune.space import BATCH, OBJECTIVES, Objective, Space

WITH_PREPARATION = ("data.", "acquisition.", "classifier.", "evaluation.", "pretraining.", "offline.")
"""Fields that can fail only where they meet the data."""

SIZES = (
    BATCH,
    "data.num_seed_labels",
    "offline.num_pairs",
    "pretraining.num_pairs",
    "utility.label",
    "utility.num_audited",
    "evaluation.repeats",
    "evaluation.num_held_out_pairs",
    "evaluation.num_ceiling_pairs",
    "strategy",
)
"""Fields that decide how many sets a trial names before its acquisition."""


@dataclass(frozen=True)
class Settings:
    """How to search."""

    name: str
    """Of the search, in the home, in the storage and in MLflow."""
    seeds: tuple[int, ...]
    limits: Limits
    objectives: tuple[Objective, ...] = ("accuracy",)
    sampler: str = "tpe"
    storage: str | None = None
    """URL of the database of the study; None is an SQLite file in the search's folder."""
    stops: bool = True
    """Halve over seeds, where there is one objective."""
    sampler_seed: int = 0
    publishes: bool = True
    """Show the search in MLflow."""

    @property
    def halves(self) -> bool:
        """Whether a trial may be stopped between two seeds; of two objectives there is no better half."""
        return self.stops and len(self.objectives) == 1


def make_plan(base: Config, space: Space, settings: Settings, data_dir: Path) -> SearchPlan:
    """The plan of a search, checked against the data before anything runs."""
    require(
        settings.objectives in OBJECTIVES,
        f"--objectives must be accuracy or accuracy,budget, got {','.join(settings.objectives)}.",
    )
    require(settings.sampler in SAMPLERS, f"--sampler must be one of {', '.join(SAMPLERS)}; got {settings.sampler}.")
    limits = settings.limits
    require(limits.num_trials >= 1, f"--num-trials must be at least 1, got {limits.num_trials}.")
    limits.spending.check()
    space.check(base)
    plan = SearchPlan(settings.name, space, base, settings.seeds, settings.objectives, "")
    data = {prepare(plan.config(changes), data_dir).dataset.slug for changes in _met(plan)}
    require(len(data) == 1, f"--space must leave the data alone, got {' and '.join(sorted(data))}.")
    return replace(plan, data=data.pop())


def check_plan(plan: SearchPlan, home: Home) -> None:
    """Raise `InvalidInput` where the home has another search of the same name."""
    old = read_plan(home, plan.name)
    if old is not None:
        plan.check_same(old)


def keep_plan(plan: SearchPlan, home: Home) -> None:
    """Write plan.json where it is new; refuse another search of the same name."""
    check_plan(plan, home)
    if read_plan(home, plan.name) is None:
        named_search(plan.name, home).keep({"plan.json": plan.to_bytes()})


def storage_of(name: str, storage: str | None, home: Home) -> str:
    """The URL of the database of the search called `name`: `storage`, else SQLite in its folder.

    Raises `InvalidInput` where it is no such URL; whether anything is there is not looked at.
    """
    if storage is not None:
        return database_url(storage, "--storage")
    require(
        home.is_local,
        f"--storage must name a database where --home is a URL, got none with {home.root}; give postgresql://….",
    )
    return file_url(named_search(name, home).path("optuna.db"))


def known_experiments(plan: SearchPlan, data_dir: Path) -> list[Prepared]:
    """Experiments that between them name all sets that can be known before the first trial, for all seeds.

    What new values of b bring is known before the first trial that takes them. What `plan.space.unknown` names is
    measured by its trials.
    """
    known: dict[str, Prepared] = {}
    for changes in plan.space.known():
        with suppress(InvalidInput):  # listed values that cannot be combined; a trial that draws them says so
            for seed in plan.seeds:
                one = prepare(plan.config(changes, seed), data_dir)
                known.setdefault(one.folder, one)
    return list(known.values())


def most_trainings(plan: SearchPlan, data_dir: Path) -> int:
    """What one trial can need at most, over all seeds: its later trainings, and what is not known before it."""
    repeats = plan.space.dimensions.get("evaluation.repeats")
    most = {"evaluation.repeats": int(max(repeats.samples()))} if repeats else {}
    found = list(_everywhere(plan, data_dir, most))
    later = max(one.num_later_trainings for one in found)
    own = max(sum(map(len, one.specs().values())) for one in found) if plan.space.unknown() else 0
    return len(plan.seeds) * (later + own)


def _everywhere(plan: SearchPlan, data_dir: Path, most: Mapping[str, Value]) -> Iterator[Prepared]:
    """A seed of the base and wherever most sets are named, each with `most`."""
    sizes = {name: one.samples() for name, one in plan.space.dimensions.items() if name in SIZES}
    settings = [dict(zip(sizes, values, strict=True)) for values in product(*map(_ends, sizes.values()))]
    for changes in [{}, *_met(plan), *settings]:
        with suppress(InvalidInput):
            yield prepare(plan.config({**changes, **most}), data_dir)


def _ends(values: Sequence[Value]) -> Sequence[Value]:
    """The least and the largest of numbers, all of what has no order."""
    numbers = [value for value in values if isinstance(value, int)]
    return sorted({min(numbers), max(numbers)}) if len(numbers) == len(values) else values


def _met(plan: SearchPlan) -> list[dict[str, Value]]:
    """The corners of the space, in fields that can fail only where they meet the data."""
    met: list[dict[str, Value]] = [{}]
    for changes in plan.space.corners():
        read = {name: value for name, value in changes.items() if name.startswith(WITH_PREPARATION)}
        met += [] if read in met else [read]
    return met
