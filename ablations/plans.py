"""What a study is, on disk: its grid and the folder of each trial. Everything else can be worked out from there."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any

from ablations.factors import Cell, Factor, Grid
from ablations.margin import Margin, reason_for
from ablations.naming import short_names
from ablations.study import Effort, Outcome, Study
from cluster.failures import read_failure
from cluster.named import Kind, Named
from cluster.tracking.entries import Entry
from rambo.errors import require
from rambo.fields import flatten, from_nested
from rambo.formats import json_bytes
from rambo.home import Home
from rambo.preparation import Prepared
from rambo.result import Result, read_result

Key = tuple[str, int]
"""Name of the cell, and seed."""

Made = tuple[Result, Mapping[str, Any]]
"""A result, and the environment that it was worked out in."""

STUDY = Kind("study", "studies", "ablations")

CELL_SEPARATOR = "; "
"""Between the cells that share a trial, in its tag `cell` in MLflow."""


@dataclass(frozen=True)
class StudyPlan:
    """A grid whose trials have their folders; cells that are equal in effect share them."""

    name: str
    grid: Grid
    folders: Mapping[Key, str]
    fixed: str | None = None
    """The study that this one repeats with cells that were retuned."""
    margin: Margin | None = None
    """Of equivalence, set when the study was planned; None in plans from before they had one."""
    sweep: str | None = None
    """The sweep that has made the study, and may take cells out of it again."""
    recipe: str | None = None
    """The table or figure of the paper that it is."""
    scale: str = "full"
    """At which the recipe was run (`ablations.scale`)."""

    def to_bytes(self) -> bytes:
        """The content of plan.json."""
        grid, retuned = self.grid, {} if self.fixed is None else {"retunes": self.fixed}
        return json_bytes(
            {
                "study": self.name,
                **retuned,
                **({} if self.sweep is None else {"sweep": self.sweep}),
                **({} if self.recipe is None else {"recipe": self.recipe}),
                **({} if self.scale == "full" else {"scale": self.scale}),
                "design": grid.design,
                "factors": [{"field": factor.name, "levels": list(factor.levels)} for factor in grid.factors],
                "cells": [_described(cell) for cell in grid.cells],
                "seeds": list(grid.seeds),
                **({} if self.margin is None else {"margin": asdict(self.margin)}),
                "trials": [{"cell": cell, "seed": seed, "folder": f} for (cell, seed), f in self.folders.items()],
                "base": asdict(grid.base),
            }
        )

    @classmethod
    def from_bytes(cls, content: bytes) -> "StudyPlan":
        """`to_bytes` undone."""
        read = json.loads(content)
        grid = Grid(
            base=from_nested(read["base"]),
            factors=tuple(Factor(item["field"], tuple(item["levels"])) for item in read["factors"]),
            cells=tuple(
                Cell(
                    tuple(item["levels"].items()),
                    item["control"],
                    tuple(item.get("tuned", {}).items()),
                    tuple(tuple(fields.items()) for fields in item.get("tuned_again", ())),
                )
                for item in read["cells"]
            ),
            seeds=tuple(read["seeds"]),
            design=read["design"],
        )
        folders = {(item["cell"], item["seed"]): item["folder"] for item in read["trials"]}
        margin = Margin(**read["margin"]) if "margin" in read else None
        made_by = (read.get("sweep"), read.get("recipe"), read.get("scale", "full"))
        return cls(read["study"], grid, folders, read.get("retunes"), margin, *made_by)

    def check_extends(self, old: "StudyPlan") -> None:
        """Raise `InvalidInput` where a trial of `old` is not in this: adding is fine, another study needs another name.

        The order in which seeds, levels or factors are listed does not matter. A study that retunes another may change
        all its trials, since a longer search may find better settings.
        """
        if self.fixed is not None and self.fixed == old.fixed:
            return
        lost = sorted(set(old.folders.values()) - set(self.folders.values()))
        before, now = flatten(old.grid.base), flatten(self.grid.base)
        changed = [f"--{name} {before[name]}" for name in before if before[name] != now[name] and name != "seed"]
        made_with = f" ({', '.join(changed)})" if changed else ""
        edited = " and files of your own as they were" if old.grid.own else ""
        require(
            not lost,
            f"--study {self.name} must keep its {len(old.folders)} trials, to which seeds, levels and factors may be "
            f"added, got a plan without {len(lost)} of them; choose another --study or give "
            f"the flags it was made with{made_with}{edited}.",
        )

    def entries(self, home: Home, folder: str | None = None) -> list[Entry]:
        """What MLflow shows: each trial folder that has ended, or only `folder`, once for all cells that rest on it."""
        found, short = [], short_names(self.grid)
        known = self._keys_by_folder() if folder is None else {folder: self.keys_of(folder)}
        for one in known:
            finished = read_result(home, one) is not None
            failure = None if finished else read_failure(home, one)
            if not finished and failure is None:
                continue
            keys = known[one]
            cells, seed = [cell for cell, _ in keys], keys[0][1]
            equal = f" and {len(cells) - 1} equal to it" if len(cells) > 1 else ""
            name = f"{short[cells[0]]}{equal}"
            tags = {"cell": CELL_SEPARATOR.join(cells), "name": name, "seed": str(seed), "study": self.name}
            reason = None if failure is None else failure.reason
            found.append(Entry(one, f"seed {seed}, {name}", tags, reason))
        return found

    def _keys_by_folder(self) -> dict[str, list[Key]]:
        found: dict[str, list[Key]] = {}
        for key, folder in self.folders.items():
            found.setdefault(folder, []).append(key)
        return found

    def keys_of(self, folder: str) -> list[Key]:
        """The trials that live in `folder`."""
        return [key for key, value in self.folders.items() if value == folder]


def make_plan(name: str, grid: Grid, prepared: Mapping[Key, Prepared]) -> StudyPlan:
    """The plan of a study whose experiments are `prepared`."""
    return StudyPlan(name, grid, {key: one.folder for key, one in prepared.items()})


def named_study(name: str, home: Home) -> Named:
    """The study called `name`, there or not; raises `InvalidInput` for a name that is no plain file name."""
    return Named(STUDY, name, home)


def read_plan(home: Home, name: str) -> StudyPlan | None:
    """The plan of the study called `name`, None where there is none."""
    named = named_study(name, home)
    content = named.plan()
    return None if content is None else named.understood(content, StudyPlan.from_bytes)


def with_margin(plan: StudyPlan, home: Home, value: float, reason: str | None) -> StudyPlan:
    """`plan` with the margin that the study has had, or the one that it repeats; a new study takes this one, today.

    A study that was planned without one stays so: its margin is set with the report.
    """
    for name in (plan.name, plan.fixed):
        old = None if name is None else read_plan(home, name)
        if old is not None:
            made_by = old if name == plan.name and plan.recipe is None else plan
            margin, sweep = old.margin, plan.sweep or old.sweep
            return replace(plan, margin=margin, sweep=sweep, recipe=made_by.recipe, scale=made_by.scale)
    finished = sum(read_result(home, folder) is not None for folder in set(plan.folders.values()))
    today = datetime.now(UTC).date().isoformat()
    return replace(plan, margin=Margin(value, reason_for(value, reason), today, finished))


def existing_plan(home: Home, name: str) -> StudyPlan:
    """The same, or `InvalidInput` with the studies there are."""
    named = named_study(name, home)
    return named.understood(named.existing_plan(), StudyPlan.from_bytes)


def read_study(plan: StudyPlan, home: Home) -> Study:
    """What the trial folders of a study say."""
    outcomes: dict[Key, Outcome] = {}
    failures: dict[Key, str] = {}
    made: dict[str, Made] = {}
    for key, folder in plan.folders.items():
        result = read_result(home, folder)
        if result is not None:
            made[folder] = result, _environment(home, folder)
            outcomes[key] = _outcome(*made[folder])
        elif (failure := read_failure(home, folder)) is not None:
            failures[key] = failure.reason
    fixed = None if plan.fixed is None else read_study(existing_plan(home, plan.fixed), home)
    effort = _effort(list(made.values()))
    return Study(plan.name, plan.grid, outcomes, failures, fixed, plan.margin, effort, plan.recipe, plan.scale)


def _effort(made: Sequence[Made]) -> Effort | None:
    if not made:
        return None
    machines = sorted({machine for _, environment in made if (machine := _machine(environment))})
    seconds = sum(sum(result.seconds.values()) for result, _ in made)
    return Effort(tuple(machines), seconds, len(made), sum(result.trainings for result, _ in made))


def _machine(environment: Mapping[str, Any]) -> str:
    torch = environment.get("packages", {}).get("torch")
    parts = [environment.get("device"), environment.get("platform")]
    versions = [f"{name} {one}" for name, one in (("Python", environment.get("python")), ("torch", torch)) if one]
    return ", ".join([*(str(part) for part in parts if part), *versions])


def _environment(home: Home, folder: str) -> Mapping[str, object]:
    cure = f"remove {home.path(folder)}: python -m ablations run works the trial out again from the store"
    return home.record(f"{folder}/environment.json", lambda content: dict(json.loads(content)), cure) or {}


def _described(cell: Cell) -> dict[str, object]:
    tuned: dict[str, object] = {"tuned": dict(cell.tuned)} if cell.tuned else {}
    if cell.again:
        tuned["tuned_again"] = [dict(fields) for fields in cell.again]
    return {"levels": dict(cell.levels), "control": cell.control, **tuned}


def _outcome(result: Result, environment: Mapping[str, object]) -> Outcome:
    version = environment.get("training_version", 0)
    shared = {name: getattr(result, name) for name in Outcome.__dataclass_fields__ if hasattr(result, name)}
    commit = environment.get("commit")
    return Outcome(
        **shared, commit=str(commit) if commit else None, training_version=version if isinstance(version, int) else 0
    )
