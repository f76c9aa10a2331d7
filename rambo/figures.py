"""The pictures of a run folder, each as the bytes of a PNG, drawn from what is written there."""

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np

from rambo.arrays import Floats, Indices, Labels
from rambo.data.dataset import Dataset
from rambo.drawing import Axes, Figure, drawing, picture, plain, sheet
from rambo.home import Home
from rambo.result import read_held_out, read_picks
from rambo.utility.pretraining import HeldOut

Row = Mapping[str, object]
Draw = Callable[[], bytes]

SHEET_COLUMNS, SHEET_ROWS = 20, 15
"""Largest contact sheet; the first picks are shown where there are more."""

NAME, FILE = 9, 15
"""Characters that an image has room for: the first of its class, the last of its file."""


def draw_missing(home: Home, folder: str, dataset: Dataset, again: str) -> None:
    """Draw every picture that a finished run folder lacks; `again` is the command that does so anew where one fails."""
    with drawing("A picture of what is written", again):
        there = home.list(f"{folder}/figures")
        for name, draw in _pictures(home, folder, dataset).items():
            if name not in there:
                with drawing(f"figures/{name}", again):
                    home.write(f"{folder}/figures/{name}", draw())


def _pictures(home: Home, folder: str, dataset: Dataset) -> dict[str, Draw]:
    """What draws each picture that belongs into a folder."""
    picks, held_out = read_picks(home, folder), read_held_out(home, folder)
    pictures: dict[str, Draw] = {}
    if picks is not None:
        pictures["selected.png"] = partial(contact_sheet, dataset, *picks)
    if held_out is not None:
        rows = [json.loads(line) for line in (home.read(f"{folder}/metrics.jsonl") or b"").splitlines()]
        pictures |= {f"{name}.png": draw for name, draw in utility_figures(held_out, rows).items()}
    return pictures


@picture
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
    axes.imshow(mosaic.squeeze(), cmap="gray", aspect="auto", interpolation="nearest")
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


@picture
def _score_against_utility(held_out: HeldOut) -> Figure:
    figure = sheet(5, 4.2)
    axes = figure.add_subplot()
    ordered = np.sign(held_out.scores[:, 0] - held_out.scores[:, 1]) == np.sign(
        held_out.utility[:, 0] - held_out.utility[:, 1]
    )
    for right, colour, name in ((True, "tab:blue", "ordered as measured"), (False, "tab:orange", "ordered otherwise")):
        pairs = np.flatnonzero(ordered == right)
        axes.plot(held_out.scores[pairs].T, held_out.utility[pairs].T, color=colour, alpha=0.25, linewidth=0.8)
        axes.plot(held_out.scores[pairs].ravel(), held_out.utility[pairs].ravel(), ".", color=colour, label=name)
    axes.set_xlabel("score û(ξ)")
    axes.set_ylabel("measured utility u(ξ)")
    axes.set_title(
        f"Held-out pairs: {held_out.pair_accuracy:.0%} ordered as measured (upper bound {held_out.pair_ceiling:.0%})",
        fontsize=9,
    )
    axes.legend(fontsize=8)
    return figure


@picture
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


@picture
def _fits(rows: Sequence[Row]) -> Figure:
    """One column a fit: the inner loss and E above, λ of each weight tensor below where there is one."""
    stages = list(dict.fromkeys(str(row["stage"]) for row in rows))
    width, height = 3.1 * len(stages) + 1.6, 5.0
    figure = sheet(width, height, layout=None)  # a layout engine would take as long again as all the drawing
    margins = {"left": 0.6 / width, "right": 1 - 1.8 / width, "bottom": 0.5 / height, "top": 1 - 0.3 / height}
    panels = figure.subplots(2, len(stages), squeeze=False, gridspec_kw={**margins, "wspace": 0.25, "hspace": 0.2})
    for column, stage in enumerate(stages):
        mine = [row for row in rows if row["stage"] == stage]
        losses, hyper = panels[:, column]
        losses.set_title(stage, fontsize=9)
        for name, label in (("inner_loss", "L, inner"), ("outer_loss", "E, outer")):
            _curve(losses, mine, name, label)
        losses.legend(fontsize=7)
        names = sorted({name for row in mine for name in row if name.startswith("lambda/")})
        for name in names:
            _curve(hyper, mine, name, name.removeprefix("lambda/").removeprefix("model."))
        hyper.set(xlabel="step", ylabel="λ") if names else hyper.axis("off")
    if panels[1, -1].lines:
        panels[1, -1].legend(
            fontsize=6, loc="center left", bbox_to_anchor=(1.02, 0.5), title="weights", title_fontsize=7
        )
    return figure


def _curve(axes: Axes, rows: Sequence[Row], name: str, label: str) -> None:
    points = [(row["step"], row[name]) for row in rows if name in row]
    if points:
        axes.plot(*zip(*points, strict=True), label=label, linewidth=1)
