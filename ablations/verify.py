"""Recompute a study from its trial folders: what a reader of the tables has to trust is then only the trials."""

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import asdict

import numpy as np

from ablations.plans import StudyPlan, named_study, read_study
from ablations.report import SOMETIMES, render
from ablations.run import Reporting
from ablations.statistics import seeds_text
from ablations.study import Study
from cluster.failures import read_failure
from rambo.config import Config
from rambo.correctness import correct_share
from rambo.errors import InvalidInput
from rambo.fields import Value, effective_fields, flatten, from_nested, in_force
from rambo.formats import first_line
from rambo.home import Home
from rambo.own import is_own
from rambo.result import Result, read_result
from rambo.utility.samples import order_agreement

SIZES = ("data.num_seed_labels", "data.num_validation", "data.num_test", "acquisition.budget")
"""Fields that every result hangs on, whatever its strategy."""

TRAINED = ("data.", "classifier.", "training.")
REPEATS = ("evaluation.repeats", "evaluation.first_repeat")
"""Fields that f on S_0 hangs on, beside the seed."""

ANY_POOL = 10**9
"""A pool that caps no M."""


def differences(plan: StudyPlan, home: Home, reporting: Reporting) -> list[str]:
    """One sentence for everything that does not agree; none where all does.

    A PDF may be left out of what is kept: it is the picture beside it once more.
    """
    found = [sentence for key in plan.folders for sentence in _trial(plan, home, key)]
    study = read_study(plan, home)
    named = named_study(plan.name, home)
    try:
        files = render(study, **asdict(reporting))
    except InvalidInput as error:
        if not found:
            raise
        return [*found, str(error)]  # as where a trial is gone: what is known of it comes first
    found += [f"{name} is of an earlier report." for name in named.left_over(files, SOMETIMES)]
    for name, content in files.items():
        kept = named.read(name)
        if kept is None:
            found += [] if name.endswith(".pdf") else [f"{name} is missing."]
        elif kept != content:
            found.append(f"{name} is not what the trial folders give.")
    return found


def disagreements(study: Study) -> list[str]:
    """A sentence where trials tell several accuracies of the same trainings on S_0; none where they agree.

    That need not be a fault: each trial tells what the store had when it ended, and another machine rounds otherwise.
    """
    cells = {cell.name: cell for cell in study.grid.variants}
    told = dict[tuple[int, object], set[tuple[float, float]]]()
    for (name, seed), outcome in study.outcomes.items():
        fields = flatten(study.grid.config(cells[name], seed))
        same = [(one, value) for one, value in fields.items() if one.startswith(TRAINED) or one in REPEATS]
        accuracies = outcome.base_test_accuracy, outcome.base_val_accuracy
        told.setdefault((seed, (outcome.training_version, *same)), set()).add(accuracies)
    several = [(seed, values) for (seed, _), values in told.items() if len(values) > 1]
    if not several:
        return []
    apart = max(max(column) - min(column) for _, values in several for column in zip(*values, strict=True))
    seeds = seeds_text(sorted({seed for seed, _ in several}))
    return [
        f"Seeds {seeds}: trials tell several accuracies of the same trainings on S_0, {100 * apart:.2g} points apart "
        "at most; another kind of machine has trained them again, or a result was changed."
    ]


def _trial(plan: StudyPlan, home: Home, key: tuple[str, int]) -> Iterator[str]:
    """A result must belong to its cell, seed and folder, and agree with the files beside it."""
    folder, (name, seed) = plan.folders[key], key
    result = read_result(home, folder)
    if result is None:
        if read_failure(home, folder) is None:  # what failed is missing from the tables, which say why
            yield f"{name}, seed {seed}: there is no result in {folder}."
        return
    cell = next(cell for cell in plan.grid.variants if cell.name == name)
    planned = plan.grid.config(cell, seed)
    if f"trials/{result.data}/{result.config_id}/{result.seed}" != folder or result.seed != seed:
        yield f"{name}, seed {seed}: the result belongs to another folder than {folder}."
    if result.strategy != planned.strategy:
        yield f"{name}, seed {seed}: the result is of {result.strategy}, not of {planned.strategy}."
    saw = result.saw_validation
    if None not in (saw, _sees(planned)) and saw != _sees(planned):
        yield f"{name}, seed {seed}: the result has saw_validation = {saw}, which its strategy denies."
    what = f"{name}, seed {seed}"
    yield from _read(what, "config.json", _fields(what, folder, home, planned))
    yield from _read(what, "config.json or selected.csv", _selection(what, folder, home, result))
    yield from _read(what, "held_out.csv", _held_out(what, folder, home, result))
    yield from _images(what, result)


def _sees(config: Config) -> bool | None:
    """Whether labels of S_val enter its choices; None of a strategy of the user's own, whose module may be gone."""
    return None if is_own(config.strategy) else in_force(config).sees_validation_labels


def _read(what: str, file: str, found: Iterator[str]) -> Iterator[str]:
    """The same; where the file cannot be read for that, this is what is found."""
    try:
        yield from found
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        yield f"{what}: {file} cannot be read ({first_line(error)})."


def _fields(what: str, folder: str, home: Home, planned: Config) -> Iterator[str]:
    """A trial that two cells share was run by one of them: only what its own result hangs on can be compared."""
    kept = from_nested(json.loads(home.read(f"{folder}/config.json") or b"{}"))
    there, expected = _effective(kept), _effective(planned)
    if there is None or expected is None:
        there, expected = ({name: flatten(one)[name] for name in SIZES} for one in (kept, planned))
    for field in sorted({*there, *expected}):
        if there.get(field) != expected.get(field):
            found, wanted = (one.get(field, "nothing") for one in (there, expected))
            yield f"{what}: config.json has {field} = {found}, the plan {wanted}."


def _effective(config: Config) -> dict[str, Value] | None:
    """What its result hangs on; None where that takes files of the user's own that are gone."""
    try:
        found = effective_fields(config, ANY_POOL)
    except InvalidInput:
        return None
    found.pop("acquisition.num_candidates", None)  # all M that the pool caps are one, and the pool is not known here
    return found


def _selection(what: str, folder: str, home: Home, result: Result) -> Iterator[str]:
    rows = list(csv.DictReader(io.StringIO((home.read(f"{folder}/selected.csv") or b"").decode())))
    config = from_nested(json.loads(home.read(f"{folder}/config.json") or b"{}"))
    picked = {row["index"] for row in rows}
    if len(picked) != len(rows) or len(rows) != config.acquisition.budget:
        yield f"{what}: selected.csv must hold {config.acquisition.budget} different images, got {len(picked)}."
    if config.data.num_seed_labels + len(rows) != result.num_labelled:
        yield f"{what}: selected.csv does not add up to the result's {result.num_labelled} labels."


def _held_out(what: str, folder: str, home: Home, result: Result) -> Iterator[str]:
    """û's pair accuracy, recomputed from what it said of each held-out set."""
    content = home.read(f"{folder}/held_out.csv")
    if content is None or result.pair_accuracy is None:
        if (content is None) != (result.pair_accuracy is None):
            yield f"{what}: held_out.csv and the result disagree on whether there was a utility model."
        return
    rows = list(csv.DictReader(io.StringIO(content.decode())))
    scores, utility = (np.array([float(row[name]) for row in rows]).reshape(-1, 2) for name in ("score", "utility"))
    if abs(order_agreement(scores, utility) - result.pair_accuracy) > 1e-12:
        yield f"{what}: held_out.csv does not give the result's pair accuracy."


def _images(what: str, result: Result) -> Iterator[str]:
    """The test accuracy, recomputed from which images each training got right, where the result tells."""
    if result.test_correct is None or result.num_test is None:
        return
    try:
        right = float(correct_share(result.test_correct, result.num_test).mean())
    except ValueError as error:
        yield f"{what}: the result's test_correct cannot be read ({first_line(error)})."
        return
    if abs(right - result.test_accuracy) > 1e-12:
        yield f"{what}: the result's test_correct does not give its test accuracy."
