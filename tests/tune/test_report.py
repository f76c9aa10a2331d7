"""What a search leaves behind, from its trials alone."""

import csv
import io
import json
from dataclasses import replace

import pytest
from made_searches import attempts, plan

from rambo import drawing
from rambo.fields import read_config
from tune import importances
from tune.records import Attempt, SeedOutcome
from tune.report import render, summary_text, trials_csv
from tune.space import BATCH, BUDGET, LAMBDA_OT, LAMBDAS, Choice, Space


@pytest.fixture(autouse=True)
def few(monkeypatch):
    monkeypatch.setattr(importances, "PERMUTATIONS", 19)


def test_the_report_is_the_same_bytes_again_and_the_best_can_be_run(tiny, tmp_path):
    files = render(plan(tiny), attempts())
    assert files == render(plan(tiny), attempts())
    figures = {name for name in files if name.startswith("figures/")}
    assert figures == {
        f"figures/{name}.{kind}" for name in ("history", "slices", "importances") for kind in ("png", "pdf")
    }
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
    assert sum(float(row["importance"]) for row in rows) == pytest.approx(1)
    assert all(0 < float(row["null_mean"]) < float(row["null_95"]) for row in rows)
    assert all(0 < float(row["p"]) <= 1 for row in rows)


def test_the_text_says_whether_settings_differ_and_how_many_there_are(tiny):
    text = summary_text(plan(tiny), attempts())
    assert "Settings are not shown to differ more than seeds and trainings make them differ: F(13, 13) = " in text
    assert "| coordinate | importance (null mean, 95th percentile; p) |" in text
    assert "equal in effect" not in text
    twin = replace(attempts()[0], number=30)
    assert "The 21 finished ones are 20 settings" in summary_text(plan(tiny), [*attempts(), twin])


def test_a_search_without_a_complete_trial_has_a_table_and_no_best(tiny):
    failed = [one for one in attempts() if one.state == "FAIL"]
    files = render(plan(tiny), failed)
    assert set(files) == {"trials.csv", "importances.csv"}
    assert "No trial is complete yet" in summary_text(plan(tiny), failed)
    assert render(plan(tiny), [])["importances.csv"] == b"coordinate,importance,null_mean,null_95,p\n"


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


def test_a_picture_that_fails_is_left_out_and_a_line_says_what_draws_it(tiny, monkeypatch, caplog):
    monkeypatch.setattr(drawing, "png", lambda figure: 1 / 0)
    found = render(plan(tiny), attempts())
    assert set(found) == {"trials.csv", "importances.csv", "best.json"}
    said = f"python -m tune report --study {plan(tiny).name}, with the same --home, draws it again."
    assert [said in record.getMessage() for record in caplog.records] == [True] * 3
