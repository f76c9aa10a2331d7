"""Who beats whom."""

import numpy as np
import pytest
from scipy import stats

from ablations.comparison.penalties import penalise, penalties_view


def test_a_win_counts_one_over_the_settings_of_its_data_set():
    steady, jumpy = [0.5, 0.51, 0.52], [0.1, 0.9, 0.65]  # the latter's mean is higher, but not surely so
    first, second = np.array(steady), np.array(jumpy)
    accuracy = np.array([[first + np.array([0.1, 0.101, 0.1])] * 3, [first, first, first + 0.2], [second] * 3])
    found = penalise(accuracy, ["a", "a", "b"])
    assert found.wins == pytest.approx(np.array([[0, 1, 0], [1, 0, 0], [0, 0, 0]]))
    assert found.losses == pytest.approx([1 / 3, 1 / 3, 0])
    assert found.num_data_sets == 2


def test_it_is_a_loop_over_scipys_paired_t_test():
    generator, names = np.random.default_rng(0), ["a", "a", "b", "b", "b"]
    accuracy = generator.normal(0.8, 0.02, (4, 5, 6)) + np.array([0, 0.01, 0.02, 0.04])[:, None, None]
    expected = np.zeros((4, 4))
    for i in range(4):
        for j in range(4):
            for s, name in enumerate(names):
                mine, other = accuracy[i, s], accuracy[j, s]
                if i != j and stats.ttest_rel(mine, other).pvalue < 0.05 and mine.mean() > other.mean():
                    expected[i, j] += 1 / names.count(name)
    found = penalise(accuracy, names)
    assert 0 < expected.sum() < 12
    assert found.wins == pytest.approx(expected)
    assert found.losses == pytest.approx(expected.sum(axis=0) / 4)


def test_the_table_ends_in_the_means_of_its_columns(compared):
    table = penalties_view(compared).table
    assert table.studied[0] == ("1 rambo", "–", "1.00", "0.00", "0.33")
    assert table.studied[2] == ("3 badge", "1.00", "1.00", "–", "0.67")
    assert table.controls == (("loses, mean of its column", "0.33", "0.67", "0.00", ""),)
