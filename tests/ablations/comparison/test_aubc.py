"""The area under the budget curve."""

import numpy as np
import pytest
from scipy.integrate import trapezoid

from ablations.comparison.aubc import aubc, aubc_view


def test_a_constant_curve_has_its_constant_and_budgets_count_by_their_distance():
    assert aubc(np.full((3, 2), 0.7), [10, 20, 90]) == pytest.approx([0.7, 0.7])
    assert aubc(np.array([[0.0], [1.0], [1.0]]), [0, 1, 10]) == pytest.approx([0.95])  # (½·1 + 1·9) / 10


def test_it_is_scipys_trapezoid_over_the_range():
    accuracy, budgets = np.random.default_rng(0).uniform(size=(4, 5, 3)), np.array([1, 4, 9, 16, 40])
    assert aubc(accuracy, budgets) == pytest.approx(trapezoid(accuracy, budgets, axis=1) / 39, abs=1e-12)


def test_the_table_has_each_methods_area_and_its_difference_to_the_reference(compared):
    view = aubc_view(compared, 0.003)
    rambo, random, badge = view.table.studied
    area = 0.8 + 0.02 + 0.001 + (100 * 0.015 + 300 * 0.035) / 400  # budget/10000: means .015 and .035 of the two steps
    assert rambo == ("rambo", f"{100 * area:.2f} ± 0.06", "the reference", "", "", "")
    assert random[2] == "+2.00 on every seed"
    assert badge[2] == "−1.00 on every seed"
    assert view.numbers[1][:4] == ("", "rambo", 3, "0.851")


def test_each_scene_has_its_own_curve(make_compared):
    found = make_compared(
        factors=("strategy=rambo,random", "data.label_noise=0,0.2", "acquisition.budget=100,200"), seeds=range(2)
    )
    view = aubc_view(found, 0.003)
    assert [row[:2] for row in view.table.studied][1:3] == [("random", "label noise=0.0"), ("rambo", "label noise=0.2")]
