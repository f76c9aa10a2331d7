"""Whether what a search found beats what one had: both on seeds that the search has not seen, judged on test images."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cluster.place import Place
from cluster.trials import run_trials, unfinished
from rambo.config import Config
from rambo.console import Table
from rambo.errors import InvalidInput, require
from rambo.formats import csv_bytes, interval, p_value, points
from rambo.inference import ALPHA, mean_and_se, sign_flip_p, t_interval
from rambo.preparation import Prepared, prepare
from rambo.progress import Progress
from rambo.randomness import numpy_generator
from rambo.result import read_result
from tune.records import Attempt, SearchPlan, alone, named_search

METRICS = {"test_accuracy": "test", "val_accuracy": "validation"}

GAIN, LOSS, OPEN, ALIKE = "shown gain", "shown loss", "remains open", "all alike"
STYLES = {GAIN: "green", LOSS: "red", OPEN: "dim", ALIKE: "dim"}


@dataclass(frozen=True)
class Comparison:
    """The best setting of a search beside its base, seed by seed; accuracies in [0, 1]."""

    seeds: tuple[int, ...]
    best: dict[str, np.ndarray]
    """(seeds,) by metric."""
    base: dict[str, np.ndarray]


def comparison_experiments(
    plan: SearchPlan, attempts: Sequence[Attempt], seeds: Sequence[int], place: Place
) -> list[Prepared]:
    """The best, then the base, with every seed; raises `InvalidInput` for seeds that the search has seen."""
    seen = sorted(set(seeds) & set(plan.seeds))
    require(
        not seen,
        f"--seeds must be fresh, since {plan.name} chose its best on {', '.join(map(str, plan.seeds))}; got "
        f"{', '.join(map(str, seen))} among them.",
    )
    require(len(seeds) >= 2, f"--seeds must be at least two for a comparison, got {len(seeds)}.")
    best = plan.best(attempts)
    if best is None:
        raise InvalidInput(f"--study {plan.name} must have a complete trial, got none; let it run on.")
    configs: list[Config] = [plan.config(fields, seed) for fields in (best.fields, {}) for seed in seeds]
    return [prepare(config, place.data_dir) for config in configs]


def compare(
    plan: SearchPlan, attempts: Sequence[Attempt], seeds: Sequence[int], place: Place, *, progress: Progress
) -> Comparison:
    """Run what is missing of both settings with `seeds`, and read what came of them."""
    experiments = comparison_experiments(plan, attempts, seeds, place)
    place.home.check_writable()
    with alone(plan.name, place.home):
        run_trials(unfinished(experiments, place.home), place, progress=progress, on_end=lambda one: None)
    results = [read_result(place.home, one.folder) for one in experiments]
    lost = [f"seed {one.config.seed}" for one, result in zip(experiments, results, strict=True) if result is None]
    require(
        not lost,
        f"Both settings must run on every seed, got no result for {', '.join(lost)}; failure.json in its trial's "
        "folder says why.",
    )
    columns = {metric: np.array([getattr(one, metric) for one in results], dtype=float) for metric in METRICS}
    found = Comparison(
        tuple(seeds),
        {metric: values[: len(seeds)] for metric, values in columns.items()},
        {metric: values[len(seeds) :] for metric, values in columns.items()},
    )
    named_search(plan.name, place.home).keep({"confirm.csv": _csv(found)})
    return found


def comparison(plan: SearchPlan, found: Comparison) -> list[Table | str]:
    """What `tune confirm` prints: means ± standard errors, and the paired difference with its interval and p."""
    rows = [_row(name, found.best[metric], found.base[metric], metric) for metric, name in METRICS.items()]
    header = ("accuracy %", "best", "base", "points", "95 % interval", "p", "verdict")
    table = Table(header, rows, leaving=("base", "best"), styles=STYLES, wide=("verdict",))
    return [f"The best of {plan.name} beside its base on {len(found.seeds)} fresh seeds:", table, _conclusion(rows[0])]


def _row(name: str, best: np.ndarray, base: np.ndarray, metric: str) -> tuple[str, ...]:
    difference = np.round(best - base, 9)  # what rounding leaves of no difference is none
    p = float(sign_flip_p(difference, numpy_generator(0, "confirm", metric)))
    low, high = t_interval(difference)
    verdict = (GAIN if difference.mean() > 0 else LOSS) if p < ALPHA else OPEN
    if not np.ptp(difference):
        return (name, _mean(best), _mean(base), points(difference.mean()), "", p_value(p), ALIKE)
    told = interval(float(low), float(high))
    return (name, _mean(best), _mean(base), points(difference.mean()), told, p_value(p), verdict)


def _conclusion(test: tuple[str, ...]) -> str:
    """Of the row of test accuracy."""
    by = f"{test[3]} points of test accuracy, sign-flip p {test[5]}"
    return {
        GAIN: f"The best is shown to beat the base: {by}.",
        LOSS: f"The best is shown to be worse than the base: {by}.",
        OPEN: f"Whether the best beats the base remains open: {by}.",
        ALIKE: f"The difference is the same on every seed, so nothing can be told of other seeds: {by}.",
    }[test[6]]


def _mean(values: np.ndarray) -> str:
    mean, se = mean_and_se(values)
    return f"{100 * mean:.2f} ± {100 * se:.2f}"


def _csv(found: Comparison) -> bytes:
    header = ["seed", *(f"{which}_{metric}" for metric in METRICS for which in ("best", "base"))]
    rows = (
        [seed, *(f"{which[metric][row]:.10g}" for metric in METRICS for which in (found.best, found.base))]
        for row, seed in enumerate(found.seeds)
    )
    return csv_bytes((header, *rows))
