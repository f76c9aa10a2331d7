"""The effects of a study: contrasts, interactions, Shapley values, levels against a reference, cells against controls.

Every effect is a linear combination of cells, taken seed by seed over the seeds that have all the cells it needs:
pairing removes what the seed (splits, seed set) does to every cell alike, and nothing missing is averaged around.
p values are adjusted within a family: all contrasts, all comparisons of levels, all comparisons with controls.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from math import factorial
from typing import Literal

import numpy as np

from ablations.factors import Cell, Factor, Grid, level_text
from ablations.images import combined_error
from ablations.margin import MARGIN
from ablations.study import Study
from rambo.arrays import Floats
from rambo.fields import Value, flatten
from rambo.inference import ALPHA, Estimate, estimate, holm
from rambo.own import is_own
from rambo.randomness import numpy_generator

Kind = Literal["main effect", "interaction", "level", "control", "Shapley value"]


@dataclass(frozen=True)
class Effect:
    """A difference between cells over the seeds that have all of them."""

    kind: Kind
    name: str
    """In tables: `RankNet`, `bilevel × OT`, `B: 1000 − 500`, `full − random`."""
    subject: str
    """In sentences, before "changes test accuracy by"; of an interaction, whose effect differs."""
    seeds: tuple[int, ...]
    values: tuple[float, ...]
    """One per seed."""
    estimate: Estimate | None
    """None from fewer than two seeds."""
    p_holm: float | None = None
    p_tost_holm: float | None = None
    num_tests: int = 0
    """Effects that Holm was over."""
    among: tuple[str, ...] = ()
    """Of an interaction: between what the subject's effect differs, `RankNet off and on`."""
    se_images: float | None = None
    """Standard error for new seeds and other test images; None where trials do not tell which images they got right."""
    tuned_squares: float = 0.0
    """Sum of the squared weights of cells with settings of several searches: how much of their luck is in it."""

    @property
    def is_significant(self) -> bool:
        """Whether it differs from 0, by the sign-flip test after Holm."""
        return self.p_holm is not None and self.p_holm < ALPHA

    @property
    def is_equivalent(self) -> bool:
        """Whether it is smaller than the margin, by TOST after Holm."""
        return self.p_tost_holm is not None and self.p_tost_holm < ALPHA


def contrasts(study: Study, metric: str = "test_accuracy", margin: float = MARGIN) -> tuple[Effect, ...]:
    """The 2^k − 1 factorial contrasts, c_S = 2^(|S|−k) Σ_cells Π_{j ∈ S} z_j · y with z_j = ±1 for factor j on or off.

    For one factor that is mean(on) − mean(off); for two, by how much the effect of the one differs between the other's
    off and on; for three, the difference of such differences. All are differences of accuracies, so one margin serves
    (Yates 1937 has half and a quarter of the latter two). Factors that are no switches count from their first level to
    their last.
    """
    grid = study.grid
    if not grid.is_two_level_factorial:
        return ()
    signs = _signs(grid)
    effects = []
    for size in range(1, len(grid.factors) + 1):
        for subset in combinations(range(len(grid.factors)), size):
            weights = signs[:, subset].prod(axis=1) * 2.0 ** (size - len(grid.factors))
            chosen = [grid.factors[j] for j in subset]
            kind: Kind = "main effect" if size == 1 else "interaction"
            effect = _effect(study, metric, margin, kind, _contrast_names(chosen), (grid.studied, weights))
            effects.append(replace(effect, among=tuple(map(_two_levels, chosen[:-1]))))
    return _adjusted(effects)


def shapley_values(study: Study, metric: str = "test_accuracy", margin: float = MARGIN) -> tuple[Effect, ...]:
    """Σ_{S ∌ i} |S|! (k − |S| − 1)!/k! · (v(S ∪ i) − v(S)), v(S) the accuracy with exactly S on (Shapley 1953).

    Measured, not sampled: every v(S) is a cell. Undefined for seeds where a cell is missing. They sum to full − empty.
    No p values: they are sums of contrasts, which are tested.
    """
    grid = study.grid
    if not (grid.is_two_level_factorial and all(factor.is_switch for factor in grid.factors)):
        return ()
    on = _signs(grid) > 0
    k, others = on.shape[1], on.sum(axis=1, keepdims=True) - on
    orders = np.array([factorial(size) * factorial(k - size - 1) / factorial(k) for size in range(k)])
    weights = np.where(on, 1.0, -1.0) * orders[others] if k else np.zeros((1, 0))
    return tuple(
        _effect(study, metric, margin, "Shapley value", (f.label, f.label), (grid.studied, weights[:, j]))
        for j, f in enumerate(grid.factors)
    )


def level_effects(study: Study, metric: str = "test_accuracy", margin: float = MARGIN) -> tuple[Effect, ...]:
    """Each level against the reference level, averaged over the pairs of cells that differ in nothing else.

    The reference is the base configuration's level, or the first; off for switches, so that an effect is what the
    component adds, whatever the design. None where contrasts say it all.
    """
    grid = study.grid
    if grid.is_two_level_factorial:
        return ()
    effects = []
    for factor in grid.factors:
        reference = _reference_level(grid, factor)
        for level in factor.levels:
            pairs = _pairs(grid, factor.name, level, reference) if level != reference else []
            if pairs:
                cells = [cell for pair in pairs for cell in pair]
                weights = np.tile([1.0, -1.0], len(pairs)) / len(pairs)
                effects.append(
                    _effect(study, metric, margin, "level", _level_names(factor, level, reference), (cells, weights))
                )
    return _adjusted(effects)


def control_effects(study: Study, metric: str = "test_accuracy", margin: float = MARGIN) -> tuple[Effect, ...]:
    """The reference cell minus each control, at the control's levels where it has some; then what lies behind a gain.

    Filtered random minus random is the margin filter's part, the mean of all cells with û minus filtered random û's:
    whose gain it is, is a claim, and claims are tested.
    """
    grid, effects = study.grid, []
    for control in grid.controls:
        cell = compared_cell(grid, control)
        if cell is not None:
            effects.append(_difference(study, metric, margin, [cell], control))
    for filtered in (control for control in grid.controls if control.control == "filtered_random"):
        for plain in (control for control in grid.controls if control.control == "random"):
            if set(plain.levels) <= set(filtered.levels):
                effects.append(_difference(study, metric, margin, [filtered], plain))
        learned = [cell for cell in grid.studied if _learns(grid, cell) and set(filtered.levels) <= set(cell.levels)]
        if len(learned) > 1:
            effects.append(_difference(study, metric, margin, learned, filtered))
    return _adjusted(effects)


def _difference(study: Study, metric: str, margin: float, cells: Sequence[Cell], control: Cell) -> Effect:
    """The mean of `cells` minus `control`."""
    mine, subject = cells[0].name, cells[0].name
    if len(cells) > 1:
        mine, subject = f"mean of {len(cells)} cells with û", f"The mean of {len(cells)} cells with û"
    names = (f"{mine} − {control.name}", f"{subject} instead of {control.name}")
    weights = np.array([1 / len(cells)] * len(cells) + [-1.0])
    return _effect(study, metric, margin, "control", names, ([*cells, control], weights))


def _learns(grid: Grid, cell: Cell) -> bool:
    """Whether it is a cell of the method; what a strategy of the user's own does with û is not known here."""
    config = grid.config(cell, grid.seeds[0])
    return not is_own(config.strategy) and config.needs_utility_model


def reference_cell(grid: Grid) -> Cell:
    """The cell with every component on where all factors are switches, else the base configuration, else the first."""
    base = flatten(grid.base)
    wanted = [{factor.name: base[factor.name] for factor in grid.factors}]
    if all(factor.is_switch for factor in grid.factors):
        wanted.insert(0, {factor.name: True for factor in grid.factors})
    matching = [cell for levels in wanted for cell in grid.studied if dict(cell.levels) == levels]
    return (matching or list(grid.studied))[0]


def compared_cell(grid: Grid, control: Cell) -> Cell | None:
    """The cell that `control` is compared with: the reference cell, at the control's levels where it has some."""
    wanted = {**dict(reference_cell(grid).levels), **dict(control.levels)}
    return next((cell for cell in grid.studied if dict(cell.levels) == wanted), None)


def whole_seeds(study: Study, cells: Sequence[Cell], metric: str = "test_accuracy") -> list[int]:
    """The seeds that have every one of `cells`, in order."""
    found = [study.accuracies(cell, metric) for cell in cells]
    return [seed for seed in study.grid.seeds if all(values.get(seed) is not None for values in found)]


def _effect(
    study: Study,
    metric: str,
    margin: float,
    kind: Kind,
    names: tuple[str, str],
    combination: tuple[Sequence[Cell], Floats],
) -> Effect:
    """Σ weight · accuracy over the cells of `combination`, for each seed that has them all."""
    cells, weights = combination
    seeds = whole_seeds(study, cells, metric)
    table = [study.accuracies(cell, metric) for cell in cells]
    sums = [sum(w * column[seed] for w, column in zip(weights, table, strict=True)) for seed in seeds]
    values = tuple(round(float(value), 12) + 0.0 for value in sums)  # else 1e-17 would pass for a difference
    found = estimate(values, margin, numpy_generator(0, "sign flips", metric, names[0]))
    crossed = combined_error(study, cells, weights, seeds) if metric == "test_accuracy" else None
    se_images = None if crossed is None else crossed.se
    squares = sum(float(w) ** 2 for w, cell in zip(weights, cells, strict=True) if len(cell.variants) > 1)
    return Effect(kind, names[0], names[1], tuple(seeds), values, found, se_images=se_images, tuned_squares=squares)


def _adjusted(effects: Sequence[Effect]) -> tuple[Effect, ...]:
    """The family with Holm's p values over those that could be tested."""
    tested = [effect.estimate for effect in effects if effect.estimate is not None]
    differ, agree = iter(holm([e.p for e in tested])), iter(holm([e.p_tost for e in tested]))
    return tuple(
        effect
        if effect.estimate is None
        else replace(effect, p_holm=next(differ), p_tost_holm=next(agree), num_tests=len(tested))
        for effect in effects
    )


def _signs(grid: Grid) -> Floats:
    """(cells, factors): +1 where the factor is on (or at its last level), −1 else."""
    high = {factor.name: True if factor.is_switch else factor.levels[-1] for factor in grid.factors}
    rows = [[1.0 if level == high[name] else -1.0 for name, level in cell.levels] for cell in grid.studied]
    return np.array(rows).reshape(len(grid.studied), len(grid.factors))


def _contrast_names(factors: Sequence[Factor]) -> tuple[str, str]:
    if len(factors) == 1:
        return _level_names(factors[0], factors[0].levels[-1], factors[0].levels[0])
    return " × ".join(factor.label for factor in factors), factors[-1].label


def _two_levels(factor: Factor) -> str:
    if factor.is_switch:
        return f"{factor.label} off and on"
    return f"{factor.label}={level_text(factor.levels[0])} and {level_text(factor.levels[-1])}"


def _level_names(factor: Factor, level: Value, reference: Value) -> tuple[str, str]:
    if factor.is_switch:
        return factor.label, factor.label
    new, old = level_text(level), level_text(reference)
    return f"{factor.label}: {new} − {old}", f"{factor.label}={new} instead of {old}"


def _reference_level(grid: Grid, factor: Factor) -> Value:
    base = flatten(grid.base)[factor.name]
    measured = {cell.level(factor.name) for cell in grid.studied}
    if factor.is_switch:
        return False
    return base if base in measured else factor.levels[0]


def _pairs(grid: Grid, factor: str, level: Value, reference: Value) -> list[tuple[Cell, Cell]]:
    """Cells at `level` and at `reference` whose other levels agree."""
    at_reference = {_rest(cell, factor): cell for cell in grid.studied if cell.level(factor) == reference}
    at_level = [cell for cell in grid.studied if cell.level(factor) == level]
    return [(cell, at_reference[_rest(cell, factor)]) for cell in at_level if _rest(cell, factor) in at_reference]


def _rest(cell: Cell, factor: str) -> tuple[tuple[str, Value], ...]:
    return tuple((name, level) for name, level in cell.levels if name != factor)
