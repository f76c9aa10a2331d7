"""Inference on paired differences, n of them, one a seed; arrays have the seeds on their last axis.

Notation: d_1…d_n are the differences, d̄ their mean, s their standard deviation (n − 1 in the denominator), SE = s/√n.
With few seeds no shape of noise can be relied on, so the headline p is that of the sign-flip test, which is exact where
differences are symmetric around their expectation; intervals and equivalence rest on Student's t.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from itertools import product

import numpy as np
from scipy import integrate, optimize, stats

from rambo.arrays import Floats

ALPHA = 0.05
"""Familywise error rate; intervals hold 1 − ALPHA, one by one."""

MAX_EXACT = 16
"""Largest n whose 2^n sign flips are all enumerated."""

DRAWS = 100_000
"""Random sign flips where there are too many to enumerate and no lattice to count them on."""

FINEST = 100_000
"""Largest denominator of the lattice that accuracies are looked for on: images times trainings times cells."""

MOST_STEPS = 5_000_000
"""Of that lattice between the least and the largest sum, at most."""

NO_ERROR = 1e-12
"""A standard error of accuracies up to this is what rounding has left of none."""

_ROUNDING = 1e-11
"""What rounding may have left of a multiple of the lattice's step."""

_TIE = 1e-9
"""Sums that differ by less than this share of Σ|d| are equal: accuracies are multiples of 1/(images · trainings)."""


@dataclass(frozen=True)
class Estimate:
    """What n ≥ 2 paired differences say about their expectation."""

    mean: float
    se: float
    low: float
    """Lower end of the 95 % t interval."""
    high: float
    p: float
    """Two-sided sign-flip test of no difference."""
    p_t: float
    """Two-sided paired t test of no difference."""
    p_tost: float
    """Two one-sided t tests of a difference at least as large as the margin; small means equivalent. 1 where nothing
    varies: a few equal differences are no estimate of how much others would differ."""
    n: int
    is_exact: bool = True
    """Whether `p` is over all sign flips, none of them drawn."""

    @property
    def varies(self) -> bool:
        """Whether differences vary; where not, there is no error to make an interval or an equivalence test of."""
        return self.se > NO_ERROR


@dataclass(frozen=True)
class Power:
    """What a number of seeds can show at all."""

    num_seeds: int
    num_tests: int
    smallest_p: float
    """Of the sign-flip test, when all differences point one way."""
    smallest_p_holm: float
    detectable_sd: float | None
    """Effect, in standard deviations of a difference over seeds, that a paired t test finds with 80 % power."""

    @property
    def can_reject(self) -> bool:
        """Whether anything can be significant after Holm."""
        return self.smallest_p_holm < ALPHA


def estimate(differences: Sequence[float], margin: float, generator: np.random.Generator) -> Estimate | None:
    """All of it for one contrast; None from fewer than two seeds. `generator` serves more than 16 seeds."""
    d = np.asarray(differences, dtype=np.float64)
    if len(d) < 2:
        return None
    mean, se = mean_and_se(d)
    low, high = t_interval(d)
    p, exact = sign_flip_p(d, generator), len(d) <= MAX_EXACT or _on_lattice(d) is not None
    tests = float(p), float(t_p(d)), tost(d, margin) if se > NO_ERROR else 1.0
    return Estimate(float(mean), float(se), float(low), float(high), *tests, len(d), exact)


def tost(differences: Floats, margin: float) -> float:
    """`tost_p` of one contrast."""
    return float(tost_p(differences, margin))


def mean_and_se(d: Floats) -> tuple[Floats, Floats]:
    """d̄ and SE = s/√n."""
    return d.mean(axis=-1), d.std(axis=-1, ddof=1) / np.sqrt(d.shape[-1])


def t_interval(d: Floats, level: float = 1 - ALPHA) -> tuple[Floats, Floats]:
    """d̄ ± t_{n−1, (1 + level)/2} · SE (Student 1908)."""
    mean, se = mean_and_se(d)
    half = stats.t.ppf((1 + level) / 2, d.shape[-1] - 1) * se
    return mean - half, mean + half


def t_p(d: Floats) -> Floats:
    """Two-sided p of d̄/SE under t_{n−1}; 1 where all differences are 0."""
    mean, se = mean_and_se(d)
    p: Floats = 2 * stats.t.sf(np.abs(_ratio(mean, se)), d.shape[-1] - 1)
    return p


def tost_p(d: Floats, margin: float) -> Floats:
    """max{P(T > (d̄ + δ)/SE), P(T < (d̄ − δ)/SE)}, δ the margin: two one-sided tests (Schuirmann 1987)."""
    mean, se = mean_and_se(d)
    freedom = d.shape[-1] - 1
    p: Floats = np.maximum(
        stats.t.sf(_ratio(mean + margin, se), freedom), stats.t.cdf(_ratio(mean - margin, se), freedom)
    )
    return p


def sign_flip_p(d: Floats, generator: np.random.Generator | None = None, draws: int = DRAWS) -> Floats:
    """Two-sided sign-flip test of differences that are symmetric around 0 (Fisher 1935): P(|Σ ±d_i| ≥ |Σ d_i|).

    All 2^n flips up to n = 16, and beyond where the differences are multiples of a common step, as accuracies are: the
    distribution of ±d_1 ± … ± d_n is then built up by convolution (Pagano and Tritchler 1983). Elsewhere `draws` flips
    from `generator` and the observed one, so p ≥ 1/(draws + 1) (Phipson and Smyth 2010). With skewed differences the
    size of the test at .05 reaches .15 at n = 10.

    >>> float(sign_flip_p(np.array([1.0, 2.0, 3.0])))
    0.25
    """
    exact = d.shape[-1] <= MAX_EXACT
    whole = _on_lattice(d) if not exact and d.ndim == 1 else None
    if whole is not None:
        return np.asarray(_convolved_p(whole))
    if not exact and generator is None:
        raise TypeError(f"sign_flip_p needs a generator for more than {MAX_EXACT} differences")
    flips = _all_flips(d.shape[-1]) if generator is None or exact else _some_flips(d.shape[-1], generator, draws)
    observed = np.abs(d.sum(axis=-1)) - _TIE * np.abs(d).sum(axis=-1)
    as_large = (np.abs(d @ flips) >= observed[..., None]).sum(axis=-1)
    p: Floats = as_large / flips.shape[1] if exact else (as_large + 1) / (draws + 1)
    return p


def holm(p_values: Sequence[float]) -> list[float]:
    """p values adjusted for all of them (Holm 1979): the familywise error rate is kept whatever their dependence.

    The i-th smallest of n times n − i + 1, never below a smaller one's, at most 1.

    >>> holm([0.04, 0.01, 0.03])
    [0.06, 0.03, 0.06]
    """
    values = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(values, kind="stable")
    raised = np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1))
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(raised, 1)
    return [float(p) for p in adjusted]


def attainable(num_seeds: int, num_tests: int, *, alpha: float = ALPHA, power: float = 0.8) -> Power:
    """What `num_seeds` can show of `num_tests` effects: the smallest p is 2/2^n, after Holm times the number of tests.

    >>> attainable(5, 1).smallest_p, attainable(5, 1).can_reject
    (0.0625, False)
    """
    smallest = 2.0 ** (1 - num_seeds) if num_seeds > 0 else 1.0
    detectable = detectable_effect(num_seeds, alpha / max(num_tests, 1), power) if num_seeds >= 2 else None
    return Power(num_seeds, num_tests, smallest, min(1.0, smallest * max(num_tests, 1)), detectable)


def detectable_effect(num_seeds: int, alpha: float, power: float = 0.8) -> float:
    """The δ/σ with P(T > t_{n−1, 1−α/2}) = power, T noncentral t with n − 1 degrees and noncentrality √n δ/σ.

    The other tail is left out: at 80 % power it holds less than 1e-5. (statsmodels' solver stops short of the root for
    n = 4, alpha = .05/7, so it is solved here.)
    """
    critical = stats.t.isf(alpha / 2, num_seeds - 1)

    def excess(effect: float) -> float:
        return float(stats.nct.sf(critical, num_seeds - 1, effect * np.sqrt(num_seeds))) - power

    return float(optimize.brentq(excess, 0.0, 1e4))


def difference_power(num_seeds: int, effect: float, alpha: float) -> float:
    """The chance that a two-sided paired t test finds an effect of `effect` standard deviations of a difference."""
    critical = stats.t.isf(alpha / 2, num_seeds - 1)
    return float(stats.nct.sf(critical, num_seeds - 1, effect * math.sqrt(num_seeds)))


def equivalence_power(num_seeds: int, margin: float, alpha: float) -> float:
    """The chance that TOST shows an effect of 0 to lie within ± `margin` standard deviations of a difference.

    It does where |d̄| < δ − t·s/√n, t = t_{n−1, 1−α}: P = E_s[2Φ(√n δ − t s) − 1] over s < √n δ / t, with
    s² ~ χ²_{n−1} / (n − 1) independent of d̄ ~ N(0, 1/n).
    """
    freedom, reach = num_seeds - 1, math.sqrt(num_seeds) * margin
    critical = stats.t.isf(alpha, freedom)
    spread = stats.chi(freedom, scale=1 / math.sqrt(freedom))

    def shown(s: float) -> float:
        return float((2 * stats.norm.cdf(reach - critical * s) - 1) * spread.pdf(s))

    return float(integrate.quad(shown, 0.0, min(reach / critical, spread.isf(1e-12)), limit=200)[0])


def seeds_needed(power_with: Callable[[int], float], power: float = 0.8, most: int = 100_000) -> int | None:
    """The fewest seeds, from 2, with at least `power`, for a power that rises with them; None above `most`.

    >>> seeds_needed(lambda n: n / 100)
    80
    """
    low, high = 1, 2
    while power_with(high) < power:
        if high >= most:
            return None
        low, high = high, min(2 * high, most)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if power_with(middle) >= power else (middle, high)
    return high


def _ratio(value: Floats, se: Floats) -> Floats:
    """value/SE, with 0/0 = 0 and x/0 = ±∞: identical differences leave no doubt."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio: Floats = np.where(value == 0, 0.0, np.divide(value, se))
    return ratio


def _on_lattice(d: Floats) -> list[int] | None:
    """The differences as multiples of their common step; None where they have none that is coarse enough."""
    fractions = [Fraction(float(value)).limit_denominator(FINEST) for value in d]
    if any(abs(float(fraction) - value) > _ROUNDING for fraction, value in zip(fractions, d, strict=True)):
        return None
    step = math.lcm(*(fraction.denominator for fraction in fractions))
    whole = [int(fraction * step) for fraction in fractions]
    return whole if sum(map(abs, whole)) <= MOST_STEPS else None


def _convolved_p(whole: Sequence[int]) -> float:
    """P(|Σ ±k_i| ≥ |Σ k_i|) over all signs, for whole numbers k_i."""
    total = sum(map(abs, whole))
    chances = np.zeros(2 * total + 1)
    chances[total] = 1.0
    for step in filter(None, map(abs, whole)):
        chances = (np.roll(chances, step) + np.roll(chances, -step)) / 2  # nothing reaches the ends before the last
    sums = np.arange(-total, total + 1)
    return float(chances[np.abs(sums) >= abs(sum(whole))].sum())


@cache
def _all_flips(n: int) -> Floats:
    """Every sign pattern up to a common sign, which |Σ ±d_i| does not see: (n, 2^(n−1))."""
    return np.array([(1.0, *rest) for rest in product((1.0, -1.0), repeat=n - 1)]).T


def _some_flips(n: int, generator: np.random.Generator, draws: int) -> Floats:
    return generator.choice(np.array([-1.0, 1.0]), size=(n, draws))
