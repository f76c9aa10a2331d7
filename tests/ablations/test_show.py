"""What the commands print beside the tables."""

from argparse import Namespace
from dataclasses import replace

import pytest
from planned_studies import RESULT, plan_of

from ablations.__main__ import show
from ablations.asking import read_reporting
from ablations.factors import make_grid, parse_factor
from ablations.plans import make_plan
from ablations.report import render
from ablations.run import Ended, Reporting, keep_plan, write_report
from ablations.show import list_table, num_tests
from ablations.statistics import analyse
from rambo.errors import InvalidInput
from rambo.formats import json_bytes
from rambo.home import Home
from rambo.presets import paper_mnist

PAGES = ("/#/experiments/1/runs", "/#/experiments/1/runs/2")


def ended(study, pages=PAGES, unpublished=None):
    return Ended(study, render(study, allow_mixed=True), 3, unpublished, pages)


@pytest.mark.parametrize(
    ("uri", "address"),
    [("", "http://127.0.0.1:5000"), ("https://ann:secret@mlflow.example/at/", "https://ann:***@mlflow.example/at")],
)
def test_the_pages_are_where_the_results_are(make_study, tmp_path, monkeypatch, capsys, uri, address):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    show(ended(make_study(lambda cell, seed: 0.9, seeds=range(2))), Home(tmp_path))
    said = capsys.readouterr().out
    assert all(f"  {address}{page}\n" in said for page in PAGES)
    assert ("ablations ui" in said) == (uri == "")
    assert "secret" not in said


def test_no_page_is_named_where_mlflow_never_answered(make_study, tmp_path, capsys):
    show(ended(make_study(lambda cell, seed: 0.9, seeds=range(2)), None, "MLflow did not."), Home(tmp_path))
    said = capsys.readouterr().out
    assert "MLflow did not." in said
    assert "http" not in said


def test_what_a_limit_has_stopped_says_so_and_what_is_missing(make_study, tmp_path, capsys):
    study = make_study(lambda cell, seed: 0.9 if seed == 0 else None, seeds=range(2))
    said = replace(ended(replace(study, outcomes=study.outcomes), None), over="The time budget of 5 s is spent.")
    show(said, Home(tmp_path))
    told = " ".join(capsys.readouterr().out.split())
    assert "The time budget of 5 s is spent. study: 12 of 24 trials finished, 0 failed, 12 missing. The same" in told


def test_a_failure_of_the_study_that_was_retuned_is_one_of_the_command(make_study, tmp_path):
    fixed = make_study(lambda cell, seed: "It failed." if (cell.name, seed) == ("margin", 1) else 0.9, seeds=range(2))
    retuned = replace(make_study(lambda cell, seed: 0.9, seeds=range(2)), fixed=fixed)
    assert show(ended(retuned), Home(tmp_path)), "by which the command ends with status 1"
    assert not show(ended(replace(retuned, fixed=None)), Home(tmp_path))


@pytest.mark.parametrize(
    ("factors", "design", "expected"),
    [
        (["acquisition.budget=250,1000"], "one-at-a-time", 2),  # over 500, which is no level
        (["acquisition.budget=250,500"], "one-at-a-time", 1),
        (["acquisition.budget=250,500,1000", "switches.ot"], "factorial", 3),
        (["switches.ot", "switches.ranknet"], "factorial", 3),
    ],
)
def test_the_power_note_counts_the_tests_that_there_will_be(make_study, factors, design, expected):
    levels = [parse_factor(text) for text in factors]
    grid = make_grid(paper_mnist(), levels, controls=[], seeds=range(3), design=design)
    study = make_study(lambda cell, seed: 0.9 + 0.01 * seed, factors=levels, controls=[], seeds=range(3), design=design)
    assert num_tests(make_plan("study", grid, {})) == expected == analyse(study).tested[0].num_tests


def test_the_margin_of_the_last_report_is_the_next_one_s_unless_another_is_given(make_study, tmp_path):
    home, study = Home(tmp_path), make_study(lambda cell, seed: 0.9 + 0.01 * seed, seeds=range(2))
    asked = Namespace(margin=None, margin_reason=None, allow_mixed=False)
    other = Namespace(margin=1, margin_reason=None, allow_mixed=True)
    assert read_reporting(asked, home, study.name) == Reporting()
    write_report(study, home, Reporting(margin=0.005, allow_mixed=True))
    assert read_reporting(asked, home, study.name) == Reporting(margin=0.005)
    assert read_reporting(other, home, study.name) == Reporting(0.01, allow_mixed=True)


def test_the_studies_of_a_home_are_listed_with_what_is_done_and_what_it_cost(tiny, tmp_path):
    home, made = Home(tmp_path), plan_of(tiny, [parse_factor("switches.ot")], controls=("random",))
    keep_plan(made, home)
    first, second, *rest = dict.fromkeys(made.folders.values())
    home.write(f"{first}/result.json", json_bytes({**RESULT, "seconds": {"a": 1.5, "b": 2.5}, "trainings": 4}))
    home.write(f"{second}/failure.json", json_bytes({"cause": "error", "reason": "it broke"}))
    home.write("studies/study/spent.json", b'{"seconds": 90.0, "collected": 10, "in_trials": 4}')
    home.write("studies/other/plan.json", b'{"study": 1}')
    total = 2 + len(rest)
    assert list_table(home).rows == [
        ("other", "", "not readable", "", "", "", ""),
        ("study", str(total), "1", str(total - 2), "1", "4", "14"),
    ]
    narrow = list_table(home).text(50)
    assert max(map(len, narrow.splitlines())) <= 50
    assert "not readable" in narrow


@pytest.mark.parametrize("margin", [0, -1, 100, 150, float("nan")])
def test_a_margin_that_cannot_be_is_refused(tmp_path, margin):
    with pytest.raises(InvalidInput, match="--margin must be positive and below 100, in points of accuracy, got"):
        read_reporting(Namespace(margin=margin, margin_reason=None, allow_mixed=False), Home(tmp_path), "study")
