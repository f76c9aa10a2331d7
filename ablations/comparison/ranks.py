"""Mean ranks of strategies, and whether they differ: Friedman's test and Nemenyi's distance (Demšar 2006)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from ablations.comparison.compared import Compared
from ablations.comparison.views import View, digits, mark
from ablations.tables import Table
from rambo.arrays import Floats
from rambo.formats import counted, relation
from rambo.inference import ALPHA, mean_and_se

FEW_DATA_SETS = 10
"""Below as many, ranks say little about other data sets."""


@dataclass(frozen=True, eq=False)
class Ranks:
    """Ranks, 1 the best."""

    mean: Floats
    """(methods,) over settings and seeds, ties averaged."""
    se: Floats
    """(methods,) standard error over seeds of a seed's mean over settings."""
    block_mean: Floats
    """(methods,) over blocks, a data set and a seed each: what the test and the distance are of."""
    num_blocks: int
    friedman: float | None
    """Friedman's χ², ties corrected; None from fewer than three methods, or where all tie."""
    p: float | None
    distance: float
    """Nemenyi's critical difference of two `block_mean` at a familywise error of 5 %."""


def rank(accuracy: Floats, data_sets: Sequence[str]) -> Ranks:
    """Ranks of `accuracy` (methods, settings, seeds), the setting's data set in `data_sets`.

    Budgets of one seed are not independent, so Friedman's blocks are seeds: in each, methods are ranked by the mean of
    their ranks over the settings of its data set.
    """
    each: Floats = stats.rankdata(-np.round(accuracy, 12), axis=0)
    mean, se = mean_and_se(each.mean(axis=1))
    names = np.array(data_sets)
    blocks = [each[:, names == name].mean(axis=1) for name in dict.fromkeys(data_sets)]
    ranked: Floats = stats.rankdata(np.round(np.concatenate(blocks, axis=1), 12), axis=0)
    chi, p = _friedman(ranked)
    return Ranks(mean, se, ranked.mean(axis=1), ranked.shape[1], chi, p, nemenyi(*ranked.shape))


def nemenyi(num_methods: int, num_blocks: int, alpha: float = ALPHA) -> float:
    """CD = q_{α, k, ∞}/√2 · √(k(k + 1)/(6N)), q of the studentised range, for k methods and N blocks.

    >>> round(nemenyi(4, 14), 3)  # Demšar's q/√2 is 2.569
    1.254
    """
    q = float(stats.studentized_range.ppf(1 - alpha, num_methods, np.inf))
    return q / math.sqrt(2) * math.sqrt(num_methods * (num_methods + 1) / (6 * num_blocks))


def _friedman(ranked: Floats) -> tuple[float | None, float | None]:
    if len(ranked) < 3 or not np.ptp(ranked, axis=0).any():
        return None, None
    found = stats.friedmanchisquare(*ranked)
    return float(found.statistic), float(found.pvalue)


def ranks_view(compared: Compared) -> View:
    """Methods from the best mean rank on."""
    found = rank(compared.accuracy, [setting.data for setting in compared.settings])
    several = len(compared.settings) > len(compared.data_sets)
    order = np.argsort(found.mean, kind="stable")
    rows, numbers = [], []
    tail = (found.num_blocks, *map(digits, (found.friedman, found.p, found.distance)))
    for place in order:
        mean, se, block = found.mean[place], found.se[place], found.block_mean[place]
        shown = (f"{mean:.2f} ± {se:.2f}", *([f"{block:.2f}"] if several else []))
        rows.append((compared.methods[place], mark(compared.saw[place]), *shown))
        numbers.append((compared.methods[place], *map(digits, (mean, se, block)), *tail))
    header = ("method", "saw S_val", "mean rank", *(["mean rank of its seeds"] if several else []))
    fields = ("method", "mean_rank", "se", "block_mean_rank", "blocks", "friedman", "p", "nemenyi")
    note = _note(found, len(compared.data_sets), several)
    return View("ranks", "Mean ranks", Table(header, tuple(rows), ()), note, (fields, *numbers))


def _note(found: Ranks, num_data_sets: int, several: bool) -> str:
    """`several`: whether a data set has more than one setting."""
    said = [
        "Rank 1 is the highest test accuracy of a setting and a seed, ties averaged: mean ± standard error over seeds.",
        f"Blocks are seeds of a data set{', each ranked by its mean ranks over the settings' if several else ''}.",
        f"Over {found.num_blocks} blocks Friedman's test has χ² = {found.friedman:.2f}, p {relation(found.p)}."
        if found.friedman is not None and found.p is not None
        else "Friedman's test needs three methods that do not tie everywhere.",
        f"By Nemenyi's test, at 5 % over all pairs, two methods differ whose mean ranks"
        f"{' of seeds' if several else ''} are {found.distance:.2f} apart.",
    ]
    if num_data_sets < FEW_DATA_SETS:
        said.append(f"With {counted(num_data_sets, 'data set')} this tells of new seeds, not of other data.")
    return " ".join(said)
