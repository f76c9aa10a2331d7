"""What a person reads at the end of a command: a summary of one run, a table over several."""

from collections.abc import Sequence

import numpy as np

from rambo.ceiling import pooled_ceiling
from rambo.console import Table
from rambo.formats import counted, points
from rambo.result import Result

LEAVING = ("Eq. 4 %", "û pairs % (at most)", "validation %", "n")
"""Columns in the order in which they are left out where there is not room for all."""

CAPTION = "± is over seeds, which share their test images; other images would add to it."


def summary(result: Result, num_seed_labels: int) -> str:
    """A few lines on one run."""
    lines = [
        f"{result.strategy} on {result.data.rsplit('-', 1)[0]}, seed {result.seed}: "
        f"{num_seed_labels} labels, then {result.num_labelled}",
        f"  test accuracy        {_percent(result.base_test_accuracy)} -> {_percent(result.test_accuracy)}",
        f"  validation accuracy  {_percent(result.base_val_accuracy)} -> {_percent(result.val_accuracy)}",
    ]
    if result.test_accuracy_all is not None and result.base_test_accuracy_all is not None:
        before, after = _percent(result.base_test_accuracy_all), _percent(result.test_accuracy_all)
        lines.append(f"  test, S_val as well  {before} -> {after}")
    if result.saw_validation:
        lines.append("  labels of S_val entered the choice")
    if result.pair_accuracy is not None and result.pair_ceiling is not None:
        lines.append(
            f"  û orders held-out pairs as measured in {_percent(result.pair_accuracy)} "
            f"(chance 50.0 %, upper bound from {_repeated(result)} {_percent(result.pair_ceiling)})"
        )
    if result.label_agreement is not None:
        lines.append(f"  Eq. 4 orders audited pairs as training does in {_percent(result.label_agreement)}")
    stages = ", ".join(f"{name.replace('_', ' ')} {seconds:.1f} s" for name, seconds in result.seconds.items())
    lines.append(f"  {counted(result.trainings, 'training')}; {stages}")
    return "\n".join(lines)


def comparison(results: Sequence[Result]) -> Table:
    """Mean ± standard error of each strategy over seeds, and its paired difference to random where that was run."""
    strategies = dict.fromkeys(result.strategy for result in results)
    return Table(
        ("strategy", "n", "test %", "minus random, paired", "validation %", "û pairs % (at most)", "Eq. 4 %"),
        [_row(strategy, results) for strategy in strategies],
        f"Test accuracy over {_seeds(results)}, mean ± standard error",
        leaving=LEAVING,
    )


def _row(strategy: str, results: Sequence[Result]) -> list[str]:
    mine = {result.seed: result for result in results if result.strategy == strategy}
    control = {result.seed: result for result in results if result.strategy == "random"}
    gains = [mine[seed].test_accuracy - control[seed].test_accuracy for seed in mine if seed in control]
    learned = [result for result in mine.values() if result.pair_accuracy is not None]
    pairs = [result.pair_accuracy for result in learned if result.pair_accuracy is not None]
    ceiling = pooled_ceiling(learned)
    agreements = [result.label_agreement for result in learned if result.label_agreement is not None]
    return [
        strategy,
        str(len(mine)),
        _mean_error([result.test_accuracy for result in mine.values()]),
        "" if strategy == "random" or not gains else _mean_error(gains, signed=True),
        _mean_error([result.val_accuracy for result in mine.values()]),
        f"{_mean_error(pairs)}{f' ({100 * ceiling.bound:.1f})' if ceiling else ''}" if pairs else "",
        _mean_error(agreements) if agreements else "",
    ]


def _mean_error(values: Sequence[float], *, signed: bool = False) -> str:
    """Mean ± standard error in percent or points; no error from a single value."""
    mean = points(float(np.mean(values))) if signed else f"{100 * np.mean(values):.2f}"
    if len(values) < 2:
        return mean
    return f"{mean} ± {100 * np.std(values, ddof=1) / np.sqrt(len(values)):.2f}"


def _seeds(results: Sequence[Result]) -> str:
    seeds = sorted({result.seed for result in results})
    return f"seed {seeds[0]}" if len(seeds) == 1 else f"{len(seeds)} seeds"


def _repeated(result: Result) -> str:
    return "repeated pairs" if result.num_ceiling_pairs is None else f"{result.num_ceiling_pairs} repeated pairs"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
