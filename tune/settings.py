"""What a search is asked to do, checked before anything runs."""

import math
from dataclasses import dataclass, replace
from pathlib import Path

from rambo.config import Config
from rambo.errors import require
from rambo.fields import Value
from rambo.home import Home
from rambo.preparation import Prepared, prepare
from tune.driver import Limits
from tune.records import Plan, read_plan, search_folder
from tune.search import SAMPLERS, default_storage
from tune.space import OBJECTIVES, Objective, Space

WITH_PREPARATION = ("data.", "acquisition.", "classifier.", "evaluation.", "pretraining.", "offline.")
"""Fields that can fail only where they meet the data."""


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
    """Halve over seeds; never with two objectives."""
    sampler_seed: int = 0
    publishes: bool = True
    """Show the search in MLflow."""


def make_plan(base: Config, space: Space, settings: Settings, data_dir: Path) -> Plan:
    """The plan of a search, checked against the data before anything runs."""
    require(
        settings.objectives in OBJECTIVES,
        f"--objectives must be accuracy or accuracy,budget, got {','.join(settings.objectives)}.",
    )
    require(settings.sampler in SAMPLERS, f"--sampler must be one of {', '.join(SAMPLERS)}; got {settings.sampler}.")
    limits = settings.limits
    require(limits.num_trials >= 1, f"--num-trials must be at least 1, got {limits.num_trials}.")
    for name, limit in (("--time-budget", limits.time_budget), ("--max-trainings", limits.max_trainings)):
        require(limit is None or 0 < limit < math.inf, f"{name} must be positive, got {limit}.")
    search_folder(settings.name)
    space.check(base)
    plan = Plan(settings.name, space, base, settings.seeds, settings.objectives, "")
    met: list[dict[str, Value]] = [{}]
    for changes in space.corners():
        read = {name: value for name, value in changes.items() if name.startswith(WITH_PREPARATION)}
        met += [] if read in met else [read]
    data = {prepare(plan.config(changes), data_dir).dataset.slug for changes in met}
    require(len(data) == 1, f"--space must leave the data alone, got {' and '.join(sorted(data))}.")
    return replace(plan, data=data.pop())


def keep_plan(plan: Plan, home: Home) -> None:
    """Write plan.json where it is new; refuse another search of the same name."""
    old = read_plan(home, plan.name)
    if old is not None:
        plan.check_same(old)
    else:
        home.write(f"{search_folder(plan.name)}/plan.json", plan.to_bytes())


def storage_of(settings: Settings, home: Home) -> str:
    """The URL of the study's database."""
    if settings.storage is not None:
        return settings.storage
    require(
        home.is_local,
        f"--storage must name a database where --home is a URL, got none with {home.root}; give postgresql://….",
    )
    return default_storage(home.path(f"{search_folder(settings.name)}/optuna.db"))


def known_experiments(plan: Plan, data_dir: Path) -> list[Prepared]:
    """Experiments that between them name all sets that can be known before the first trial, for all seeds.

    One for each value of a listed dimension: what new values of b bring is known before the first trial that takes
    them. A field with a range that changes what is measured (a learning rate of f) is measured by its trials.
    """
    settings = list(plan.space.corners(listed=True)) or [{}]
    known = [prepare(plan.config(one, seed), data_dir) for one in settings for seed in plan.seeds]
    return list({one.folder: one for one in known}.values())
