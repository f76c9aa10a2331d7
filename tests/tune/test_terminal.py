"""What a search prints: tables that fit, and what they come to."""

import pytest
from made_searches import attempts, plan

from rambo.console import Table, wrapped
from tune import importances
from tune.terminal import conclusion


@pytest.fixture(autouse=True)
def few(monkeypatch):
    monkeypatch.setattr(importances, "PERMUTATIONS", 19)


def text(parts):
    return "\n".join(one.text() if isinstance(one, Table) else wrapped(one, 80) for one in parts)


def test_the_best_stands_beside_the_base_and_importances_beside_chance(tiny):
    parts = conclusion(plan(tiny), attempts())
    settings, shares = (one for one in parts if isinstance(one, Table))
    best = plan(tiny).best(attempts())
    assert settings.header[-1] == f"best (trial {best.number})"
    assert [row[0] for row in settings.rows] == [*plan(tiny).space.dimensions, "validation %", "test %"]
    assert settings.rows[-2][2] == f"{100 * best.val_accuracy:.2f}"
    assert {row[-1] for row in shares.rows} <= {"shown to matter", "remains open"}
    said = text(parts)
    assert "|" not in said
    assert max(map(len, said.splitlines())) <= 80
    assert "14 trials ran all of 2 seeds, 6 were stopped earlier, 2 failed." in said


def test_without_a_complete_trial_there_is_one_sentence(tiny):
    failed = [one for one in attempts() if one.state == "FAIL"]
    [said] = conclusion(plan(tiny), failed)
    assert said.endswith("2 failed. No trial is complete yet.")


def test_of_two_objectives_the_front_is_a_table(tiny):
    parts = conclusion(plan(tiny, objectives=("accuracy", "budget")), attempts())
    fronts = [one for one in parts if isinstance(one, Table) and one.header[0] == "on the front"]
    assert len(fronts) == 1
    assert len(fronts[0].rows) >= 1
