"""What strategies take by stage, beside the paper's minutes."""

from dataclasses import replace

import pytest

from ablations.factors import Factor
from ablations.paper.minutes import beside_minutes, minutes
from ablations.report import render

TRAINED = {
    "f on S_0": 6.0, "f on S_1": 12.0, "offline pairs": 600.0, "growing sets": 30.0, "audited pairs": 60.0,
    "held-out pairs": 999.0, "ceiling": 999.0,
}  # fmt: skip
STAGES = {"seed_set": 0.1, "utility_model": 0.2, "acquisition": 48.0, "evaluation": 0.3}


@pytest.fixture
def timed(make_study, make_outcome):
    """Of three strategies; the second of random's two seeds is older than what tells its times."""

    def made(cell, seed):
        strategy = dict(cell.levels)["strategy"]
        trained = TRAINED if strategy == "rambo" else {name: TRAINED[name] for name in ("f on S_0", "f on S_1")}
        fits = 90.0 if strategy == "rambo" else None
        one = replace(make_outcome(0.9), seconds=STAGES, training_seconds=trained, utility_seconds=fits)
        return replace(one, training_seconds=None) if (strategy, seed) == ("random", 1) else one

    factor = Factor("strategy", ("rambo", "random", "margin"))
    return replace(make_study(made, factors=(factor,), controls=(), seeds=range(2)), recipe="runtimes-mnist")


def test_stages_are_those_of_b7_and_pairs_that_only_judge_are_left_out(timed):
    first = timed.outcomes["strategy=rambo", 0]
    assert minutes(first) == {
        "offline": 10.0,
        "pretraining": pytest.approx((6 + 30 + 60 + 90) / 60),
        "acquisition": 1.0,
        "picking": 0.8,
    }
    assert minutes(timed.outcomes["strategy=random", 0])["pretraining"] == 0.1
    assert minutes(timed.outcomes["strategy=random", 1]) is None


def test_rows_stand_beside_the_paper_s(timed):
    view = beside_minutes(timed)
    assert view.table.studied == (
        ("strategy=rambo", "10.00", "3.10", "1.00", "0.80", "50 + 39 + 20", "2"),
        ("strategy=random", "0.00", "0.10", "1.00", "0.80", "negligible", "1"),
        ("strategy=margin", "0.00", "0.10", "1.00", "0.80", "negligible", "2"),
    )
    assert view.numbers[1] == ("strategy=rambo", "10", "3.1", "1", "0.8", 50, 39, 20, 2)
    assert beside_minutes(replace(timed, recipe="table4")) is None
    small = beside_minutes(replace(timed, scale="small"))
    assert small.table == view.table
    assert "at small scale" in small.note


def test_the_report_has_them(timed):
    files = render(timed)
    assert "| strategy=rambo | 10.00 | 3.10 |" in files["paper.md"].decode()
    assert files["paper/minutes.csv"].startswith(b"cell,offline_minutes,")
    assert "Minutes beside the paper&#39;s (B.7)" in files["report.html"].decode()


def test_where_b7_gives_no_time_none_is_put_into_its_mouth(make_study):
    """It calls five strategies negligible on MNIST, of which LLAL is none."""
    factor = Factor("strategy", ("random", "llal", "entropy"))
    study = make_study(lambda cell, seed: 0.9, factors=(factor,), controls=(), seeds=range(2))
    paper = {"runtimes-mnist": ["negligible", "", ""], "runtimes-svhn": ["0 + 5 + 10", "0 + 5 + 30", ""]}
    for recipe, printed in paper.items():
        assert [row[-2] for row in beside_minutes(replace(study, recipe=recipe)).table.studied] == printed
