"""The pictures of a study."""

import io

import numpy as np
import pytest
from gaining_studies import NAMES
from PIL import Image

from ablations.factors import parse_factor, switches
from ablations.figures import curves_over_labels


def test_figures_are_pictures_with_ink(files):
    for name in NAMES:
        if name.endswith(".png"):
            picture = np.asarray(Image.open(io.BytesIO(files[name])).convert("L"))
            assert picture.shape[1] >= 800, name
            assert 0.005 < (picture < 200).mean() < 0.5, name


def test_cells_that_differ_only_in_the_budget_are_one_curve_from_the_seed_set_on(make_study):
    factors = [parse_factor("acquisition.budget=1000,250,500"), *switches()[:1]]

    def accuracy(cell, seed):
        return 0.8 + cell.level("acquisition.budget") / 10_000 + 0.001 * seed

    curves = curves_over_labels(
        make_study(accuracy, factors=factors, controls=["random"], seeds=range(3)), "test_accuracy"
    )
    assert {curve.name for curve in curves} == {"bilevel=on", "bilevel=off", "random"}
    for curve in curves:
        assert curve.num_labelled == (200, 450, 700, 1200)
        assert [summary.mean for summary in curve.accuracy] == pytest.approx([0.8, 0.826, 0.851, 0.901])
        assert curve.accuracy[1].n == 3
