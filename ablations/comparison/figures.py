"""Pictures of a comparison, told apart by line and marker as well as by colour, so that they print in grey."""

from typing import Any

import numpy as np

from ablations.comparison.compared import Compared, Levels, scene_text
from ablations.comparison.penalties import Penalties, penalise
from ablations.comparison.profiles import error_ratios, profile
from ablations.comparison.ranks import rank
from rambo.arrays import Floats
from rambo.drawing import Axes, Figure, NullFormatter, colormaps, picture, plain, sheet
from rambo.inference import t_interval

WIDTH = 6.0
"""Inches; narrow, so that letters stay legible on a phone."""

MOST_BANDS = 5
"""Lines whose intervals can be bands; of more, they are bars."""

LINES = ("-", "--", "-.", ":")

MARKERS = "osD^vP*X<>hp"

WIDEST_RATIO = 3.0
"""Of the profile's axis, which is logarithmic."""


@picture
def curves_figure(compared: Compared) -> Figure:
    """A panel for each scene: mean test accuracy over the number of labels, with 95 % t intervals."""
    curves = compared.curves
    figure = sheet(WIDTH, 0.8 + 3.0 * len(curves) + _legend_height(compared))
    panels = figure.subplots(len(curves), squeeze=False)[:, 0]
    for axes, (scene, places) in zip(panels, curves.items(), strict=True):
        _panel(axes, compared, scene, places)
    panels[-1].set_xlabel("number of labels, those of the seed set among them")
    _legend(figure, panels[0])
    return figure


@picture
def ranks_figure(compared: Compared) -> Figure:
    """Mean ranks with their standard errors, the best on top."""
    found = rank(compared.accuracy, [setting.data for setting in compared.settings])
    order = np.argsort(found.mean, kind="stable")
    figure = sheet(WIDTH, 1.1 + 0.26 * len(order))
    axes = figure.add_subplot()
    for row, place in enumerate(order):
        fill = "black" if place == compared.reference else "white"
        mean, se = found.mean[place], found.se[place]
        axes.errorbar(mean, row, xerr=se, fmt="o", color="black", markerfacecolor=fill, capsize=3)
    _name_rows(axes, [compared.methods[place] for place in order])
    axes.grid(axis="x", alpha=0.3)
    axes.set_xlabel("mean rank ± standard error over seeds; filled: the reference")
    return figure


@picture
def penalties_figure(compared: Compared) -> Figure:
    """The penalty matrix: the darker, the more often the row beats the column; its columns' means below."""
    found = penalise(compared.accuracy, [setting.data for setting in compared.settings])
    number = len(compared.methods)
    figure = sheet(WIDTH, 1.2 + 0.3 * (number + 1))
    axes = figure.add_subplot()
    rows = np.vstack([found.wins, found.losses])
    axes.imshow(rows, cmap="Greys", vmin=0, vmax=found.num_data_sets, aspect="auto")
    _write_entries(axes, rows, found)
    axes.axhline(number - 0.5, color="black", linewidth=1)
    names = [f"{place + 1} {name}" for place, name in enumerate(compared.methods)]
    axes.set_yticks(range(number + 1), [*map(plain, names), "mean of column"], fontsize=8)
    axes.set_xticks(range(number), [str(place + 1) for place in range(number)], fontsize=8)
    axes.set_xlabel("beaten by the row, at 5 % by a paired t test")
    return figure


@picture
def profiles_figure(compared: Compared) -> Figure:
    """ρ(τ) of each method, as steps."""
    ratios = error_ratios(compared.accuracy)
    finite = ratios[np.isfinite(ratios)]
    last = min(WIDEST_RATIO, max(1.05, float(finite.max())))
    at = np.unique(np.concatenate([finite[finite <= last], [1.0, last]]))
    figure = sheet(WIDTH, 3.6 + _legend_height(compared))
    axes = figure.add_subplot()
    for place, (name, shares) in enumerate(zip(compared.methods, profile(ratios, at), strict=True)):
        marked = (place % 4 * max(1, len(at) // 16), max(1, len(at) // 4))
        axes.step(at, shares, where="post", label=plain(name), markevery=marked, **_look(compared, place))
    axes.set_xscale("log")
    axes.set_xlim(1, last)
    ticks = [one for one in (1, 1.1, 1.2, 1.5, 2, 3) if one <= last]
    axes.set_xticks(ticks, [f"{one:g}" for one in ticks])
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_ylim(0, 1.02)
    axes.grid(alpha=0.3)
    axes.set_xlabel("τ: errors relative to those of the best method there")
    axes.set_ylabel("share within τ")
    _legend(figure, axes)
    return figure


def _panel(axes: Axes, compared: Compared, scene: Levels, places: list[int]) -> None:
    labels = np.array([compared.settings[place].num_labelled for place in places], dtype=np.float64)
    step = 0.004 * float(np.ptp(labels)) if len(compared.methods) > MOST_BANDS else 0.0
    for method, name in enumerate(compared.methods):
        values = 100 * compared.accuracy[method, places]
        shifted = labels + step * (method - (len(compared.methods) - 1) / 2)
        look = {"label": plain(name), **_look(compared, method)}
        _curve(axes, shifted, values, look) if step else _band(axes, shifted, values, look)
    axes.set_xticks(labels, [f"{label:.0f}" for label in labels])
    axes.set_title(plain(scene_text(scene)), fontsize=9)
    axes.set_ylabel("test accuracy in %")
    axes.grid(alpha=0.3)


def _curve(axes: Axes, labels: Floats, values: Floats, look: dict[str, Any]) -> None:
    (low, high), mean = t_interval(values), values.mean(axis=1)
    axes.errorbar(labels, mean, [mean - low, high - mean], elinewidth=0.6, capsize=1.5, **look)


def _band(axes: Axes, labels: Floats, values: Floats, look: dict[str, Any]) -> None:
    axes.fill_between(labels, *t_interval(values), color=look["color"], alpha=0.12, linewidth=0)
    axes.plot(labels, values.mean(axis=1), **look)


def _look(compared: Compared, place: int) -> dict[str, Any]:
    """The reference is black and thick; no two of up to 48 others share line and marker."""
    number, is_reference = len(compared.methods), place == compared.reference
    colour = "black" if is_reference else colormaps["viridis"](0.6 * place / max(1, number - 1))
    marker, line = MARKERS[place % len(MARKERS)], LINES[(place + place // len(MARKERS)) % len(LINES)]
    return {
        "color": colour,
        "linestyle": line,
        "marker": marker,
        "markersize": 4,
        "linewidth": 2.0 if is_reference else 1.1,
    }


def _write_entries(axes: Axes, rows: Floats, found: Penalties) -> None:
    for (i, j), value in np.ndenumerate(rows):
        if i != j and value > 0:
            colour = "white" if value > 0.6 * found.num_data_sets else "black"
            axes.text(j, i, _short(value), ha="center", va="center", color=colour, fontsize=6)


def _short(value: float) -> str:
    """In three characters at most, so that two dozen columns stand beside each other.

    >>> _short(0.478), _short(1.0), _short(2.67)
    ('.48', '1', '2.7')
    """
    text = f"{value:.2f}" if value < 1 else f"{value:.1f}"
    return text.removeprefix("0").removesuffix(".0")


def _legend_height(compared: Compared) -> float:
    return 0.2 * -(-len(compared.methods) // 3)


def _legend(figure: Figure, axes: Axes) -> None:
    handles, names = axes.get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=3, fontsize=8, frameon=False)


def _name_rows(axes: Axes, names: list[str]) -> None:
    axes.set_yticks(range(len(names)), [plain(name) for name in names], fontsize=8)
    axes.set_ylim(len(names) - 0.4, -0.6)
