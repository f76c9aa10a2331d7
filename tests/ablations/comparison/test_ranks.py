"""Mean ranks, Friedman's test and Nemenyi's distance."""

import numpy as np
import pytest
from scipy import stats

from ablations.comparison.ranks import nemenyi, rank, ranks_view


def test_ranks_are_averaged_over_settings_and_seeds_ties_by_half():
    accuracy = np.array([[[0.9, 0.8], [0.7, 0.7]], [[0.8, 0.9], [0.7, 0.6]]])
    found = rank(accuracy, ["mnist", "mnist"])
    # setting 1: ranks 1, 2 | 2, 1; setting 2: 1.5, 1 | 1.5, 2. By seed the first has 1.25 and 1.5, the second the rest.
    assert found.mean == pytest.approx([1.375, 1.625])
    assert found.se == pytest.approx([0.125, 0.125])
    assert found.block_mean == pytest.approx([1.25, 1.75]), "on the second seed both tie"
    assert found.num_blocks == 2
    assert (found.friedman, found.p) == (None, None), "of two methods there is no such test"


def test_with_one_setting_it_is_scipys_friedman_over_seeds():
    accuracy = np.round(np.random.default_rng(1).uniform(size=(5, 1, 12)), 1)
    found = rank(accuracy, ["mnist"])
    statistic, p = stats.friedmanchisquare(*accuracy[:, 0])
    assert (found.friedman, found.p) == pytest.approx((statistic, p))
    assert found.mean == pytest.approx(stats.rankdata(-accuracy[:, 0], axis=0).mean(axis=1))
    assert found.block_mean == pytest.approx(found.mean)


def test_seeds_of_two_data_sets_are_blocks_and_budgets_are_not():
    accuracy = np.random.default_rng(2).uniform(size=(3, 5, 4))
    assert rank(accuracy, ["a", "a", "a", "b", "b"]).num_blocks == 8


def test_where_all_tie_there_is_no_test():
    assert rank(np.full((3, 1, 4), 0.5), ["a"]).friedman is None


def test_nemenyis_distance_is_demsars():
    """Table 5a of his paper has q/√2 at 5 %: 1.960, 2.343, 2.569 and 3.164 for 2, 3, 4 and 10 classifiers."""
    for k, q in ((2, 1.960), (3, 2.343), (4, 2.569), (10, 3.164)):
        assert nemenyi(k, 6) == pytest.approx(q * np.sqrt(k * (k + 1) / 36), abs=2e-3)


def test_the_table_goes_from_the_best_and_says_what_the_blocks_are(compared):
    view = ranks_view(compared)
    assert [row[:3] for row in view.table.studied] == [
        ("badge", "–", "1.00 ± 0.00"),
        ("rambo", "✓", "2.00 ± 0.00"),
        ("random", "–", "3.00 ± 0.00"),
    ]
    assert "Over 3 blocks Friedman's test has χ² = 6.00, p = .050." in view.note
    assert "With 1 data set this tells of new seeds, not of other data." in view.note
