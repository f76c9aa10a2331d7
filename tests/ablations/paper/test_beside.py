"""Our numbers beside the paper's, and where they differ."""

from dataclasses import replace

import pytest

from ablations.paper.beside import beside_paper, difference_text, exceeds
from ablations.paper.printed import Printed
from ablations.report import render
from ablations.statistics import Summary

ALL_ON = "bilevel=on OT=on RankNet=on"


@pytest.mark.parametrize(
    ("mean", "error", "text"),
    [(0.956, 0.001, "+0.30"), (0.957, 0.001, "+0.40*"), (0.9501, 0.0005, "−0.29*"), (0.953, 0.0, "+0.00")],
)
def test_a_difference_is_marked_above_both_errors_together(mean, error, text):
    assert difference_text(Summary(mean, error, 10), Printed(95.3, 0.2)) == text
    assert exceeds(Summary(mean, error, 10), Printed(95.3, 0.2)) is text.endswith("*")


def test_one_seed_has_no_error_to_exceed_and_none_has_no_difference():
    assert exceeds(Summary(0.5, None, 1), Printed(95.3, 0.2)) is None
    assert difference_text(Summary(None, None, 0), Printed(95.3, 0.2)) == ""


def test_a_study_under_the_paper_s_name_has_its_numbers_and_says_what_is_another(make_study):
    study = make_study(lambda cell, seed: 0.94 + seed / 1000, seeds=range(2), name="table4")
    assert beside_paper(study) is None
    view = beside_paper(replace(study, recipe="table4"))
    cells = [row[0] for row in (*view.table.studied, *view.table.controls)]
    assert (len(cells), cells[0], cells[-1]) == (9, ALL_ON, "random")
    assert view.table.studied[0][1:5] == ("95.3 ± 0.2", "95.05 ± 0.05", "−0.25", "2")  # validation is test + .01
    assert view.table.controls[0][3] == "+1.65*"
    assert "unlike in the recipe: evaluation.repeats = 1." in view.note
    assert beside_paper(replace(study, recipe="fig2a")) is None
    assert beside_paper(replace(study, recipe="table4", scale="small")) is None, "of another k and B"


def test_the_report_has_the_table(make_study):
    files = render(replace(make_study(lambda cell, seed: 0.94, controls=(), seeds=range(2)), recipe="table4"))
    assert "95.3 ± 0.2" in files["paper.md"].decode()
    assert files["paper/paper.csv"].startswith(b"cell,paper_mean,paper_se")
    assert "Beside the paper&#39;s Table 4" in files["report.html"].decode()


def test_what_marks_the_study_s_tables_marks_this_one(make_study):
    study = make_study(lambda cell, seed: None if seed and cell.control == "margin" else 0.94, seeds=range(2))
    files = render(replace(study, recipe="table4"), allow_mixed=True)
    for name in ("paper.md", "paper/paper.tex"):
        assert "Mind: this study should have the same seeds in all cells, but has" in files[name].decode(), name
