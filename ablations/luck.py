"""Luck in tuning: how much of what retuned cells show hangs on which settings their searches happened to find.

Every cell has R searches of its own, all cells the same seeds, so that the accuracy of cell c with the settings of
search r at seed j is y_crj = μ_c + α_cr + β_j + γ_cj + ε_crj: searches are nested in cells and crossed with seeds. A
cell's mean is over both. Its error given the settings found is that of its seeds; for other searches Var α / R comes to
it, estimated from all cells together (`rambo.anova`).

Searches of one number share their seeds in all cells, and a control takes the settings of the cell that it is compared
with: both make luck alike on both sides of a difference, so that its error is too large rather than too small.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from ablations.effects import Effect, whole_seeds
from ablations.factors import Cell
from ablations.statistics import Analysis
from ablations.study import Study
from rambo.anova import Layout, layout
from rambo.formats import decimals, interval, p_value, points, relation
from rambo.inference import ALPHA, holm, t_p

_ROUNDING = 1e-12
"""An error of accuracies below this is what rounding has left of none."""


@dataclass(frozen=True)
class Widened:
    """A mean over seeds and searches with an error for other seeds and other searches."""

    mean: float
    se: float
    freedom: float
    low: float
    """Lower end of the 95 % t interval."""
    high: float
    p: float
    """Two-sided t test of 0."""


def num_searches(study: Study) -> int:
    """R, of the cells that are searched."""
    return max(len(cell.variants) for cell in study.grid.studied)


def luck_of(study: Study, metric: str) -> Layout | None:
    """Searches within cells × seeds, over the seeds that have all of them; None where luck cannot be told."""
    cells = [cell for cell in study.grid.studied if len(cell.variants) > 1]
    seeds = whole_seeds(study, cells, metric) if cells else []
    if not seeds:
        return None
    found = [[study.accuracies(variant, metric) for variant in cell.variants] for cell in cells]
    return layout(np.array([[[one[seed] for seed in seeds] for one in variants] for variants in found]))


def widened(values: Sequence[float], squares: float, luck: Layout) -> Widened | None:
    """Of one value a seed; `squares`: the sum of squared weights of cells with several searches in it.

    Never narrower, nor with a smaller p, than by the seeds alone: with few seeds luck would else add to the degrees of
    freedom more than to the error. None from one value, and where nothing varies.
    """
    d = np.array(values)
    if len(d) < 2:
        return None
    se, freedom = luck.error(d, squares)
    if se < _ROUNDING:
        return None
    mean, own = float(d.mean()), float(d.std(ddof=1)) / math.sqrt(len(d))
    half = max(float(stats.t.ppf(1 - ALPHA / 2, df)) * error for df, error in ((freedom, se), (len(d) - 1, own)))
    p = 2 * float(stats.t.sf(abs(mean) / se, freedom))
    return Widened(mean, se, freedom, mean - half, mean + half, p if own == 0 else max(p, float(t_p(d))))


def widened_cell(study: Study, cell: Cell, metric: str, luck: Layout) -> Widened | None:
    """The mean of a cell."""
    return widened(list(study.accuracies(cell, metric).values()), float(len(cell.variants) > 1), luck)


def widened_effects(effects: Sequence[Effect], luck: Layout) -> list[tuple[Effect, Widened, float]]:
    """Those of a family that can be widened, each with its p after Holm over them."""
    found = [(effect, widened(effect.values, effect.tuned_squares, luck)) for effect in effects]
    able = [(effect, one) for effect, one in found if one is not None]
    adjusted = holm([one.p for _, one in able])
    return [(effect, one, p) for (effect, one), p in zip(able, adjusted, strict=True)]


def given(study: Study) -> str:
    """What every figure of a retuned study is given; empty for another study."""
    if study.fixed is None:
        return ""
    number = num_searches(study)
    return f"given the settings of {'one search' if number == 1 else f'{number} searches'} each"


def luck_sentences(analysis: Analysis) -> list[str]:
    """What luck in tuning adds to the errors of a retuned study, or that it is in none of them."""
    study = analysis.study
    if study.fixed is None:
        return []
    if num_searches(study) == 1:
        return [
            "No error here holds luck in tuning: every figure is given the settings of one search for each cell. "
            "--retune-searches 2 estimates what other searches would change."
        ]
    luck = luck_of(study, analysis.metric)
    if luck is None:
        return [
            "What luck in tuning adds cannot be told: it takes two seeds with all searches, and accuracies that vary."
        ]
    return [_luck_text(luck), *_widened_text(analysis, luck)]


def _luck_text(luck: Layout) -> str:
    f = f"F({luck.df_rows}, {luck.df_residual}) = {decimals(luck.f)}, p {relation(luck.p)}"
    of = f"{luck.num_rows} searches in each of {luck.num_groups} cells, {luck.num_columns} seeds"
    if luck.sd == 0:
        return (
            f"No luck in tuning shows: searches of a cell differ no more than trainings make them differ ({f}; {of})."
        )
    return (
        f"From one search to another a cell's mean is estimated to move by a standard deviation of "
        f"{decimals(100 * luck.sd)} points, beside what seeds and trainings do ({f}; {of})."
    )


def _widened_text(analysis: Analysis, luck: Layout) -> list[str]:
    found = [one for family in (analysis.tested, analysis.controls) for one in widened_effects(family, luck)]
    if not found:
        return []
    listed = "; ".join(f"{effect.name} {widened_text(one, p)}" for effect, one, p in found)
    shown = ", ".join(effect.name for effect, _, p in found if p < ALPHA)
    return [
        "For other seeds and other searches, in points [95 % t interval], p after Holm in each family: "
        f"{listed}. Shown to differ from nothing: {shown or 'none'}."
    ]


def widened_text(one: Widened, p_holm: float) -> str:
    """`+0.21 [−0.30 to 0.72], .412`."""
    return f"{points(one.mean)} [{interval(one.low, one.high)}], {p_value(p_holm)}"
