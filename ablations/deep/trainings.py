"""Which trainings stand behind a trial's accuracies: worked out from its configuration, its picks and the data."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ablations.plans import Key, StudyPlan
from rambo.data.pool import Pool, reveal
from rambo.errors import InvalidInput, require
from rambo.fields import config_id, from_nested, override
from rambo.formats import first_line
from rambo.home import Home
from rambo.preparation import Prepared, prepare
from rambo.result import Result, read_picks, read_result
from rambo.training.trainer import Problem, SetSpec

ROUNDING = 1e-12
"""What sums in another order may differ by."""


@dataclass(frozen=True, eq=False)
class Trainings:
    """Those that some accuracies of a result are the means of."""

    what: str
    problem: Problem
    specs: list[SetSpec]
    fields: Mapping[str, str]
    """The field of the result by the field of the measurements; empty for sets that no accuracy is a mean of."""


@dataclass(frozen=True, eq=False)
class Trial:
    """A finished trial with its data, and the pool once its picks are bought."""

    what: str
    folder: str
    result: Result
    prepared: Prepared
    after: Pool

    @property
    def judged(self) -> Iterator[Trainings]:
        """The trainings before and after the acquisition, and with S_val where the trial has those."""
        pools = {"base_": self.prepared.pool, "": self.after}
        for beginning, pool in pools.items():
            problem, name = self.prepared.problem(pool), "S_0" if beginning else "S_1"
            fields = {one: f"{beginning}{one}" for one in ("test_accuracy", "val_accuracy")}
            yield Trainings(name, problem, self.prepared.repeats(pool), fields)
            if self.prepared.config.evaluation.with_validation:
                specs, fields = (
                    self.prepared.repeats(pool, with_validation=True),
                    {"test_accuracy": f"{beginning}test_accuracy_all"},
                )
                yield Trainings(f"{name} and S_val", problem, specs, fields)

    @property
    def planned(self) -> Iterator[Trainings]:
        """Those known before the acquisition: utility samples, scouts."""
        problem = self.prepared.problem(self.prepared.pool)
        for stage, specs in self.prepared.specs().items():
            yield Trainings(stage, problem, specs, {})


def read_trials(
    plan: StudyPlan, home: Home, data_dir: Path, source: str | None = None
) -> Iterator[tuple[str, Trial | None, str]]:
    """Each folder with its trial, or None and one sentence on why its trainings cannot be named.

    A folder must be that of each cell that the plan has there, by the cell's own configuration. Folders without a
    result are passed over: `verify` has named them. `source`: where the data lie now. Raises `InvalidInput` where there
    are no data, or others than the trials'.
    """
    seen: dict[str, list[Key]] = {}
    for key, folder in plan.folders.items():
        seen.setdefault(folder, []).append(key)
    for folder, keys in seen.items():
        result, what = read_result(home, folder), "{}, seed {}".format(*keys[0])
        if result is None:
            continue
        prepared = _prepared(home, folder, data_dir, source)
        if isinstance(prepared, str):
            yield folder, None, f"{what}: config.json cannot be read ({prepared})."
            continue
        trial, sentence = _bought(what, folder, home, prepared, result)
        other = None if trial is None else _misplaced(plan, keys, prepared)
        yield folder, *((trial, sentence) if other is None else (None, other))


def _prepared(home: Home, folder: str, data_dir: Path, source: str | None) -> Prepared | str:
    """A sentence's part where the file cannot be read."""
    try:
        config = from_nested(json.loads(home.read(f"{folder}/config.json") or b""))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return first_line(error)
    try:
        return prepare(config if source is None else override(config, {"data.source": source}), data_dir)
    except InvalidInput as error:
        where = "say where the trials' data lie now by --data.source"
        raise InvalidInput(f"{error} To go below the trial folders, {where}.") from None


def _misplaced(plan: StudyPlan, keys: Sequence[Key], prepared: Prepared) -> str | None:
    """The first of `keys` whose configuration is not that of the trial where the plan has it, in a sentence."""
    available, cells = len(prepared.pool.unlabelled), {cell.name: cell for cell in plan.grid.variants}
    for name, seed in keys:
        planned = config_id(plan.grid.config(cells[name], seed), available)
        if planned != prepared.config_id:
            return f"{name}, seed {seed}: the plan's cell is {planned}, its trial in the plan {prepared.config_id}."
    return None


def _bought(what: str, folder: str, home: Home, prepared: Prepared, result: Result) -> tuple[Trial | None, str]:
    found, there = (slug.rpartition("-")[2] for slug in (prepared.dataset.slug, result.data))
    require(
        found == there,
        f"data.source must be the data of the trials, {result.data}, got {prepared.dataset.slug} from "
        f"{prepared.config.data.source}; give --data.source.",
    )
    if (prepared.config_id, prepared.config.seed) != (result.config_id, result.seed):
        return None, f"{what}: config.json is of {prepared.config_id}, not of the result's {result.config_id}."
    try:
        picks = read_picks(home, folder)
        if picks is None:
            return None, f"{what}: selected.csv is missing."
        after = reveal(prepared.pool, prepared.split, picks[0])
    except (InvalidInput, ValueError, KeyError, IndexError) as error:
        return None, f"{what}: selected.csv cannot be bought again ({first_line(error)})."
    if (after.labels[picks[0]] != picks[1]).any():
        return None, f"{what}: selected.csv has labels that are not the data's."
    return Trial(what, folder, result, prepared, after), ""
