from collections import Counter
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from rambo.errors import InvalidInput
from rambo.utility.pairs import UtilityPairs, draw_pairs, power_set_shares, set_ids, size_range, split_by_size


def make_pairs(sizes, k=30):
    members = np.zeros((len(sizes), 2, k), dtype=bool)
    for pair, size in zip(members, sizes, strict=True):
        pair[0, :size] = pair[1, -size:] = True
    return UtilityPairs(members, np.zeros((len(sizes), 2)), None)


@given(k=st.integers(15, 60), classes=st.integers(2, 10), seed=st.integers(0, 5), longer=st.booleans())
def test_drawn_pairs_are_different_equally_large_and_within_the_size_law(k, classes, seed, longer):
    positions = np.arange(0, k)
    members = draw_pairs(
        positions,
        8,
        np.random.default_rng(seed),
        num_seed_labels=k + 5,
        num_classes=classes,
        law="longer" if longer else "uniform",
    )
    sizes = members.sum(axis=2)
    low, high = size_range(k, classes)
    assert (sizes[:, 0] == sizes[:, 1]).all()
    assert sizes.max() <= high
    assert sizes.min() >= ((low + high + 1) // 2 if longer else low)
    assert not members[:, :, k:].any()
    assert (members[:, 0] != members[:, 1]).any(axis=1).all()


def test_the_size_law_reaches_both_ends():
    members = draw_pairs(np.arange(20), 400, np.random.default_rng(0), num_seed_labels=20, num_classes=3)
    assert set(members[:, 0].sum(axis=1)) == set(range(4, 20))


def test_the_binomial_law_is_that_of_two_equally_large_sets_of_the_power_set():
    """Against all pairs of subsets of seven images, listed: each image is in a set with probability one half."""
    subsets = list(product([False, True], repeat=7))
    counts = Counter(
        sum(first) for first in subsets for second in subsets if sum(first) == sum(second) and first != second
    )
    listed = np.array([counts[size] for size in range(3, 7)]) / sum(counts[size] for size in range(3, 7))
    np.testing.assert_allclose(power_set_shares(7, 3, 6), listed)
    drawing = {"num_seed_labels": 7, "num_classes": 3, "law": "binomial"}
    members = draw_pairs(np.arange(7), 4000, np.random.default_rng(0), **drawing)
    drawn = np.bincount(members[:, 0].sum(axis=1), minlength=7)[3:7]
    assert chisquare(drawn, 4000 * listed).pvalue > 0.001
    seen = Counter(set_ids(members[members[:, 0].sum(axis=1) == 4][:, 0]))
    assert chisquare([seen[row] for row in seen]).pvalue > 0.001, "of one size, every set is as likely"
    assert len(seen) == 35


def test_the_binomial_law_of_a_large_seed_set_lies_around_its_half():
    shares, sizes = power_set_shares(3500, 700, 3499), np.arange(700, 3500)
    mean = shares @ sizes
    assert mean == pytest.approx(1750, abs=1e-6)
    spread = np.sqrt(shares @ (sizes - mean) ** 2)
    assert spread == pytest.approx(np.sqrt(3500 / 8), rel=1e-3), "two sets: half the variance of one, which is s / 4"


def test_excluded_sets_are_drawn_again():
    drawing = {"num_seed_labels": 4, "num_classes": 3}
    first = draw_pairs(np.arange(4), 1, np.random.default_rng(0), **drawing)
    other = draw_pairs(np.arange(4), 1, np.random.default_rng(0), **drawing, exclude=frozenset(set_ids(first)))
    assert not set(set_ids(first)) & set(set_ids(other))


def test_an_exhausted_size_is_an_error_and_not_a_loop():
    everything = frozenset(set_ids(~np.eye(4, dtype=bool)))
    with pytest.raises(InvalidInput, match=r"raise data\.num_seed_labels"):
        draw_pairs(np.arange(4), 1, np.random.default_rng(0), num_seed_labels=4, num_classes=3, exclude=everything)


def test_too_few_images_for_the_classes():
    with pytest.raises(InvalidInput, match="need more than 10 labelled images"):
        size_range(10, 10)


@given(st.lists(st.integers(3, 25), min_size=2, max_size=30), st.integers(0, 3))
def test_the_split_puts_longer_pairs_into_the_validation_half(sizes, seed):
    short, long = split_by_size(make_pairs(sizes), np.random.default_rng(seed))
    assert len(short) == len(sizes) // 2
    assert len(short) + len(long) == len(sizes)
    assert short.sizes.max() <= long.sizes.min()
    assert sorted([*short.sizes, *long.sizes]) == sorted(sizes)


def test_equal_sizes_leave_neither_half_empty():
    short, long = split_by_size(make_pairs([7] * 10), np.random.default_rng(0))
    assert len(short) == len(long) == 5


def test_values_must_match_the_members():
    with pytest.raises(InvalidInput, match="utility must be one value a set"):
        UtilityPairs(np.zeros((3, 2, 5), dtype=bool), np.zeros((3, 1)), None)
