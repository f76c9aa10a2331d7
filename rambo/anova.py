"""Analysis of variance of rows (settings, searches) by columns (seeds), one value for each pair.

Notation: y_gij is the value of row i and column j in group g (a cell; there may be one alone), of G groups, a rows and
b columns; a mean has a dot for what it is over. Every column is common to all rows of a group, so what a seed does to
all rows alike (splits, seed set) is no noise: columns are blocks.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy import stats

from rambo.arrays import Floats
from rambo.inference import ALPHA

_ROUNDING = 1e-12
"""Shares of the largest value below which a residual is what rounding left."""


@dataclass(frozen=True)
class Layout:
    """Whether rows differ more than noise makes them differ; y_gij = μ_g + α_gi + β_gj + ε_gij, Var ε = σ²."""

    rows: float
    """Mean square between the rows of a group, b Σ_gi (y_gi· − y_g··)² / G(a − 1); it expects σ² + b Var α."""
    residual: float
    """Mean square of what rows and columns leave, over G(a − 1)(b − 1); it expects σ²."""
    num_groups: int
    num_rows: int
    num_columns: int

    @property
    def df_rows(self) -> int:
        """Degrees of freedom between rows."""
        return self.num_groups * (self.num_rows - 1)

    @property
    def df_residual(self) -> int:
        """Degrees of freedom of the residual."""
        return self.df_rows * (self.num_columns - 1)

    @property
    def f(self) -> float:
        """F = rows / residual (Fisher 1925), 1 in expectation where rows do not differ."""
        return self.rows / self.residual

    @property
    def p(self) -> float:
        """P(F or larger) where rows do not differ and noise is normal."""
        return float(stats.f.sf(self.f, self.df_rows, self.df_residual))

    @property
    def sd(self) -> float:
        """Estimated standard deviation of α, 0 where rows differ less than noise makes them differ."""
        return math.sqrt(max(0.0, self.rows - self.residual) / self.num_columns)

    def detectable_sd(self, alpha: float = ALPHA, power: float = 0.8) -> float:
        """The standard deviation of normal α that the test finds so often: F is then (1 + b Var α/σ²) times an F."""
        critical, usual = (float(stats.f.isf(share, self.df_rows, self.df_residual)) for share in (alpha, power))
        return math.sqrt(max(0.0, critical / usual - 1) * self.residual / self.num_columns)

    def error(self, values: Floats, squares: float) -> tuple[float, float]:
        """Standard error and degrees of freedom of a mean over columns, for other columns *and other rows* of the kind.

        `values` (columns,): a combination Σ_g w_g y_g·j of groups, for each column; `squares`: Σ w_g². Its mean has
        the variance Var_j(values)/b + Σ w_g² Var α / a: columns with all that is particular to a group in them, which
        the first term estimates as s²/b, and rows, which are drawn anew for each group, by the difference of the two
        mean squares over a b. A difference below 0 counts as 0. Degrees of freedom as Satterthwaite (1946) has them for
        a sum of mean squares; simulated intervals cover 93 to 98 % of the time. Needs two values that differ.
        """
        scale, freedom = squares / (self.num_rows * self.num_columns), len(values) - 1
        seeds = float(values.var(ddof=1)) / len(values)
        between, noise = scale * self.rows, scale * self.residual
        if between <= noise:
            return math.sqrt(seeds), freedom
        total = seeds + between - noise
        parts = seeds**2 / freedom + between**2 / self.df_rows + noise**2 / self.df_residual
        return math.sqrt(total), total**2 / parts


def layout(table: Floats) -> Layout | None:
    """Of (rows, columns) or (groups, rows, columns); None from one row or column, or where nothing is left as noise.

    >>> found = layout(np.array([[0.0, 1.0], [3.0, 2.0]]))
    >>> found.rows, found.residual, found.f
    (4.0, 1.0, 4.0)
    >>> layout(np.array([[0.0, 1.0], [2.0, 3.0]]))
    """
    y = table[None] if table.ndim == 2 else table
    groups, rows, columns = y.shape
    if not (groups and rows > 1 and columns > 1):
        return None
    means = y.mean(axis=2, keepdims=True)
    centre = y.mean(axis=(1, 2), keepdims=True)
    residuals = y - means - y.mean(axis=1, keepdims=True) + centre
    if np.abs(residuals).max() <= _ROUNDING * np.abs(y).max():
        return None
    freedom = groups * (rows - 1)
    between = columns * float(((means - centre) ** 2).sum()) / freedom
    residual = float((residuals**2).sum()) / (freedom * (columns - 1))
    return Layout(between, residual, groups, rows, columns)
