"""Errors of a mean over seeds and images, each seed judged on the same images.

Notation: y_si is what seed s = 1…n makes of image i = 1…m (right or wrong, a share of R trainings, or a difference of
such), ȳ the mean of all, ȳ_s and ȳ_i those of a seed and of an image. With seeds and images each drawn independently,

    y_si = μ + a_s + b_i + e_si,   Var ȳ = A/n + B/m + E/(nm)

with uncorrelated parts of variances A, B, E (Hoeffding's decomposition: no normality, no equal variances). The mean
squares of the two-way layout without repetition and what each expects are

    seeds   m Σ_s (ȳ_s − ȳ)² / (n − 1)                          E + mA
    images  n Σ_i (ȳ_i − ȳ)² / (m − 1)                          E + nB
    rest    Σ_si (y_si − ȳ_s − ȳ_i + ȳ)² / ((n − 1)(m − 1))     E

so (seeds + images − rest) / (nm) expects Var ȳ: the error for new seeds and new images. seeds / (nm) is SE² over seeds
alone, which leaves B/m out: the images stay as they are.
"""

from dataclasses import dataclass

import numpy as np
from scipy import stats

from rambo.arrays import Floats
from rambo.inference import ALPHA


@dataclass(frozen=True)
class CrossedError:
    """What the mean over n ≥ 2 seeds and m ≥ 2 images says about the expectation for new ones of both."""

    mean: float
    se_seeds: float
    """Over seeds alone, on the same images."""
    se: float
    """For new seeds and new images; never below `se_seeds`."""
    low: float
    """Lower end of the 95 % interval for new seeds and new images."""
    high: float


def crossed_error(table: Floats) -> CrossedError | None:
    """Of y (n, m); None from fewer than two seeds or images.

    The interval is Student's with ν = (S + I − R)² / (S²/(n − 1) + I²/(m − 1) + R²/((n − 1)(m − 1))) for mean squares
    S, I, R (Satterthwaite 1946). An image part below 0 counts as 0; the interval is then that over seeds.
    """
    n, m = table.shape
    if min(n, m) < 2:
        return None
    mean, by_seed, by_image = table.mean(), table.mean(axis=1), table.mean(axis=0)
    rest = ((table - by_seed[:, None] - by_image + mean) ** 2).sum() / ((n - 1) * (m - 1))
    squares = np.array([m * by_seed.var(ddof=1), n * by_image.var(ddof=1), rest])
    if squares[1] <= squares[2]:
        squares[1:] = 0.0
    total = squares @ (1, 1, -1)
    se_seeds, se = np.sqrt(squares[0] / (n * m)), np.sqrt(total / (n * m))
    freedom = total**2 / (squares**2 / (n - 1, m - 1, (n - 1) * (m - 1))).sum() if total > 0 else n - 1
    half = stats.t.ppf(1 - ALPHA / 2, freedom) * se
    return CrossedError(*map(float, (mean, se_seeds, se, mean - half, mean + half)))
