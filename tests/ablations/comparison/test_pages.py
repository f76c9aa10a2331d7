"""The files of a comparison, beside a study's others."""

import csv
import io

import pytest
from gaining_studies import NAMES

from ablations.comparison.pages import FIGURES, comparison
from ablations.comparison.pages import NAMES as NAMES_OF_ALL
from ablations.factors import parse_factor
from ablations.report import render
from ablations.statistics import analyse

SINGLE = ("rivals", "ranks", "penalties", "profiles")
OVER_BUDGETS = ("curves", "aubc")


def made(make_study, *factors, controls=(), accuracy=lambda cell, seed: 0.5 + 0.01 * seed):
    return make_study(accuracy, factors=list(map(parse_factor, factors)), controls=controls, seeds=range(2))


def test_a_study_of_switches_compares_no_strategies(study):
    """So its files are what they were: other tests name them all."""
    assert comparison(analyse(study)) is None


def test_a_study_of_strategies_over_budgets_has_all_views_and_one_page(make_study):
    study = made(make_study, "strategy=rambo,random,badge", "acquisition.budget=100,200")
    found = render(study)
    views = (*OVER_BUDGETS, *SINGLE)
    tables = {f"comparison/{name}.{kind}" for name in views for kind in ("tex", "csv")}
    pictures = {f"figures/{one}.{kind}" for one in ("curves", *SINGLE[1:]) for kind in ("png", "pdf")}
    assert set(found) == NAMES | {"comparison.md"} | tables | pictures
    page = found["report.html"].decode()
    assert page.count("<img") == 7
    assert "<h3>Area under the budget curve</h3>" in page


def test_over_k_there_are_curves_but_no_area_under_a_budget_curve(make_study):
    found = comparison(analyse(made(make_study, "strategy=rambo,random,badge", "data.num_seed_labels=100,200")))
    assert [view.name for view in found.views] == ["curves", *SINGLE]
    assert "figures/curves" in found.pictures


def test_with_one_budget_there_is_no_curve(make_study):
    found = comparison(analyse(made(make_study, "strategy=rambo,random,badge")))
    assert [view.name for view in found.views] == list(SINGLE)
    assert "figures/curves" not in found.pictures


@pytest.mark.parametrize("name", [*OVER_BUDGETS, *SINGLE])
def test_each_view_is_the_same_in_all_forms(make_study, name):
    study = made(make_study, "strategy=rambo,random,badge", "acquisition.budget=100,200")
    found = comparison(analyse(study))
    [view] = [one for one in found.views if one.name == name]
    rows = [*view.table.studied, *view.table.controls]
    assert {len(row) for row in rows} == {len(view.table.header)}
    latex, text = found.files[f"comparison/{name}.tex"].decode(), found.files["comparison.md"].decode()
    assert latex.count(r" \\") == len(rows) + 1
    assert all(line in text for line in (f"## {view.title}", view.note, found.caption))
    assert "".join(latex.splitlines(keepends=True)[:5]).isascii()
    numbers = list(csv.DictReader(io.StringIO(found.files[f"comparison/{name}.csv"].decode())))
    assert numbers
    assert all(None not in row for row in numbers)


def test_all_names_are_known_so_that_those_of_an_earlier_report_can_go(make_study):
    found = comparison(analyse(made(make_study, "strategy=rambo,random,badge", "acquisition.budget=100,200")))
    assert sorted(found.files) == sorted(NAMES_OF_ALL)


def test_a_picture_of_several_data_sets_is_not_said_to_show_shares():
    """Its entries go up to the number of data sets."""
    assert "share" not in FIGURES["figures/penalties"]
