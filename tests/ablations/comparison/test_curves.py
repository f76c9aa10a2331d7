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


def test_the_numbers_are_means_with_students_interval(compared):
    row = dict(zip(curves_view(compared).numbers[0], curves_view(compared).numbers[2], strict=True))
    assert (row["method"], row["budget"], row["num_labelled"], row["n"]) == ("rambo", 200, 400, 3)
    values = np.array([0.84, 0.841, 0.842])
    ends = stats.t.interval(0.95, 2, loc=values.mean(), scale=stats.sem(values))
    assert [float(row[name]) for name in ("low", "high")] == pytest.approx(ends)
    assert float(row["se"]) == pytest.approx(stats.sem(values))
