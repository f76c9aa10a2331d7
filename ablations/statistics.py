"""What a study shows about one metric: which cells can be compared, what differs, and what so many seeds can tell."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count

import numpy as np

from ablations.effects import (
    Effect,
    contrasts,
    control_effects,
    level_effects,
    shapley_values,
)
from ablations.factors import Cell
from ablations.margin import MARGIN
from ablations.study import Outcome, Study
from rambo.errors import InvalidInput, require
from rambo.formats import counted
from rambo.inference import (
    ALPHA,
    Power,
    attainable,
    difference_power,
    equivalence_power,
    mean_and_se,
    seeds_needed,
)

LEAST_PILOT = 3
"""Seeds from which the standard deviation of a difference is taken."""


@dataclass(frozen=True)
class Summary:
    """Mean and standard error over seeds; None where there are too few."""

    mean: float | None
    se: float | None
    n: int


@dataclass(frozen=True)
class Analysis:
    """Everything that sentences, tables and figures say about one metric of a study."""

    study: Study
    metric: str
    margin: float
    contrasts: tuple[Effect, ...]
    """Main effects, then interactions; none unless the design is a factorial of two levels each."""
    shapley: tuple[Effect, ...]
    """One per component; none unless all factors are switches."""
    levels: tuple[Effect, ...]
    """Each level against the reference level, where there are no contrasts."""
    controls: tuple[Effect, ...]
    """The reference cell against each control."""
    marks: tuple[str, ...]
    """What makes the cells hard to compare, to be printed with every table."""
    powers: tuple[Power, ...]
    """What the seeds can show: one, or of the effects with the fewest seeds and of those with the most."""
    reason: str | None = None
    """Why the margin is what it is, where that was said with the report."""

    @property
    def tested(self) -> tuple[Effect, ...]:
        """The effects of the factors that have p values."""
        return self.contrasts or self.levels

    @property
    def compared(self) -> tuple[Effect, ...]:
        """Those whose number decides what seeds can show: without factors, the comparisons with controls."""
        return self.tested or self.controls


def analyse(
    study: Study,
    metric: str = "test_accuracy",
    *,
    margin: float = MARGIN,
    reason: str | None = None,
    allow_mixed: bool = False,
) -> Analysis:
    """All effects of `study` on `metric`; raises `InvalidInput` for cells that cannot be compared."""
    require(0 < margin < 1, f"The margin must be a difference in accuracy between 0 and 1, got {margin:g}.")
    marks = check_comparable(study, allow_mixed)
    found = contrasts(study, metric, margin)
    by_level = level_effects(study, metric, margin)
    against = control_effects(study, metric, margin)
    values = shapley_values(study, metric, margin)
    powers = _powers(found or by_level or against)
    return Analysis(study, metric, margin, found, values, by_level, against, tuple(marks), powers, reason)


def check_comparable(study: Study, allow_mixed: bool = False) -> list[str]:
    """Raise `InvalidInput` for mixed training versions or unequal seeds, or return sentences on them if allowed.

    An unfinished study is refused as long as a cell has other seeds than another; whole seeds that are still to come
    make no difference unfair. Trials that have failed are no reason to refuse, since nobody can wait for them: they are
    missing from every table, and marked.
    """
    outcomes, cells = finished(study), study.grid.variants
    fixed = [] if study.fixed is None else finished(study.fixed)
    marks = check_versions(Counter(outcome.training_version for outcome in (*outcomes, *fixed)), allow_mixed)
    ended = Counter(tuple(seed for seed in study.grid.seeds if _has_ended(study, cell, seed)) for cell in cells)
    seeds = Counter(tuple(study.accuracies(cell)) for cell in cells)
    allowed, cure = allow_mixed or (len(ended) == 1 and () not in ended), "run what is missing"
    if not outcomes:
        marks.append(_refuse("a finished trial", "none", cure, allowed))
    if len(seeds) > 1:
        counts = {f"seeds {seeds_text(found) or 'none'}": number for found, number in sorted(seeds.items())}
        marks.append(_refuse("the same seeds in all cells", _spread(counts, "cell"), cure, allowed))
    return marks


def check_versions(versions: Mapping[int, int], allow_mixed: bool = False) -> list[str]:
    """Raise `InvalidInput` for trials of several training versions, or return a sentence on them if allowed."""
    if len(versions) < 2:
        return []
    counts = {f"version {version}": number for version, number in sorted(versions.items())}
    cure = "run it with --rerun-outdated"
    return [_refuse("one training version", _spread(counts, "trial"), cure, allow_mixed)]


def summarise(values: Sequence[float | None]) -> Summary:
    """Mean ± SE (n − 1 in the denominator) of the values that are there."""
    present = np.array([value for value in values if value is not None], dtype=np.float64)
    if len(present) < 2:
        return Summary(float(present[0]) if len(present) else None, None, len(present))
    mean, se = mean_and_se(present)
    return Summary(float(mean), float(se), len(present))


def power_text(power: Power) -> str:
    """What the seeds can show, in words."""
    seeds = f"{power.num_seeds} seed{'' if power.num_seeds == 1 else 's'}"
    if power.detectable_sd is None:
        return f"With {seeds} in all cells nothing can be tested; effects take two, significance at least six."
    one = power.num_tests == 1
    after = "" if one else f", {_decimals(power.smallest_p_holm)} after Holm over {power.num_tests} tests"
    smallest = f"With {seeds} the smallest sign-flip p is {_decimals(power.smallest_p)}{after}, so"
    if not power.can_reject:
        return (
            f"{smallest} nothing can be significant at p < {_decimals(ALPHA)}; that takes "
            f"{fewest_seeds(power.num_tests)} seeds."
        )
    return (
        f"{smallest} effects can be significant at p < {_decimals(ALPHA)}. "
        f"A paired t test at {_level(power.num_tests)} has 80 % power for an effect of "
        f"{power.detectable_sd:.2f} standard deviations of a difference over seeds, the sign-flip test for a slightly "
        f"larger one."
    )


def precision_text(effects: Sequence[Effect], power: Power, margin: float) -> str | None:
    """The same in points of accuracy, from how much the differences of `effects` vary over the seeds that there are.

    None where none varies over three seeds or more: from two, a standard deviation is little more than a guess.
    """
    seen = [
        np.array(effect.values) for effect in effects if len(effect.values) >= LEAST_PILOT and np.ptp(effect.values)
    ]
    if not seen or power.detectable_sd is None:
        return None
    low, high = (pick(float(values.std(ddof=1)) for values in seen) for pick in (min, max))
    level, found, most = ALPHA / power.num_tests, power.detectable_sd, max(map(len, seen))
    absence = [equivalence_power(power.num_seeds, margin / spread, level) for spread in (high, low)]
    rejecting = fewest_seeds(power.num_tests)

    def takes(power_of: Callable[[int, float, float], float], spread: float) -> int | None:
        needed = seeds_needed(lambda num_seeds: power_of(num_seeds, margin / spread, level))
        return needed if needed is None else max(needed, rejecting)

    seeds = [_seeds_range([takes(of, low), takes(of, high)]) for of in (difference_power, equivalence_power)]
    told = f", by the {most} that have run" if most != power.num_seeds else ""
    spreads, effects_found = (_range(100 * factor * low, 100 * factor * high) for factor in (1.0, found))
    points = f"{100 * margin:.6g} points"
    return (
        f"Over seeds the tested differences have standard deviations of {spreads} points{told}. So {power.num_seeds} "
        f"seeds find an effect of {effects_found} points with 80 % power, and show with a power of {_range(*absence)} "
        f"that one of 0 is within {points}, each at {_level(power.num_tests)}; 80 % power takes {seeds[0]} seeds for "
        f"an effect of {points}, {seeds[1]} for its absence."
    )


def fewest_seeds(num_tests: int) -> int:
    """With which the sign-flip test can be significant after Holm over `num_tests`: 2^(1 − n) · tests < ALPHA."""
    return next(n for n in count(2) if attainable(n, num_tests).can_reject)


def finished(study: Study) -> list[Outcome]:
    """The outcomes of the grid, cell by cell."""
    keys = [(cell.name, seed) for cell in study.grid.variants for seed in study.grid.seeds]
    return [study.outcomes[key] for key in keys if key in study.outcomes]


def seeds_text(seeds: Sequence[int]) -> str:
    """Seeds in short.

    >>> seeds_text([0, 1, 2, 5, 7, 8])
    '0–2, 5, 7–8'
    """
    runs: list[list[int]] = []
    for seed in sorted(seeds):
        if runs and seed == runs[-1][-1] + 1:
            runs[-1].append(seed)
        else:
            runs.append([seed])
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}–{run[-1]}" for run in runs)


def _has_ended(study: Study, cell: Cell, seed: int) -> bool:
    return (cell.name, seed) in study.outcomes or (cell.name, seed) in study.failures


def _powers(effects: Sequence[Effect]) -> tuple[Power, ...]:
    """Of the effects that are tested; of what there is, where none can be."""
    counts = sorted(len(effect.seeds) for effect in effects if effect.num_tests)
    if not counts:
        return (attainable(max((len(effect.seeds) for effect in effects), default=0), len(effects)),)
    return tuple(attainable(number, len(counts)) for number in dict.fromkeys((counts[0], counts[-1])))


def _refuse(rule: str, found: str, cure: str, allow_mixed: bool) -> str:
    """Raise, or return the sentence that marks the tables."""
    if not allow_mixed:
        raise InvalidInput(f"The study must have {rule}, got {found}; {cure}, or pass --allow-mixed to have it marked.")
    return f"Mind: this study should have {rule}, but has {found}."


def _spread(counts: Mapping[str, int], what: str) -> str:
    return "; ".join(f"{name} in {counted(number, what)}" for name, number in counts.items())


def _level(num_tests: int) -> str:
    return _decimals(ALPHA) + ("" if num_tests == 1 else f"/{num_tests}")


def _range(low: float, high: float) -> str:
    """Two decimals each, once where they agree."""
    texts = dict.fromkeys(f"{value:.2f}" for value in (low, high))
    return " to ".join(texts)


def _seeds_range(counts: Sequence[int | None]) -> str:
    return " to ".join(dict.fromkeys("more than 100 000" if n is None else str(n) for n in counts))


def _decimals(p: float) -> str:
    return f"{p:.3g}".removeprefix("0")
