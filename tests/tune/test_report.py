"""What a search leaves behind, from its trials alone."""

import csv
import io
import json
import random
from pathlib import Path

from rambo.fields import read_config
from tune.records import ORPHANED, Attempt, SearchPlan, SeedOutcome, entries
from tune.report import render, summary_text, trials_csv
from tune.space import BATCH, BUDGET, LAMBDA_OT, LAMBDAS, Choice, Range, Space

SPACE = Space(
    {
        LAMBDA_OT: Range(1e-3, 1e2, log=True, zero=True),
        **dict.fromkeys(LAMBDAS, Range(1e-2, 10, log=True)),
        BATCH: Choice((10, 20)),
    }
)


def attempts(count: int = 20) -> list[Attempt]:
    rng = random.Random(0)
    found = []
    for number in range(count):
        fields = {LAMBDA_OT: rng.choice([0.0, 10 ** rng.uniform(-3, 2)]), BATCH: rng.choice([10, 20])}
        if fields[LAMBDA_OT]:
            fields |= {name: 10 ** rng.uniform(-2, 1) for name in LAMBDAS}
        seeds = 1 if number % 3 == 2 else 2
        outcomes = tuple(SeedOutcome(rng.random() * 0.1 + 0.8, 0.9) for _ in range(seeds))
        folders = (f"trials/d/{number}/0", f"trials/d/{number}/1")
        found.append(Attempt(number, "PRUNED" if seeds == 1 else "COMPLETE", fields, folders, outcomes))
    failed = Attempt(count, "FAIL", found[0].fields, ("trials/d/f/0", "trials/d/f/1"), (), "it broke, badly")
    orphan = Attempt(count + 1, "FAIL", found[1].fields, found[1].folders, (), ORPHANED)
    return [*found, failed, orphan]


def plan(tiny, space=SPACE, objectives=("accuracy",)) -> SearchPlan:
    return SearchPlan("test", space, tiny, (0, 1), objectives, "digits")


def test_a_plan_survives_its_file(tiny):
    assert SearchPlan.from_bytes(plan(tiny).to_bytes()) == plan(tiny)


def test_the_report_is_the_same_bytes_again_and_the_best_can_be_run(tiny, tmp_path):
    files = render(plan(tiny), attempts())
    assert files == render(plan(tiny), attempts())
    figures = {name for name in files if name.startswith("figures/")}
    assert figures == {f"figures/{name}.png" for name in ("history", "slices", "importances")}
    best = max((one for one in attempts() if one.state == "COMPLETE"), key=lambda one: one.val_accuracy)
    (tmp_path / "best.json").write_bytes(files["best.json"])
    assert read_config(tmp_path / "best.json") == plan(tiny).config(best.fields)
    assert f"Best: trial {best.number}," in summary_text(plan(tiny), attempts())


def test_the_table_has_every_trial_with_its_accuracies_and_its_reason(tiny):
    rows = list(csv.DictReader(io.StringIO(trials_csv(plan(tiny), attempts()).decode())))
    assert len(rows) == 22
    assert rows[2]["state"] == "PRUNED"
    assert rows[2]["val_1"] == ""
    assert float(rows[0]["val_mean"]) == attempts()[0].val_accuracy
    assert rows[20]["reason"] == "it broke, badly"
    assert {row[LAMBDAS[0]] for row in rows if row[LAMBDA_OT] == "0.0"} == {""}


def test_importances_stand_on_coordinates_that_can_be_told_apart(tiny):
    rows = list(csv.DictReader(io.StringIO(render(plan(tiny), attempts())["importances.csv"].decode())))
    assert {row["coordinate"] for row in rows} == {"OT on", "λ_OT(λ1+λ2)/2", "λ_OT·λ3", BATCH}


def test_a_search_without_a_complete_trial_has_a_table_and_no_best(tiny):
    failed = [one for one in attempts() if one.state == "FAIL"]
    files = render(plan(tiny), failed)
    assert set(files) == {"trials.csv", "importances.csv"}
    assert "No trial is complete yet" in summary_text(plan(tiny), failed)
    assert render(plan(tiny), [])["importances.csv"] == b"coordinate,importance\n"


def test_two_objectives_leave_a_front_with_a_configuration_for_each(tiny, tmp_path):
    space = Space({BUDGET: Choice((40, 60)), BATCH: Choice((10, 20))})
    made = [
        Attempt(n, "COMPLETE", {BUDGET: budget, BATCH: 20}, (), (SeedOutcome(value, 0.5),) * 2)
        for n, (budget, value) in enumerate([(40, 0.7), (60, 0.6), (60, 0.8), (40, 0.65)])
    ]
    files = render(plan(tiny, space, ("accuracy", "budget")), made)
    assert files["front.csv"].decode().splitlines()[1:] == ["0,40,0.7,0.5", "2,60,0.8,0.5"]
    assert json.loads(files["front/trial_0.json"])["acquisition"]["budget"] == 40
    assert "figures/front.png" in files


def test_each_folder_is_shown_once_and_what_was_tried_again_is_not(tiny):
    shared = attempts()[0]
    again = Attempt(30, "COMPLETE", shared.fields, shared.folders, shared.outcomes)
    shown = entries(plan(tiny), [*attempts(), again])
    assert len({entry.folder for entry in shown}) == len(shown)
    assert {entry.tags["number"] for entry in shown} == {str(n) for n in range(21)}
    assert [entry.failure for entry in shown if entry.tags["state"] == "FAIL"] == ["it broke, badly"]
    assert Path(shown[0].folder).name == shown[0].tags["seed"]
