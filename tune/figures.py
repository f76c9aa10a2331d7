"""The pictures of a search."""

from collections.abc import Mapping, Sequence

from rambo.drawing import Axes, Figure, NullFormatter, picture, plain, sheet
from rambo.fields import Value
from tune.importances import Importance
from tune.records import Attempt

SPREAD = 30.0
"""A coordinate whose largest value is so many times its smallest positive one is drawn on a logarithmic axis."""

COMPLETE, STOPPED, BEST = "tab:blue", "0.6", "tab:orange"


@picture
def history(attempts: Sequence[Attempt]) -> Figure:
    """Accuracy of each trial in the order in which they were asked for, and the best so far."""
    figure = sheet(6.5, 4)
    axes = figure.add_subplot()
    _points(axes, [one.number for one in attempts], attempts)
    complete = [one for one in attempts if one.state == "COMPLETE"]
    best = [100 * max(other.val_accuracy for other in complete[: i + 1]) for i in range(len(complete))]
    axes.step([one.number for one in complete], best, where="post", color=BEST, label="best so far")
    failed = [one.number for one in attempts if one.state == "FAIL"]
    if failed:
        bottom = axes.get_xaxis_transform()
        axes.plot(failed, [0.02] * len(failed), "x", color="tab:red", transform=bottom, label="failed")
    axes.set(xlabel="trial", ylabel="validation accuracy in %, mean over seeds")
    axes.legend(fontsize=8)
    return figure


@picture
def importances(shares: Sequence[Importance]) -> Figure:
    """A bar a coordinate, the most important on top, and where the bar ends by chance."""
    figure = sheet(6.5, 1.2 + 0.45 * len(shares))
    axes = figure.add_subplot()
    shown = shares[::-1]
    names = [f"{plain(one.coordinate)}   {100 * one.share:.0f} %" for one in shown]
    axes.barh(names, [100 * one.share for one in shown], color=COMPLETE)
    means, highs = ([100 * getattr(one, name) for one in shown] for name in ("null_mean", "null_high"))
    places, reach = range(len(shown)), [high - mean for high, mean in zip(highs, means, strict=True)]
    label = "accuracies permuted: mean, 95th percentile"
    axes.errorbar(
        means, places, xerr=[[0.0] * len(shown), reach], fmt="o", color=BEST, capsize=4, markersize=4, label=label
    )
    axes.set(xlabel="importance (PED-ANOVA) in % of their sum", xlim=(0, 1.05 * max(100.0, *highs)))
    figure.legend(loc="outside lower right", fontsize=8, frameon=False)
    return figure


@picture
def slices(points: Sequence[Mapping[str, Value]], attempts: Sequence[Attempt]) -> Figure:
    """Accuracy over each coordinate."""
    names = list(dict.fromkeys(name for point in points for name in point))
    figure = sheet(3.2 * max(len(names), 1), 3.4)
    panels = figure.subplots(1, max(len(names), 1), squeeze=False, sharey=True)[0]
    for axes, name in zip(panels, names, strict=False):
        mine = [(point[name], one) for point, one in zip(points, attempts, strict=True) if name in point]
        _scale(axes, [value for value, _ in mine])
        _points(axes, [_shown(value) for value, _ in mine], [one for _, one in mine])
        axes.set_xlabel(plain(name), fontsize=9)
    panels[0].set_ylabel("validation accuracy in %")
    return figure


@picture
def front(budgets: Sequence[int], attempts: Sequence[Attempt], best: Sequence[tuple[int, float]]) -> Figure:
    """Accuracy over budget, and the trials that no other beats in both."""
    figure = sheet(5.5, 4)
    axes = figure.add_subplot()
    _points(axes, budgets, attempts)
    if best:
        line = [(budget, 100 * accuracy) for budget, accuracy in best]
        axes.plot(*zip(*line, strict=True), "o-", color=BEST, label="Pareto front")
    axes.set(xlabel="B, labels bought", ylabel="validation accuracy in %, mean over seeds")
    axes.legend(fontsize=8)
    return figure


def _points(axes: Axes, places: Sequence[Value], attempts: Sequence[Attempt]) -> None:
    """Complete trials filled, stopped ones hollow."""
    for state, colour, label in (("COMPLETE", COMPLETE, "all seeds"), ("PRUNED", STOPPED, "stopped")):
        mine = [
            (place, 100 * one.val_accuracy) for place, one in zip(places, attempts, strict=True) if one.state == state
        ]
        if mine:
            face = colour if state == "COMPLETE" else "none"
            axes.plot(*zip(*mine, strict=True), "o", color=colour, markerfacecolor=face, markersize=5, label=label)


def _scale(axes: Axes, values: Sequence[Value]) -> None:
    numbers = [value for value in values if isinstance(value, float)]
    if numbers and min(numbers) > 0 and max(numbers) / min(numbers) > SPREAD:
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter("{x:g}")  # by default in markup
        axes.xaxis.set_minor_formatter(NullFormatter())


def _shown(value: Value) -> float | str:
    """Numbers as they are; what is chosen from a list by name."""
    return plain(str(value)) if isinstance(value, str | bool) else float(value)
