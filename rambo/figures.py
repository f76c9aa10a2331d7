"""The pictures of a run folder, drawn from what is written there."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from rambo.arrays import Floats, Indices, Labels
from rambo.data.dataset import Dataset
from rambo.drawing import Axes, Drawn, Figure, NullFormatter, colormaps, drawing, plain, quick_picture, sheet
from rambo.home import Home
from rambo.result import read_held_out, read_picks
from rambo.utility.pretraining import HeldOut

Row = Mapping[str, object]
Draw = Callable[[], Drawn]

SHEET_COLUMNS, SHEET_ROWS = 20, 15
"""Largest contact sheet; the first picks are shown where there are more."""

NAME, FILE = 9, 15
"""Characters that an image has room for: the first of its class, the last of its file."""

STYLES = ("-", "--", ":", "-.")
"""Of the layers of one part of û, which share a colour."""


def draw_missing(home: Home, folder: str, dataset: Dataset, again: str) -> None:
    """Draw every picture that a finished run folder lacks; `again` is the command that does so anew where one fails."""
    with drawing("A picture of what is written", again):
        there = home.list(f"{folder}/figures")
        for name, draw in _pictures(home, folder, dataset).items():
            if not {f"{name}.png", f"{name}.pdf"} <= set(there):
                with drawing(f"figures/{name}.png", again):
                    for file, content in draw().files(name).items():
                        home.write(f"{folder}/figures/{file}", content)


def _pictures(home: Home, folder: str, dataset: Dataset) -> dict[str, Draw]:
    """What draws each picture that belongs into a folder."""
    picks, held_out = read_picks(home, folder), read_held_out(home, folder)
    pictures: dict[str, Draw] = {}
    if picks is not None and dataset.has_pictures:
        pictures["selected"] = partial(contact_sheet, dataset, *picks)
    if held_out is not None:
        rows = [json.loads(line) for line in (home.read(f"{folder}/metrics.jsonl") or b"").splitlines()]
        pictures |= utility_figures(held_out, rows)
    return pictures


@quick_picture
def contact_sheet(dataset: Dataset, indices: Indices, labels: Labels) -> Figure:
    """The picked images in order, row by row, each with the label that was bought, and its file where it has one."""
    shown = indices[: SHEET_COLUMNS * SHEET_ROWS]
    columns = min(SHEET_COLUMNS, len(shown))
    rows = -(-len(shown) // columns)
    figure = sheet(0.55 * columns + 0.2, (0.8 if dataset.files else 0.7) * rows + 0.5, layout=None)
    axes = figure.add_axes((0, 0, 1, 1 - 0.45 / figure.get_figheight()))
    axes.axis("off")
    axes.set_title(f"The first {len(shown)} of {len(indices)} picks", fontsize=9)
    _, channels, height, width = dataset.images.shape
    title = -(-height // (2 if dataset.files else 3))  # room for what stands above each image
    mosaic = np.full((rows * (height + title), columns * (width + 1), channels), 255, dtype=np.uint8)
    for place, (index, label) in enumerate(zip(shown, labels, strict=False)):
        top, left = (place // columns) * (height + title) + title, (place % columns) * (width + 1)
        mosaic[top : top + height, left : left + width] = np.moveaxis(dataset.images[index], 0, -1)
        middle, above = left + width / 2, top - 1
        if dataset.files:
            file = plain(dataset.files[index])
            axes.text(middle, above, file[-FILE:], fontsize=3.8, ha="center", va="bottom")
            above -= title * 0.4
        axes.text(middle, above, plain(dataset.class_names[label])[:NAME], fontsize=6, ha="center", va="bottom")
    axes.imshow(mosaic.squeeze(), cmap="gray", aspect="auto", interpolation="none")
    return figure


def utility_figures(held_out: HeldOut, rows: Sequence[Row]) -> dict[str, Draw]:
    """What draws score against utility, predicted against true OT (where there is one), losses and λ over steps."""
    pictures: dict[str, Draw] = {
        "score_against_utility": partial(_score_against_utility, held_out),
        "fits": partial(_fits, rows),
    }
    if held_out.predicted_ot is not None and held_out.ot is not None:
        pictures["ot_distance"] = partial(_ot_distance, held_out.predicted_ot, held_out.ot)
    return pictures


@quick_picture
def _score_against_utility(held_out: HeldOut) -> Figure:
    """A point a held-out set; the line is of least squares through all of them, if û tells any two apart."""
    figure = sheet(5, 4.2)
    axes = figure.add_subplot()
    scores, utility = held_out.scores, 100 * held_out.utility
    ordered = np.sign(scores[:, 0] - scores[:, 1]) == np.sign(utility[:, 0] - utility[:, 1])
    for right, colour, name in ((True, "tab:blue", "ordered as measured"), (False, "tab:orange", "ordered otherwise")):
        pairs = np.flatnonzero(ordered == right)
        axes.plot(scores[pairs].ravel(), utility[pairs].ravel(), ".", color=colour, label=name)
    if np.ptp(scores) > 0:
        slope, start = np.polyfit(scores.ravel(), utility.ravel(), 1)
        ends = np.array([scores.min(), scores.max()])
        axes.plot(ends, start + slope * ends, color="black", linewidth=1, label=f"fitted: {slope:+.2g} points a unit")
    axes.set_xlabel("score û(ξ)")
    axes.set_ylabel("measured utility u(ξ) in %")
    percents = f"{100 * held_out.pair_accuracy:.0f} % ordered as measured (at most {100 * held_out.pair_ceiling:.0f} %)"
    axes.set_title(f"Held-out pairs: {percents}", fontsize=9)
    axes.legend(fontsize=8)
    return figure


@quick_picture
def _ot_distance(predicted: Floats, true: Floats) -> Figure:
    figure = sheet(4.6, 4.2)
    axes = figure.add_subplot()
    axes.plot(true.ravel(), predicted.ravel(), ".", alpha=0.6)
    low, high = min(true.min(), predicted.min()), max(true.max(), predicted.max())
    axes.plot([low, high], [low, high], color="grey", linewidth=0.8)
    axes.set_xlabel("OT(ξ, S_val) in the unit of û's targets")
    axes.set_ylabel("predicted")
    axes.set_title("OT distance of held-out sets", fontsize=9)
    return figure


@quick_picture
def _fits(rows: Sequence[Row]) -> Figure:
    """One column a fit: the inner loss and E above, λ of each weight tensor below where there is one."""
    stages = list(dict.fromkeys(str(row["stage"]) for row in rows))
    names = sorted({name for row in rows for name in row if name.startswith("lambda/")})
    width, height = 3.1 * len(stages) + (2.2 if names else 0.3), 5.4 if names else 2.95
    figure = sheet(width, height, layout=None)  # a layout engine would take as long again as all the drawing
    right = 1 - (2.0 if names else 0.1) / width
    margins = {"left": 0.75 / width, "right": right, "bottom": 0.5 / height, "top": 1 - 0.3 / height}
    shape = (2 if names else 1, len(stages))
    panels = figure.subplots(*shape, squeeze=False, gridspec_kw={**margins, "wspace": 0.28, "hspace": 0.2})
    for axes, stage in zip(panels[0], stages, strict=True):
        mine = [row for row in rows if row["stage"] == stage]
        axes.set_title(stage, fontsize=9)
        for name, label in (("inner_loss", "L, inner"), ("outer_loss", "E, outer")):
            _curve(axes, _points(mine, name), label=label)
        axes.legend(fontsize=8)
    panels[0, 0].set_ylabel("loss")
    if names:
        _penalties(panels[1], stages, rows, names)
    else:
        for axes in panels[0]:
            axes.set_xlabel("step")
    return figure


def _penalties(panels: Iterable[Axes], stages: Sequence[str], rows: Sequence[Row], names: Sequence[str]) -> None:
    """λ of each weight tensor, a panel a fit; empty where a fit has none."""
    looks, drawn = _looks(names), []
    for axes, stage in zip(panels, stages, strict=True):
        mine = [row for row in rows if row["stage"] == stage]
        found = {name: points for name in names if (points := _points(mine, name))}
        for name, points in found.items():
            _curve(axes, [(step, np.exp(value)) for step, value in points], label=_weight(name), **looks[name])
        _penalty_axis(axes) if found else axes.axis("off")
        drawn += [axes] if found else []
    if drawn:
        drawn[0].set_ylabel("λ, logarithmic axis")
        drawn[-1].legend(fontsize=8, loc="center left", bbox_to_anchor=(1.03, 0.5), title="weights of û")


def _penalty_axis(axes: Axes) -> None:
    axes.set(xlabel="step", yscale="log")
    axes.yaxis.set_major_formatter("{x:.0e}")  # by default in markup
    axes.yaxis.set_minor_formatter(NullFormatter())


def _looks(names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """A colour for each part of û, a style of line for each of its layers."""
    parts = list(dict.fromkeys(_weight(name).rpartition(".")[0] for name in names))
    looks: dict[str, dict[str, Any]] = {}
    for name in names:
        part = _weight(name).rpartition(".")[0]
        before = sum(_weight(other).rpartition(".")[0] == part for other in looks)
        looks[name] = {"color": colormaps["tab10"](parts.index(part) % 10), "linestyle": STYLES[before % len(STYLES)]}
    return looks


def _weight(name: str) -> str:
    """`extractor.conv1` of `lambda/model.extractor.conv1.weight`."""
    return name.removeprefix("lambda/").removeprefix("model.").removeprefix("heads.").removesuffix(".weight")


def _points(rows: Sequence[Row], name: str) -> list[tuple[float, float]]:
    return [(float(str(row["step"])), float(str(row[name]))) for row in rows if name in row]


def _curve(axes: Axes, points: Sequence[tuple[float, float]], **look: Any) -> None:
    if points:
        axes.plot(*zip(*points, strict=True), linewidth=1, **look)
