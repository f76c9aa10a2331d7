"""The studies of a sweep as trials: what each reads, where it stands, and why a finished one no longer counts."""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from ablations.plans import Key, StudyPlan, make_plan, named_study, read_plan
from ablations.sweeps.declaration import DeclaredStudy, Sweep
from cluster.failures import read_failure
from cluster.place import Place, Share
from rambo.fields import Value, flatten, from_nested
from rambo.home import Home
from rambo.preparation import Prepared, prepare
from rambo.result import read_result
from rambo.training.trainer import TRAINING_VERSION

CURE = "remove that trial's folder: the sweep works it out again from the store"

NOT_IN_IDS = frozenset({"seed", "data.source", "data.image_size", "data.labels"})
"""The data's fingerprint covers what these change."""

State = Literal["done", "missing", "failed", "stale"]


@dataclass(frozen=True)
class SweepStudy:
    """A study of a sweep with all of its trials, checked; nothing of it has to be there yet."""

    sweep: str
    declared: DeclaredStudy
    plan: StudyPlan
    prepared: Mapping[Key, Prepared]

    @property
    def name(self) -> str:
        """What it is called in the home."""
        return self.declared.name

    def place(self, home: Home, data_dir: Path) -> Place:
        """Where its trials work."""
        share = Share(self.declared.cpus_per_trial, self.declared.gpus_per_trial)
        return Place(home, data_dir, self.declared.device, named_study(self.name, home).ledger, share=share)

    @property
    def trials(self) -> dict[str, tuple[Prepared, int]]:
        """By folder each trial, seed by seed, with the position of its seed."""
        found: dict[str, tuple[Prepared, int]] = {}
        for place, seed in enumerate(self.plan.grid.seeds):
            for cell in self.plan.grid.variants:
                one = self.prepared[cell.name, seed]
                found.setdefault(one.folder, (one, place))
        return found


def prepare_study(sweep: str, declared: DeclaredStudy, data_dir: Path) -> SweepStudy:
    """Every trial with its data and splits; raises `InvalidInput` for a cell that cannot be."""
    prepared = {(cell.name, seed): prepare(config, data_dir) for cell, seed, config in declared.grid.trials()}
    plan = replace(make_plan(declared.name, declared.grid, prepared), recipe=declared.recipe, scale=declared.scale)
    return SweepStudy(sweep, declared, plan, prepared)


def prepare_sweep(sweep: Sweep, data_dir: Path) -> list[SweepStudy]:
    """All of its studies, highest priority first."""
    return [prepare_study(sweep.name, declared, data_dir) for declared in sweep.by_priority]


def with_owner(study: SweepStudy, home: Home) -> StudyPlan:
    """Its plan as it is kept: the sweep's if it has made the study, else only larger than what is there.

    Raises `InvalidInput` where that would take trials out of a study that was made by hand or by another sweep.
    """
    old = read_plan(home, study.name)
    if old is None:
        return replace(study.plan, sweep=study.sweep)
    kept = replace(study.plan, margin=old.margin, sweep=old.sweep)
    if old.sweep != study.sweep:
        kept.check_extends(old)
    return kept


@dataclass(frozen=True)
class Standing:
    """How far a study is."""

    states: Mapping[str, State]
    """By folder of each trial."""
    reasons: Mapping[str, str] = field(default_factory=dict)
    """Why one is stale, has failed, or is missing although it was tried, by folder."""

    def folders(self, *states: State) -> list[str]:
        """Those in one of `states`, in order."""
        return [folder for folder, state in self.states.items() if state in states]

    @property
    def counts(self) -> Counter[str]:
        """How many are in each state."""
        return Counter(self.states.values())

    @property
    def why_stale(self) -> Counter[str]:
        """How many are stale for each reason."""
        return Counter(self.reasons[folder] for folder in self.folders("stale"))


def standing_of(study: SweepStudy, home: Home) -> Standing:
    """Of each trial whether it is done, and where a result that was there no longer counts, why."""
    old = read_plan(home, study.name)
    before = {} if old is None else old.folders
    states, reasons = dict[str, State](), dict[str, str]()
    for key, one in study.prepared.items():
        if one.folder in states:
            continue
        state, reason = _state_of(one, before.get(key), study.declared.given, home)
        states[one.folder] = state
        if reason is not None:
            reasons[one.folder] = reason
    return Standing(states, reasons)


def standing_by_plan(plan: StudyPlan, home: Home) -> Standing:
    """The same of a kept plan, by its folders alone: whether results still count is not asked."""
    states, reasons = dict[str, State](), dict[str, str]()
    for folder in dict.fromkeys(plan.folders.values()):
        failure = None
        if read_result(home, folder) is not None:
            states[folder] = "done"
        else:
            failure = read_failure(home, folder)
            states[folder] = "failed" if failure is not None and failure.is_final else "missing"
        if failure is not None:
            reasons[folder] = failure.reason
    return Standing(states, reasons)


def _state_of(one: Prepared, before: str | None, given: frozenset[str], home: Home) -> tuple[State, str | None]:
    if read_result(home, one.folder) is not None:
        version = _environment(home, one.folder).get("training_version", 0)
        current = version == TRAINING_VERSION
        return ("done", None) if current else ("stale", f"training version {version}, now {TRAINING_VERSION}")
    failure = read_failure(home, one.folder)
    if failure is not None and failure.is_final:
        return "failed", failure.reason
    if before is not None and before != one.folder and read_result(home, before) is not None:
        return "stale", why_stale(one, before, given, home)
    return "missing", None if failure is None else failure.reason


def why_stale(one: Prepared, before: str, given: frozenset[str], home: Home) -> str:
    """Why the result of folder `before` is none of the trial that `one` is now, as a clause; `given`: by the file."""
    data, data_then = one.folder.split("/")[1], before.split("/")[1]
    if data != data_then:
        return f"other data: {data}, before {data_then}"
    then = home.record(f"{before}/config.json", lambda content: flatten(from_nested(json.loads(content))), CURE) or {}
    now = flatten(one.config)
    changed = [name for name in now if name in then and then[name] != now[name] and name not in NOT_IN_IDS]
    named = [_changed(name, then[name], now[name], name in given) for name in changed]
    return ", ".join(named) or f"other code: the source of {one.config.strategy}, or a file that a field names"


def _changed(name: str, then: Value, now: Value, is_given: bool) -> str:
    return f"{name} is {now}, before {then}" if is_given else f"the default of {name} is {now}, before {then}"


def _environment(home: Home, folder: str) -> Mapping[str, object]:
    return home.record(f"{folder}/environment.json", lambda content: dict(json.loads(content)), CURE) or {}


def retired(study: SweepStudy, home: Home) -> list[str]:
    """Folders of trials that the home's study has and this one has not: they stay, and no study names them."""
    old = read_plan(home, study.name)
    return [] if old is None else sorted(set(old.folders.values()) - set(study.plan.folders.values()))
