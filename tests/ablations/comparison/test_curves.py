"""Curves as a table: what each method reaches with how many labels."""

import numpy as np
import pytest
from scipy import stats

from ablations.comparison.curves import curves_view


def test_a_row_is_a_method_and_a_column_a_budget(compared):
    view = curves_view(compared)
    assert view.table.header == ("method", "B=100", "B=200", "B=500")
    assert view.table.studied[2] == (
        "badge",
        "84.10 [83.85, 84.35]",
        "85.10 [84.85, 85.35]",
        "88.10 [87.85, 88.35]",
    )


def test_curves_are_over_k_where_it_varies_alone(make_compared):
    sizes = "data.num_seed_labels=300,100,200"
    over_k = make_compared(factors=("strategy=rambo,random,badge", sizes), seeds=range(3))
    assert over_k.curves == {(): [1, 2, 0]}
    view = curves_view(over_k)
    assert (view.title, view.table.header) == (
        "Accuracy over the size of the seed set",
        ("method", "k=100", "k=200", "k=300"),
    )
    assert [row[3] for row in view.numbers[1:4]] == [600, 700, 800], "labels in all, B = 500 of them bought"
    both = make_compared(factors=("strategy=rambo,random", sizes, "acquisition.budget=100,200"), seeds=range(3))
    assert curves_view(both).table.header == ("method", "in", "B=100", "B=200")
    assert len(both.curves) == 3


def test_the_numbers_are_means_with_students_interval(compared):
    row = dict(zip(curves_view(compared).numbers[0], curves_view(compared).numbers[2], strict=True))
    assert (row["method"], row["budget"], row["num_labelled"], row["n"]) == ("rambo", 200, 400, 3)
    values = np.array([0.84, 0.841, 0.842])
    ends = stats.t.interval(0.95, 2, loc=values.mean(), scale=stats.sem(values))
    assert [float(row[name]) for name in ("low", "high")] == pytest.approx(ends)
    assert float(row["se"]) == pytest.approx(stats.sem(values))
