"""Which coordinates decide whether a setting is among the best, beside what the same figures are where none does."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from rambo.arrays import Floats
from rambo.fields import Value
from rambo.formats import decimals, relation
from rambo.inference import ALPHA
from rambo.randomness import numpy_generator
from tune.records import Attempt, SearchPlan, settings_of
from tune.search import calm

LEAST_TOP = 5
"""Settings that PED-ANOVA should find in the part it calls good, at least, where there are so many."""

SAME = 1e-12
"""Accuracies that differ by no more are equal: means over seeds are rounded."""

PERMUTATIONS = 199
"""Of the accuracies among the settings: so many, with what was observed, have a twentieth that is a whole number."""

_TIE = 1e-9
"""Importances that differ by less than this share are equal: they are sums in an order that is not fixed."""

Point = Mapping[str, Value]


@dataclass(frozen=True)
class Importance:
    """What one coordinate decides, beside the same where accuracies are permuted among the settings.

    All in units of what the coordinates decide together, as observed.
    """

    coordinate: str
    share: float
    null_mean: float
    null_high: float
    """95th percentile: 5 % of all permutations, what was observed among them, reach beyond it."""
    p: float
    """The part of all permutations, what was observed among them, that are as large."""

    @property
    def exceeds(self) -> bool:
        """Whether it is larger than chance makes it, at 5 %, for this coordinate alone."""
        return self.p <= ALPHA

    @property
    def text(self) -> str:
        """`.52 (.35, .70; p = .180)`."""
        p = f"p {relation(self.p)}"
        return f"{decimals(self.share)} ({decimals(self.null_mean)}, {decimals(self.null_high)}; {p})"


def importances(plan: SearchPlan, attempts: Sequence[Attempt]) -> list[Importance]:
    """How much each coordinate decides whether a setting is among the best, in shares of 1; largest first.

    PED-ANOVA (Watanabe et al. 2023), Optuna's default, in its conditional form: it compares where the best settings lie
    with where all do. Settings that are equal in effect count once; those that were stopped early stand below all that
    were not, as TPE has it. Shares sum to 1 whatever the accuracies are, so each stands beside its permutation null:
    the same figure with the same settings and their accuracies in another order (Altmann et al. 2010), in the same
    unit: shares of every permutation's own sum would hide what matters behind the coordinate with the largest null.
    The test is exact where settings were drawn blindly, and near it where a sampler went where it had been lucky.

    Empty below ten settings, and where accuracies or all coordinates are constant, or the best are too many to differ
    from all; a coordinate that does not vary has none.
    """
    settings = settings_of(attempts)
    points, values = [plan.coordinates(one) for one in settings], np.array([_value(one) for one in settings])
    varying = varying_of(points)
    accuracies = [one.val_accuracy for one in settings]  # being stopped early is no difference of its own
    if len(settings) < 2 * LEAST_TOP or not varying or np.ptp(accuracies) <= SAME:
        return []
    study, generator = _study(points, varying), numpy_generator(0, "importances", "permutations")
    observed = _divergences(study, values)
    total = sum(observed.values())
    if total == 0:
        return []
    null = [_divergences(study, generator.permutation(values)) for _ in range(PERMUTATIONS)]
    shares = {name: np.array([one[name] for one in (observed, *null)]) / total for name in varying}
    found = [_importance(name, float(values[0]), values[1:]) for name, values in shares.items()]
    return sorted(found, key=lambda one: (-round(one.share, 9), one.coordinate))


def varying_of(points: Sequence[Point]) -> list[str]:
    """Coordinates that have two values or more among the points that have them."""
    values = _values(points)
    return [name for name, found in values.items() if len(found) > 1]


def importance_text(plan: SearchPlan, attempts: Sequence[Attempt]) -> str:
    """The table of `importances` in Markdown and what it shows; a sentence where there are none."""
    settings, found = settings_of(attempts), importances(plan, attempts)
    if not found:
        return (
            f"Importances take {2 * LEAST_TOP} different settings, and accuracies and coordinates that vary among "
            f"them: with {len(settings)} there are none."
        )
    rows = [f"| {one.coordinate} | {one.text} |" for one in found]
    table = ["| coordinate | importance (null mean, 95th percentile; p) |", "|---|---|", *rows]
    names = list(_values([plan.coordinates(one) for one in settings]))
    fixed = [name for name in names if name not in {one.coordinate for one in found}]
    lines = [
        "\n".join(table),
        f"Importances are PED-ANOVA's over {len(settings)} settings, in shares of their sum; null ones are those with "
        f"accuracies permuted among the settings, {PERMUTATIONS} times, in the same unit; p is of each coordinate "
        f"alone. {_verdict(found)}",
        *([f"Nothing can be said of what does not vary: {', '.join(fixed)}."] if fixed else []),
    ]
    return "\n\n".join(lines)


def _verdict(found: Sequence[Importance]) -> str:
    more = [one.coordinate for one in found if one.exceeds]
    less = [one.coordinate for one in found if not one.exceeds]
    if not more:
        return "None exceeds its null, the 95th percentile: no coordinate is shown to matter."
    said = f"{', '.join(more)} {'exceeds its' if len(more) == 1 else 'exceed their'} null, the 95th percentile"
    return f"{said}; {', '.join(less)} {'does' if len(less) == 1 else 'do'} not." if less else f"{said}."


def _value(one: Attempt) -> float:
    return one.val_accuracy - (one.state == "PRUNED")


def _importance(name: str, share: float, null: Floats) -> Importance:
    as_large = int((null >= share * (1 - _TIE)).sum())
    high = float(np.quantile(null, 1 - ALPHA, method="weibull"))
    return Importance(name, share, float(null.mean()), high, (1 + as_large) / (1 + len(null)))


def _divergences(study: optuna.Study, values: Floats) -> dict[str, float]:
    """PED-ANOVA's importances, before they are divided by their sum, with `values` by the number of a trial."""
    evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=max(0.1, LEAST_TOP / len(values)))
    with calm():
        return optuna.importance.get_param_importances(
            study, evaluator=evaluator, target=lambda trial: -float(values[trial.number]), normalize=False
        )


def _study(points: Sequence[Point], names: Sequence[str]) -> optuna.Study:
    """A complete trial for each point, with the coordinates among `names` that it has."""
    distributions = {name: _distribution(found) for name, found in _values(points).items() if name in names}
    with calm():
        study = optuna.create_study()
        for point in points:
            own = {name: value for name, value in point.items() if name in distributions}
            its = {name: distributions[name] for name in own}
            study.add_trial(optuna.create_trial(params=own, distributions=its, value=0.0))
    return study


def _values(points: Sequence[Point]) -> dict[str, set[Value]]:
    values: dict[str, set[Value]] = {}
    for point in points:
        for name, value in point.items():
            values.setdefault(name, set()).add(value)
    return values


def _distribution(values: set[Value]) -> BaseDistribution:
    numbers = [value for value in values if isinstance(value, float)]
    if len(numbers) == len(values):
        return FloatDistribution(min(numbers), max(numbers), log=min(numbers) > 0)
    if all(isinstance(value, int) and not isinstance(value, bool) for value in values) and len(values) > 10:
        return IntDistribution(int(min(values)), int(max(values)))
    return CategoricalDistribution(sorted(values, key=lambda value: (str(type(value)), value)))
