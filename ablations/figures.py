"""The pictures of a study: cells, effects, accuracy over the number of labels."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ablations.effects import Effect
from ablations.factors import Cell
from ablations.margin import share
from ablations.naming import short_names
from ablations.sentences import metric_text
from ablations.statistics import Analysis, Summary, summarise
from ablations.study import Study
from rambo.drawing import Axes, Figure, colormaps, picture, plain, sheet
from rambo.strategies.facts import CONTROLS

INK, GREY = "tab:blue", "tab:gray"
"""The method under study, and controls."""

MARKERS = "osD^vP*X"

LINES = (":", "-.", "--")
"""Of the controls, in the order in which they are listed."""

BUDGET = "acquisition.budget"


@dataclass(frozen=True)
class Curve:
    """Accuracy over the number of labels, from the seed set on."""

    name: str
    control: str | None
    num_labelled: tuple[int, ...]
    accuracy: tuple[Summary, ...]


@picture
def cells_figure(analysis: Analysis) -> Figure:
    """Every cell: its seeds as points, its mean with the standard error."""
    study, cells = analysis.study, analysis.study.grid.cells
    figure, axes = _rows(len(cells))
    for place, cell in enumerate(cells):
        colour = GREY if cell.control else INK
        values = 100 * np.array(list(study.accuracies(cell, analysis.metric).values()))
        axes.plot(values, np.full(len(values), place), "|", color=colour, alpha=0.5, markersize=9)
        summary = summarise(list(values / 100))
        if summary.mean is None:
            axes.text(0.01, place, "missing", transform=axes.get_yaxis_transform(), va="center", color=GREY)
        else:
            axes.errorbar(100 * summary.mean, place, xerr=_error(summary), fmt="o", color=colour, capsize=3)
    names = short_names(study.grid)
    _name_rows(axes, [names[cell.name] for cell in cells])
    axes.set_xlabel(f"{metric_text(analysis.metric)} in %: mean ± standard error, and each seed")
    return figure


@picture
def effects_figure(analysis: Analysis) -> Figure:
    """Main effects and interactions, or levels, with their 95 % intervals; the margin of equivalence as a band."""
    effects = analysis.tested
    figure, axes = _rows(max(1, len(effects)))
    margin = 100 * analysis.margin
    axes.axvspan(
        -margin, margin, color="tab:green", alpha=0.15, linewidth=0, label=f"± {share(analysis.margin)} points"
    )
    axes.axvline(0, color="black", linewidth=0.8)
    for place, effect in enumerate(effects):
        _interval(axes, place, effect)
    for filled, name in ((True, "differs from 0 after Holm"), (False, "not shown to differ")):
        axes.plot([], [], "o", color=INK, markerfacecolor=INK if filled else "white", label=name)
    _name_rows(axes, [effect.name for effect in effects])
    axes.set_xlabel(f"change of {metric_text(analysis.metric)} in points, 95 % interval")
    figure.legend(loc="outside lower center", ncols=3, fontsize=8, frameon=False)
    return figure


@picture
def labels_figure(analysis: Analysis) -> Figure:
    """From the seed set to the labelled set; cells that differ only in B are one line.

    Where all have bought one number of labels there is nothing to follow: each has its point, beside the others'.
    """
    curves = curves_over_labels(analysis.study, analysis.metric)
    beside = len({curve.num_labelled for curve in curves}) == 1 and len(curves[0].num_labelled) == 2
    figure = _points_beside(curves) if beside else _lines(curves)
    figure.axes[0].set_ylabel(f"{metric_text(analysis.metric)} in %")
    return figure


def curves_over_labels(study: Study, metric: str) -> list[Curve]:
    """One curve for each group of cells that differ only in B, best last value first."""
    groups: dict[Cell, list[Cell]] = {}
    for cell in study.grid.cells:
        rest = tuple((name, level) for name, level in cell.levels if name != BUDGET)
        groups.setdefault(Cell(rest, cell.control), []).append(cell)
    factors = tuple(factor for factor in study.grid.factors if factor.name != BUDGET)
    names = short_names(replace(study.grid, factors=factors, cells=tuple(groups)))
    found = (_curve_of(study, names[rest.name], cells, metric) for rest, cells in groups.items())
    curves = [curve for curve in found if curve is not None]
    return sorted(curves, key=lambda curve: (-(curve.accuracy[-1].mean or 0), curve.name))


def _curve_of(study: Study, name: str, cells: Sequence[Cell], metric: str) -> Curve | None:
    """None where nothing is finished."""
    base, points = [], []
    for cell in cells:
        found = study.accuracies(cell, metric)
        if found:
            base.append(list(study.accuracies(cell, f"base_{metric}").values()))
            num_labelled = study.outcomes_of(cell, next(iter(found)))[0].num_labelled
            points.append((num_labelled, summarise(list(found.values()))))
    if not points:
        return None
    num_seed_labels = study.grid.config(cells[0], study.grid.seeds[0]).data.num_seed_labels
    points = [(num_seed_labels, summarise(max(base, key=len))), *sorted(points, key=lambda point: point[0])]
    labels, accuracy = zip(*points, strict=True)
    return Curve(name, cells[0].control, labels, accuracy)


def _lines(curves: Sequence[Curve]) -> Figure:
    figure = sheet(8.5, max(3.6, 1.2 + 0.2 * len(curves)))
    axes = figure.add_subplot()
    last = max((curve.num_labelled[-1] for curve in curves), default=1)
    for place, curve in enumerate(curves):
        step = last * min(0.004, 0.05 / len(curves))  # else the error bars of one budget lie on each other
        _curve(axes, curve, step * (place - (len(curves) - 1) / 2), _look(place, len(curves), curve))
    axes.set_xlabel("number of labels (cells are shifted apart)")
    if curves:
        figure.legend(
            loc="outside right upper",
            fontsize=8,
            frameon=False,
            title="in the order of the last value",
            title_fontsize=8,
        )
    return figure


def _points_beside(curves: Sequence[Curve]) -> Figure:
    """Before and after the acquisition, a column for each of `curves`, which agree in both numbers of labels."""
    figure = sheet(max(5.0, 2.0 + 0.6 * len(curves)), 4.4)
    axes = figure.add_subplot()
    for number, face in ((1, None), (0, "white")):
        labels, name = curves[0].num_labelled[number], ("before: the seed set", "after the acquisition")[number]
        for place, curve in enumerate(curves):
            colour, at = GREY if curve.control else INK, curve.accuracy[number]
            axes.errorbar(
                place,
                100 * (at.mean or 0),
                _error(at),
                fmt="o",
                color=colour,
                markerfacecolor=face or colour,
                capsize=3,
            )
        axes.plot([], [], "o", color=INK, markerfacecolor=face or INK, label=f"{name}, {labels} labels")
    axes.set_xticks(
        range(len(curves)), [plain(curve.name) for curve in curves], rotation=40, ha="right", rotation_mode="anchor"
    )
    axes.set_xlim(-0.6, len(curves) - 0.4)
    axes.grid(axis="y", alpha=0.3)
    figure.legend(loc="outside upper center", ncols=2, fontsize=8, frameon=False)
    return figure


def _curve(axes: Axes, curve: Curve, shift: float, look: dict[str, Any]) -> None:
    means = [100 * (summary.mean or 0) for summary in curve.accuracy]
    errors = [_error(summary) for summary in curve.accuracy]
    places = [curve.num_labelled[0], *(number + shift for number in curve.num_labelled[1:])]
    axes.errorbar(places, means, errors, linewidth=1, markersize=4, capsize=2, label=plain(curve.name), **look)


def _look(place: int, total: int, curve: Curve) -> dict[str, Any]:
    """Colours along the ranking; controls are grey, each with a line of its own."""
    marker = MARKERS[place % len(MARKERS)]
    if curve.control is not None:
        return {"color": GREY, "linestyle": LINES[CONTROLS.index(curve.control) % len(LINES)], "marker": marker}
    colour = colormaps["tab10"](place % 10) if total <= 10 else colormaps["turbo"](place / (total - 1))
    return {"color": colour, "marker": marker}


def _interval(axes: Axes, place: int, effect: Effect) -> None:
    found = effect.estimate
    if found is None:
        axes.text(0.01, place, "missing", transform=axes.get_yaxis_transform(), va="center", color=GREY)
        return
    ends = [[100 * (found.mean - found.low)], [100 * (found.high - found.mean)]]
    fill = INK if effect.is_significant else "white"
    axes.errorbar(100 * found.mean, place, xerr=ends, fmt="o", color=INK, markerfacecolor=fill, capsize=3)


def _rows(number: int) -> tuple[Figure, Axes]:
    """A panel with a row for each name, wide enough for long ones."""
    figure = sheet(8.5, 1.3 + 0.3 * number)
    return figure, figure.add_subplot()


def _name_rows(axes: Axes, names: Sequence[str]) -> None:
    axes.set_yticks(range(len(names)), [plain(name) for name in names], fontsize=8)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.grid(axis="x", alpha=0.3)


def _error(summary: Summary) -> float:
    return 100 * (summary.se or 0)
