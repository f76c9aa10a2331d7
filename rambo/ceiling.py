"""How often any order of pairs can agree with single trainings, from how often two trainings agree with each other.

Of pair i let m_i be the mean of its order over trainings, counted +1, −1, or 0 for a tie. Two trainings agree on it
with probability ½(1 + m_i²) (a tie counts one half), the true order with one training with probability ½(1 + |m_i|).
With a the mean of the first over pairs,

    ½(1 + √(2a − 1)) = ½(1 + √(E m²)) ≥ ½(1 + E |m|):

an upper bound of what any order can reach, met where all pairs are equally noisy. The square root of few pairs is
biased, and cut off where a < ½, so agreements are pooled over trials before it is taken.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from scipy import stats

from rambo.arrays import Floats
from rambo.inference import ALPHA


class Repeated(Protocol):
    """A trial with û, as results and outcomes have it; older ones hold no agreement, only the bound it gave."""

    @property
    def pair_ceiling(self) -> float | None:
        """The bound from this trial's pairs alone, ½ where they agree less often than by chance."""

    @property
    def repeat_agreement(self) -> float | None:
        """a: share of the repeated pairs that both trainings order alike."""

    @property
    def num_ceiling_pairs(self) -> int | None:
        """Pairs that were repeated."""


@dataclass(frozen=True)
class Ceiling:
    """The upper bound that trials have together."""

    bound: float
    low: float | None
    """Lower end of its 95 % interval over trials; None from one."""
    high: float | None
    is_clipped: bool
    """Whether agreements had to be worked out from each trial's bound: those below ½ count as ½, and it is too high."""


def agreement_ceiling(repeat_agreement: float) -> float:
    """The upper bound for a = `repeat_agreement`: ½(1 + √(2a − 1)); ½ where a < ½, and 1 where an interval ends above.

    >>> agreement_ceiling(1.0), agreement_ceiling(0.5), agreement_ceiling(1.02)
    (1.0, 0.5, 1.0)
    """
    return 0.5 * (1 + float(np.sqrt(np.clip(2 * repeat_agreement - 1, 0, 1))))


def pooled_ceiling(trials: Sequence[Repeated]) -> Ceiling | None:
    """The upper bound from all pairs of `trials`, one a seed; None where none has û.

    Its interval is that of a, carried through the bound, which rises with a: a ± t_{n−1} · SE, where trials are the
    clusters, SE² = n/(n − 1) Σ w_t² (a_t − a)², w_t the share of the pairs that trial t has.
    """
    told = [one for one in trials if one.pair_ceiling is not None]
    if not told:
        return None
    known = [row for one in told if None not in (row := (one.repeat_agreement, one.num_ceiling_pairs))]
    is_clipped = len(known) < len(told)
    agreements, pairs = np.array([(_undone(one), 1) for one in told] if is_clipped else known, dtype=np.float64).T
    weights = pairs / pairs.sum()
    return Ceiling(agreement_ceiling(float(agreements @ weights)), *_interval(agreements, weights), is_clipped)


def _undone(trial: Repeated) -> float:
    """The agreement that gave the trial's bound, ½ where that was cut off."""
    return 0.5 * (1 + (2 * (trial.pair_ceiling or 0.5) - 1) ** 2)


def _interval(agreements: Floats, weights: Floats) -> tuple[float | None, float | None]:
    n = len(agreements)
    if n < 2:
        return None, None
    mean = agreements @ weights
    half = stats.t.ppf(1 - ALPHA / 2, n - 1) * np.sqrt(n / (n - 1) * ((weights * (agreements - mean)) ** 2).sum())
    return agreement_ceiling(float(mean - half)), agreement_ceiling(float(mean + half))
