"""Inference on paired differences against other libraries, brute force, and simulations whose truth is known."""

from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower
from statsmodels.stats.weightstats import ttost_paired

from rambo.inference import (
    DRAWS,
    attainable,
    detectable_effect,
    difference_power,
    equivalence_power,
    estimate,
    holm,
    seeds_needed,
    sign_flip_p,
    t_interval,
    t_p,
    tost_p,
)


@pytest.mark.parametrize("n", [2, 5, 9, 12])
def test_sign_flips_agree_with_scipys_exact_permutation_test(n):
    d = np.random.default_rng(n).normal(0.4, 1, n)
    scipys = stats.permutation_test((d,), np.mean, permutation_type="samples", n_resamples=np.inf)
    assert sign_flip_p(d) == pytest.approx(scipys.pvalue, abs=1e-12)


def test_sign_flips_of_tied_accuracies_are_counted_as_fractions_count_them():
    generator = np.random.default_rng(0)
    for _ in range(50):
        d = [Fraction(int(k), 3000) for k in generator.integers(-6, 10, size=7)]
        sums = [abs(sum(s * x for s, x in zip(signs, d, strict=True))) for signs in product((1, -1), repeat=7)]
        exact = sum(value >= abs(sum(d)) for value in sums) / 2**7
        assert sign_flip_p(np.array([float(x) for x in d])) == exact


def test_many_seeds_are_tested_by_random_flips_that_agree_with_all_of_them():
    d = np.random.default_rng(3).normal(0.35, 1, 18)
    signs = np.array(list(product((1, -1), repeat=9)), dtype=float)
    sums = (signs @ d[:9])[:, None] + (signs @ d[9:])[None, :]
    exact = (np.abs(sums) >= abs(d.sum()) - 1e-12).mean()
    drawn = sign_flip_p(d, np.random.default_rng(0))
    assert drawn == pytest.approx(exact, abs=4 * np.sqrt(exact / DRAWS))
    assert drawn == sign_flip_p(d, np.random.default_rng(0))
    assert sign_flip_p(np.ones(18), np.random.default_rng(0)) == pytest.approx(1 / DRAWS, rel=8)
    with pytest.raises(TypeError, match="needs a generator"):
        sign_flip_p(d)


@pytest.mark.parametrize("n", [2, 3, 10, 20])
def test_t_tests_and_intervals_agree_with_scipy_and_statsmodels(n):
    generator = np.random.default_rng(n)
    x, y = generator.normal(0.92, 0.01, n), generator.normal(0.918, 0.01, n)
    found = estimate(x - y, 0.003, generator)
    paired, one = stats.ttest_rel(x, y), stats.ttest_1samp(x - y, 0)
    assert found.p_t == pytest.approx(paired.pvalue) == pytest.approx(one.pvalue)
    assert (found.low, found.high) == pytest.approx(tuple(paired.confidence_interval(0.95)))
    assert found.se == pytest.approx(stats.sem(x - y))
    assert found.p_tost == pytest.approx(ttost_paired(x, y, -0.003, 0.003)[0])


def test_identical_differences_leave_no_doubt_and_no_nan():
    none, some = estimate([0.0] * 6, 0.003, None), estimate([0.25] * 6, 0.003, None)
    assert (none.p, none.p_t, none.p_tost, none.low, none.high) == (1, 1, 1, 0, 0)
    assert (some.p, some.p_t, some.p_tost, some.low, some.high) == (2 / 64, 0, 1, 0.25, 0.25)
    assert estimate([0.1], 0.003, None) is None


def test_holm_is_the_step_down_by_hand():
    p = [0.01, 0.04, 0.03, 0.005, 0.5]
    # sorted .005 .01 .03 .04 .5 times 5 4 3 2 1 = .025 .04 .09 .08 .5, then never falling
    assert holm(p) == pytest.approx([0.04, 0.09, 0.09, 0.025, 0.5])
    assert holm([]) == []


@pytest.mark.parametrize("n", [1, 7, 20])
def test_holm_agrees_with_statsmodels(n):
    p_values = np.random.default_rng(n).choice([0.0, 0.003, 0.01, 0.02, 0.4, 1.0], size=n).tolist()
    assert holm(p_values) == multipletests(p_values, method="holm")[1].tolist()


# --- simulations --------------------------------------------------------------------------------------------------


def within(rate: float, truth: float, runs: int) -> bool:
    return abs(rate - truth) < 4 * np.sqrt(truth * (1 - truth) / runs)


@pytest.mark.parametrize("n", [3, 10])
def test_intervals_cover_the_truth_in_95_percent(n):
    d = np.random.default_rng(n).normal(0.004, 0.01, (10_000, n))
    low, high = t_interval(d)
    assert within(((low <= 0.004) & (high >= 0.004)).mean(), 0.95, 10_000)


def test_the_sign_flip_test_keeps_its_size_for_heavy_tails_where_t_does_not_hold_exactly():
    d = np.random.default_rng(1).standard_cauchy((10_000, 8))
    p = sign_flip_p(d)
    assert within((p <= 0.05).mean(), 12 / 256, 10_000), "p is a multiple of 2/256, at most .05 in 12 of 256 cases"
    assert (t_p(d) <= 0.05).mean() < 0.03


def test_tost_keeps_its_size_at_the_margin_and_finds_true_equivalence():
    generator = np.random.default_rng(2)
    at_margin, inside = generator.normal(0.003, 0.002, (10_000, 10)), generator.normal(0, 0.001, (10_000, 10))
    assert within((tost_p(at_margin, 0.003) <= 0.05).mean(), 0.05, 10_000)
    assert (tost_p(inside, 0.003) <= 0.05).mean() > 0.99


# --- power --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("num_seeds", "num_tests"), [(5, 1), (8, 7), (10, 7), (30, 3)])
def test_detectable_effects_agree_with_statsmodels(num_seeds, num_tests):
    expected = TTestPower().solve_power(nobs=num_seeds, alpha=0.05 / num_tests, power=0.8)
    assert attainable(num_seeds, num_tests).detectable_sd == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(("num_seeds", "margin"), [(4, 2.0), (10, 0.8), (10, 1.2), (40, 0.5)])
def test_the_power_of_tost_is_how_often_it_shows_that_nothing_is_nothing(num_seeds, margin):
    d = np.random.default_rng(num_seeds).normal(0, 1, (20_000, num_seeds))
    assert within((tost_p(d, margin) < 0.05).mean(), equivalence_power(num_seeds, margin, 0.05), 20_000)


def test_seeds_are_proposed_that_have_the_power_and_no_more():
    for power_of in (difference_power, equivalence_power):
        needed = seeds_needed(lambda n, of=power_of: of(n, 0.5, 0.05 / 7))
        assert power_of(needed, 0.5, 0.05 / 7) >= 0.8 > power_of(needed - 1, 0.5, 0.05 / 7)
    assert seeds_needed(lambda n: 1.0) == 2
    assert seeds_needed(lambda n: 0.0, most=1000) is None


def test_a_detectable_effect_is_detected_in_80_percent():
    effect = detectable_effect(4, 0.05 / 7)
    d = np.random.default_rng(5).normal(effect, 1, (20_000, 4))
    assert within((t_p(d) < 0.05 / 7).mean(), 0.8, 20_000)


# --- many seeds ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [17, 18])
def test_accuracies_of_many_seeds_are_counted_over_all_flips_without_drawing_any(n):
    """Against all 2^n sums, as fractions have them; accuracies of 3 trainings on 1000 images, a quarter contrast."""
    steps = np.random.default_rng(n).integers(-40, 60, size=n)
    halves = [np.array(list(product((1, -1), repeat=size))) for size in (n // 2, n - n // 2)]
    sums = (halves[0] @ steps[: n // 2])[:, None] + (halves[1] @ steps[n // 2 :])[None, :]
    exact = (np.abs(sums) >= abs(steps.sum())).mean()
    assert sign_flip_p(steps / 12_000) == pytest.approx(exact, abs=1e-12)
    assert sign_flip_p(np.round(steps / 12_000, 12)) == pytest.approx(exact, abs=1e-12)
    found = estimate(steps / 12_000, 0.003, None)
    assert found.is_exact
    assert found.p == pytest.approx(exact, abs=1e-12)


def test_differences_without_a_common_step_are_drawn_and_say_so():
    d = np.random.default_rng(5).normal(0.002, 0.004, 20)
    assert not estimate(d, 0.003, np.random.default_rng(0)).is_exact
    assert estimate(d[:16], 0.003, None).is_exact


def test_the_smallest_p_of_many_seeds_is_that_of_all_flips():
    assert attainable(20, 1).smallest_p == float(sign_flip_p(np.full(20, 0.001))) == 2.0**-19
