"""The CSV files: every cell, every effect, every trial; shares in [0, 1], empty where there is nothing.

Floats of trials are written in full, derived ones with ten digits, so that another BLAS gives the same bytes.
"""

from collections.abc import Iterable, Iterator, Sequence

from ablations.effects import Effect
from ablations.factors import Cell
from ablations.images import level_error
from ablations.luck import Widened, luck_of, widened_cell, widened_effects
from ablations.statistics import Analysis, summarise
from ablations.study import Study
from ablations.tables import strategy
from rambo.formats import csv_bytes

Row = Sequence[object]

AVERAGED = (
    "base_test_accuracy",
    "test_accuracy",
    "base_val_accuracy",
    "val_accuracy",
    "test_accuracy_all",
    "base_test_accuracy_all",
    "pair_accuracy",
    "label_agreement",
)
"""Of an outcome, what table.csv has mean and standard error of."""

KEPT = (
    *AVERAGED,
    "pair_ceiling",
    "repeat_agreement",
    "num_ceiling_pairs",
    "num_labelled",
    "config_id",
    "data",
    "commit",
    "training_version",
)
"""Of an outcome, what trials.csv has as it is."""

EFFECTS = (
    "metric", "kind", "name", "n", "estimate", "se", "se_images", "low", "high",
    "p", "p_holm", "p_t", "p_tost", "p_tost_holm", "num_tests", "seeds", "values",
)  # fmt: skip
"""Columns of effects.csv; `values` are the differences, in the order of `seeds`, `se_images` the standard error for
other test images too."""

LUCK = ("metric", "kind", "name", "estimate", "se", "freedom", "low", "high", "p", "p_holm")
"""Columns of luck.csv; effects.csv has the errors that are given the settings found."""


def cells_csv(study: Study) -> bytes:
    """`table.csv`: a row a cell."""
    names = _factors(study)
    averaged = [f"{metric}_{part}" for metric in AVERAGED for part in ("mean", "se")]
    header = ["cell", "strategy", "is_control", *names, "n", "planned", *averaged, "test_accuracy_se_images"]
    header += ["pair_ceiling", "pair_ceiling_low", "pair_ceiling_high"]
    header += ["saw_validation", "num_labelled", "config_ids", "data", "commits", "training_versions"]
    return csv_bytes((header, *(_cell_row(study, cell) for cell in study.grid.cells)))


def effects_csv(analyses: Sequence[Analysis]) -> bytes:
    """`effects.csv`: a row an effect; p values are adjusted within a metric and a family."""
    rows = (_effect_row(analysis, effect) for analysis in analyses for effect in _effects(analysis))
    return csv_bytes((EFFECTS, *rows))


def luck_csv(analyses: Sequence[Analysis]) -> bytes:
    """`luck.csv`: cells and effects of a study with several searches a cell, for other seeds and other searches."""
    return csv_bytes((LUCK, *(row for analysis in analyses for row in _luck_rows(analysis))))


def trials_csv(study: Study) -> bytes:
    """`trials.csv`: a row a trial of the grid, missing and failed ones too."""
    names = _factors(study)
    header = ["cell", "strategy", "is_control", "seed", *names, "status", "reason", *KEPT]
    trials = ((cell, seed) for cell in study.grid.variants for seed in study.grid.seeds)
    return csv_bytes((header, *(_trial_row(study, cell, seed) for cell, seed in trials)))


def _cell_row(study: Study, cell: Cell) -> Iterator[object]:
    outcomes = [outcome for seed in study.grid.seeds for outcome in study.outcomes_of(cell, seed)]
    n = len(study.accuracies(cell))
    yield from (*_identity(study, cell), *_levels(study, cell), n, len(study.grid.seeds))
    for metric in AVERAGED:
        summary = summarise(list(study.accuracies(cell, metric).values()))
        yield from (_digits(summary.mean), _digits(summary.se))
    crossed = level_error(study, cell)
    yield _digits(None if crossed is None else crossed.se)
    bound = study.ceiling(cell)
    yield from map(_digits, (None, None, None) if bound is None else (bound.bound, bound.low, bound.high))
    saw = study.saw_validation(cell)
    yield "" if saw is None else str(saw).lower()
    for field in ("num_labelled", "config_id", "data", "commit", "training_version"):
        yield _joined(getattr(outcome, field) for outcome in outcomes)


def _effects(analysis: Analysis) -> tuple[Effect, ...]:
    return (*analysis.tested, *analysis.shapley, *analysis.controls)


def _effect_row(analysis: Analysis, effect: Effect) -> Row:
    found, tested = effect.estimate, effect.num_tests > 0
    numbers = [found.mean, found.se, effect.se_images, found.low, found.high] if found else [None] * 5
    tests = [found.p, effect.p_holm, found.p_t, found.p_tost, effect.p_tost_holm] if found and tested else [None] * 5
    seeds, values = " ".join(map(str, effect.seeds)), " ".join(map(_digits, effect.values))
    row = [analysis.metric, effect.kind, effect.name, len(effect.seeds), *map(_digits, numbers), *map(_digits, tests)]
    return [*row, effect.num_tests or "", seeds, values]


def _luck_rows(analysis: Analysis) -> Iterator[Row]:
    study, metric = analysis.study, analysis.metric
    luck = luck_of(study, metric)
    if luck is None:
        return
    for cell in study.grid.cells:
        own = widened_cell(study, cell, metric, luck)
        if own is not None:
            yield [metric, "cell", cell.name, *_luck_numbers(own), "", ""]
    for family in (analysis.tested, analysis.controls):
        for effect, one, p_holm in widened_effects(family, luck):
            yield [metric, effect.kind, effect.name, *_luck_numbers(one), _digits(one.p), _digits(p_holm)]


def _luck_numbers(one: Widened) -> list[str]:
    return [_digits(number) for number in (one.mean, one.se, one.freedom, one.low, one.high)]


def _trial_row(study: Study, cell: Cell, seed: int) -> Row:
    outcome = study.outcomes.get((cell.name, seed))
    reason = study.failures.get((cell.name, seed)) if outcome is None else None
    status = "finished" if outcome is not None else "missing" if reason is None else "failed"
    kept = [getattr(outcome, field) if outcome is not None else None for field in KEPT]
    return [*_identity(study, cell), seed, *_levels(study, cell), status, reason, *kept]


def _factors(study: Study) -> list[str]:
    """Those with a column of their own: strategies stand in one already, in which controls have theirs."""
    return [factor.name for factor in study.grid.factors if factor.name != "strategy"]


def _identity(study: Study, cell: Cell) -> tuple[str, str, str]:
    return cell.name, strategy(study, cell), "true" if cell.control is not None else "false"


def _levels(study: Study, cell: Cell) -> list[str]:
    """As flags and JSON write them; empty where a factor changes nothing."""
    levels = (cell.level(name) for name in _factors(study))
    return ["" if level is None else str(level).lower() if isinstance(level, bool) else str(level) for level in levels]


def _joined(values: Iterable[object]) -> str:
    """All different ones; a trial whose commit is unknown says so."""
    return " ".join(sorted({"unknown" if value is None else str(value) for value in values}))


def _digits(number: float | None) -> str:
    return "" if number is None else f"{number:.10g}"
