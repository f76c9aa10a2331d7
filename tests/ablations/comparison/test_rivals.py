"""A chosen method against each of the others."""

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from ablations.comparison.rivals import beats_all, rivals, rivals_view


def test_differences_are_paired_and_corrected_over_all_rivals():
    values = np.random.default_rng(3).normal(0.8, 0.02, (4, 9)) + np.array([0, 0.03, 0.01, 0.02])[:, None]
    found = rivals(values, ["a", "b", "c", "d"], 1, 0.003)
    assert [one.name for one in found] == ["a", "c", "d"]
    for one, place in zip(found, (0, 2, 3), strict=True):
        assert one.estimate.mean == pytest.approx((values[1] - values[place]).mean())
        assert one.estimate.p_t == pytest.approx(stats.ttest_rel(values[1], values[place]).pvalue)
    assert [one.p_holm for one in found] == pytest.approx(
        multipletests([one.estimate.p for one in found], method="holm")[1]
    )


def test_better_than_every_one_is_as_sure_as_the_closest():
    values = np.array([[0.9, 0.91, 0.92], [0.8, 0.81, 0.83], [0.7, 0.95, 0.6]])
    found = rivals(values, "abc", 0, 0.003)
    assert beats_all(found) == max(one.estimate.p for one in found) == 0.5  # signs + − +, of which half are as large
    assert beats_all(rivals(values, "abc", 1, 0.003)) is None
    assert not found[0].is_beaten, "three seeds show nothing"


def test_fewer_than_two_seeds_are_refused():
    with pytest.raises(ValueError, match="two seeds"):
        rivals(np.ones((2, 1)), "ab", 0, 0.003)


def test_the_table_is_of_the_reference(compared):
    view = rivals_view(compared, 0.003)
    assert view.table.studied[0] == ("rambo − random", "+2.00 on every seed", "cannot be told", ".250", ".500")
    assert "rambo has not the highest mean" in view.note
    assert "each the mean over 3 settings" in view.note


def test_who_shares_the_highest_mean_has_it(make_compared):
    found = make_compared(lambda cell, seed: 0.5 + 0.01 * seed, factors=("strategy=rambo,random",), seeds=range(3))
    assert "rambo shares the highest mean" in rivals_view(found, 0.003).note
