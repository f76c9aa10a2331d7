"""Analysis of variance against an explicit linear model, and simulations whose truth is known."""

import numpy as np
import pytest
from scipy import stats

from rambo.anova import layout


def explicit(table):
    """F and p of groups of rows from the residuals of two linear models: group × column, and that with rows."""
    groups, rows, columns = table.shape
    g, i, j = (axis.ravel() for axis in np.indices(table.shape))
    blocks = (g * columns + j)[:, None] == np.arange(groups * columns)
    own = (g * rows + i)[:, None] == np.arange(groups * rows)

    def left(design):
        fitted, *_ = np.linalg.lstsq(design.astype(float), table.ravel(), rcond=None)
        return ((table.ravel() - design @ fitted) ** 2).sum(), np.linalg.matrix_rank(design.astype(float))

    (without, fewer), (with_rows, more) = left(blocks), left(np.hstack([blocks, own]))
    df, rest = more - fewer, table.size - more
    f = (without - with_rows) / df / (with_rows / rest)
    return f, stats.f.sf(f, df, rest)


@pytest.mark.parametrize("shape", [(1, 2, 2), (1, 24, 3), (3, 2, 5), (4, 3, 2)])
def test_f_is_that_of_two_linear_models(shape):
    table = np.random.default_rng(sum(shape)).normal(0.9, 0.01, shape)
    found = layout(table)
    f, p = explicit(table)
    assert found.f == pytest.approx(f)
    assert found.p == pytest.approx(p)


def test_a_table_is_one_group_and_what_columns_do_to_all_rows_does_not_matter():
    table = np.random.default_rng(0).normal(0.9, 0.01, (5, 4))
    assert layout(table) == layout(table[None])
    assert layout(table + np.array([0.0, 0.2, -0.1, 0.4])).f == pytest.approx(layout(table).f)


@pytest.mark.parametrize("shape", [(1, 1, 5), (1, 5, 1), (0, 2, 2), (1, 0, 3)])
def test_one_row_or_one_column_says_nothing(shape):
    assert layout(np.random.default_rng(0).normal(size=shape)) is None


def test_what_has_no_noise_is_not_judged_though_rounding_leaves_some():
    rows, columns = np.array([0.1, 0.2, 0.7]), np.array([0.3, 0.1])
    assert layout(rows[:, None] + columns) is None
    assert layout(np.full((3, 4), 0.93)) is None
    assert layout(np.zeros((3, 4))) is None


def drawn(generator, groups, rows, columns, *, luck=0.0, own=0.0):
    """Group × row × column: columns move all alike, and each group by `own`; rows by `luck`; noise of 1."""
    common, particular = generator.normal(0, 2, (1, 1, columns)), generator.normal(0, own, (groups, 1, columns))
    rows_part = generator.normal(0, luck, (groups, rows, 1))
    return 10 + common + particular + rows_part + generator.normal(size=(groups, rows, columns))


@pytest.mark.parametrize(("groups", "rows", "columns"), [(1, 24, 3), (1, 3, 2), (8, 2, 10)])
def test_the_test_errs_in_a_twentieth_where_rows_are_alike(groups, rows, columns):
    generator = np.random.default_rng(rows)
    p = np.array([layout(drawn(generator, groups, rows, columns, own=1.0)).p for _ in range(2000)])
    assert (p < 0.05).mean() == pytest.approx(0.05, abs=0.015)
    assert stats.kstest(p, "uniform").pvalue > 0.001


def test_it_finds_the_difference_that_it_says_it_finds():
    generator = np.random.default_rng(5)
    first = layout(drawn(generator, 1, 24, 3))
    sd = first.detectable_sd() / np.sqrt(first.residual)  # of noise of 1
    found = [layout(drawn(generator, 1, 24, 3, luck=sd)) for _ in range(2000)]
    assert np.mean([one.p < 0.05 for one in found]) == pytest.approx(0.8, abs=0.03)
    assert np.mean([one.sd**2 for one in found]) == pytest.approx(sd**2, rel=0.05)


@pytest.mark.parametrize(("groups", "columns"), [(2, 10), (8, 3), (8, 10)])
@pytest.mark.parametrize(("luck", "own"), [(0.0, 0.0), (0.3, 0.7), (1.5, 0.0), (1.5, 0.7)])
def test_intervals_for_other_columns_and_other_rows_cover_what_they_say(groups, columns, luck, own):
    generator, weights, hits, only_seeds = np.random.default_rng(groups + columns), np.zeros(groups), [], []
    weights[:2] = 1, -1
    for _ in range(1500):
        table = drawn(generator, groups, 2, columns, luck=luck, own=own)
        values = np.tensordot(weights, table.mean(axis=1), axes=1)
        se, freedom = layout(table).error(values, float((weights**2).sum()))
        hits.append(abs(values.mean()) <= stats.t.ppf(0.975, freedom) * se)
        plain = values.std(ddof=1) / np.sqrt(columns)
        only_seeds.append(abs(values.mean()) <= stats.t.ppf(0.975, columns - 1) * plain)
    assert 0.92 <= np.mean(hits) <= 0.99
    if luck > 1:
        assert np.mean(only_seeds) < 0.85, "seeds alone do not tell what other searches would have found"


def test_the_error_is_the_variance_of_the_mean():
    generator, means, squares = np.random.default_rng(3), [], []
    for _ in range(3000):
        table = drawn(generator, 3, 2, 6, luck=1.0, own=0.5)
        values = table[0].mean(axis=0)
        means.append(values.mean())
        squares.append(layout(table).error(values, 1.0)[0] ** 2)
    assert np.mean(squares) == pytest.approx(np.var(means), rel=0.08)
    assert np.var(means) == pytest.approx((4 + 0.25 + 1 / 2) / 6 + 1 / 2, rel=0.08)


def test_without_luck_the_error_is_that_of_the_seeds():
    table = np.array([[[1.0, 2.0, 4.0, 3.0], [2.0, 1.0, 3.0, 4.0]]])
    values = table.mean(axis=1)[0]
    se, freedom = layout(table).error(values, 1.0)
    assert (se, freedom) == (pytest.approx(values.std(ddof=1) / 2), 3)
    assert layout(table).sd == 0
    lucky = layout(table + np.array([[[0.0], [9.0]]]))
    assert lucky.error(values, 0.0) == (pytest.approx(se), 3), "what no search has chosen has no luck in it"
    assert lucky.error(values, 1.0)[0] > 2
