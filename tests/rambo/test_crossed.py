"""Errors over seeds and images, against another library's mean squares and against simulations whose truth is known."""

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy import stats
from statsmodels.formula.api import ols

from rambo.crossed import crossed_error
from rambo.inference import t_interval


def test_the_parts_are_those_of_an_analysis_of_variance():
    table = np.random.default_rng(0).normal(size=(4, 1)) + np.random.default_rng(1).normal(size=(4, 7)) ** 2
    seeds, images = np.indices(table.shape).reshape(2, -1)
    frame = pd.DataFrame({"y": table.ravel(), "s": seeds, "i": images})
    squares = sm.stats.anova_lm(ols("y ~ C(s) + C(i)", frame).fit())["mean_sq"]
    found = crossed_error(table)
    assert found.mean == pytest.approx(table.mean())
    assert found.se_seeds == pytest.approx(stats.sem(table.mean(axis=1)))
    assert found.se_seeds**2 == pytest.approx(squares["C(s)"] / 28)
    part = max(0.0, squares["C(i)"] - squares["Residual"])
    assert found.se**2 == pytest.approx((squares["C(s)"] + part) / 28)


def test_without_an_image_part_it_is_the_error_over_seeds():
    """Every image is as hard as any other: less is between images than chance would put there."""
    flat = crossed_error(np.array([[0.0, 1.0], [1.0, 0.0]]))
    assert (flat.se, flat.low, flat.high) == (0.0, 0.5, 0.5)
    by_seed = crossed_error(np.array([[0.2, 0.2], [0.4, 0.4], [0.9, 0.9]]))
    assert (by_seed.low, by_seed.high) == pytest.approx(t_interval(np.array([0.2, 0.4, 0.9])))


@pytest.mark.parametrize("shape", [(1, 9), (9, 1), (0, 4)])
def test_one_seed_or_one_image_has_no_error(shape):
    assert crossed_error(np.zeros(shape)) is None


def answers(generator, seeds, images, *, spread):
    """Right or wrong by seed and image: seeds differ in skill, images in hardness, and both meet by chance."""
    skill, hardness = spread[0] * generator.normal(size=(seeds, 1)), spread[1] * generator.normal(size=images)
    return (1.2 + skill + hardness + generator.normal(size=(seeds, images)) > 0).astype(float)


@pytest.mark.parametrize("spread", [(0.1, 1.0), (0.2, 0.5), (0.3, 0.0), (0.0, 1.5)])
def test_the_interval_covers_the_truth_for_new_seeds_and_new_images(spread):
    """Right or wrong, as test images are; the truth is that of a probit with all three parts of variance."""
    generator, truth = np.random.default_rng(0), stats.norm.cdf(1.2 / np.sqrt(1 + spread[0] ** 2 + spread[1] ** 2))
    found = [crossed_error(answers(generator, 10, 200, spread=spread)) for _ in range(1000)]
    covered = np.mean([one.low <= truth <= one.high for one in found])
    assert 0.925 <= covered <= 0.975  # three standard deviations of 1000 draws around 94 to 95.5 %
    errors = np.array([one.mean - truth for one in found])
    assert np.mean([one.se**2 for one in found]) == pytest.approx(errors.var(), rel=0.15)


def test_over_seeds_alone_the_interval_misses_what_the_images_decide():
    generator, truth = np.random.default_rng(0), stats.norm.cdf(1.2 / np.sqrt(1 + 1.5**2))
    tables = [answers(generator, 10, 200, spread=(0.0, 1.5)) for _ in range(300)]
    intervals = [t_interval(table.mean(axis=1)) for table in tables]
    assert np.mean([low <= truth <= high for low, high in intervals]) < 0.6


def test_a_difference_on_the_same_images_hardly_hangs_on_them():
    generator, errors = np.random.default_rng(0), []
    for _ in range(200):
        hardness = 1.2 + generator.normal(size=300)
        sides = [hardness + 0.3 * generator.normal(size=(10, 1)) + generator.normal(size=(10, 300)) > 0 for _ in "ab"]
        errors.append((crossed_error(sides[0].astype(float)), crossed_error(sides[0].astype(float) - sides[1])))
    level, difference = (np.mean([one.se / one.se_seeds for one in column]) for column in zip(*errors, strict=True))
    assert level > 1.2
    assert difference < 1.03
