"""The pictures of a study."""

import io

import numpy as np
import pytest
from gaining_studies import NAMES
from PIL import Image

from ablations.factors import parse_factor, switches
from ablations.figures import curves_over_labels, labels_figure
from ablations.statistics import analyse
from rambo import drawing


def test_figures_are_pictures_with_ink(files):
    for name in NAMES:
        if name.endswith(".png"):
            picture = np.asarray(Image.open(io.BytesIO(files[name])).convert("L"))
            assert picture.shape[1] >= 1600, name
            assert 0.005 < (picture < 200).mean() < 0.5, name


def test_cells_that_differ_only_in_the_budget_are_one_curve_from_the_seed_set_on(make_study):
    factors = [parse_factor("acquisition.budget=1000,250,500"), *switches()[:1]]

    def accuracy(cell, seed):
        return 0.8 + cell.level("acquisition.budget") / 10_000 + 0.001 * seed

    curves = curves_over_labels(
        make_study(accuracy, factors=factors, controls=["random"], seeds=range(3)), "test_accuracy"
    )
    assert {curve.name for curve in curves} == {"bilevel", "no bilevel", "random"}
    for curve in curves:
        assert curve.num_labelled == (200, 450, 700, 1200)
        assert [summary.mean for summary in curve.accuracy] == pytest.approx([0.8, 0.826, 0.851, 0.901])
        assert curve.accuracy[1].n == 3


@pytest.fixture
def drawn(monkeypatch):
    """The figures that become pictures, in order."""
    seen, save = [], drawing.png
    monkeypatch.setattr(drawing, "png", lambda figure: seen.append(figure) or save(figure))
    return seen


def test_cells_with_one_budget_are_points_beside_each_other(study, drawn):
    labels_figure(analyse(study))
    [axes] = drawn[0].axes
    columns = [text.get_text() for text in axes.get_xticklabels()]
    assert len(columns) == len(study.grid.cells)
    assert {"full", "RankNet only", "random"} <= set(columns)
    at = [tuple(np.unique(line.get_xdata())) for line in axes.lines if len(line.get_xdata())]
    assert all(len(places) == 1 for places in at), "no line leads from one to another"
    assert sorted(set(at)) == [(place,) for place in range(len(study.grid.cells))]
    assert [text.get_text() for text in drawn[0].legends[0].get_texts()] == [
        "after the acquisition, 700 labels",
        "before: the seed set, 200 labels",
    ]


def test_cells_with_several_budgets_are_lines_named_by_what_differs(make_study, drawn):
    factors = [parse_factor("acquisition.budget=250,500"), *switches()[:1]]
    study = make_study(lambda cell, seed: 0.9, factors=factors, controls=["random"], seeds=range(2))
    labels_figure(analyse(study))
    assert {text.get_text() for text in drawn[0].legends[0].get_texts()} == {"bilevel", "no bilevel", "random"}
    assert all(len(line.get_xdata()) == 3 for line in drawn[0].axes[0].lines if line.get_linestyle() != "None")
