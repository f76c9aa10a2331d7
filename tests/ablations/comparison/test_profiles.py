"""Performance profiles."""

import numpy as np
import pytest

from ablations.comparison.profiles import error_ratios, profile, profiles_view


def test_errors_are_counted_in_those_of_the_best():
    accuracy = np.array([[[0.9, 0.8]], [[0.8, 0.9]], [[0.85, 0.9]]])
    ratios = error_ratios(accuracy)
    assert ratios[:, 0] == pytest.approx(np.array([[1, 2], [2, 1], [1.5, 1]]))
    shares = profile(ratios, np.array([1.0, 1.5, 2.0]))
    assert shares == pytest.approx(np.array([[0.5, 0.5, 1], [0.5, 0.5, 1], [0.5, 1, 1]]))


def test_beside_one_without_errors_others_are_never_near():
    ratios = error_ratios(np.array([[[1.0]], [[1.0]], [[0.99]]]))
    assert ratios.ravel().tolist() == [1, 1, np.inf]


def test_equal_errors_tie_whatever_rounding_makes_of_them():
    assert error_ratios(np.array([[[0.1 + 0.2]], [[0.3]]])).ravel().tolist() == [1, 1]


def test_the_best_stands_first(compared):
    view = profiles_view(compared)
    assert [row[:2] for row in view.table.studied] == [("badge", "1.00"), ("rambo", "0.00"), ("random", "0.00")]
    assert "Of 9 settings and seeds" in view.note
