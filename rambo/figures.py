"""The pictures of a run folder, each as the bytes of a PNG."""

import io
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from rambo.arrays import Floats
from rambo.data.pool import Pool
from rambo.strategies.request import Selection
from rambo.utility.pretraining import HeldOut

Row = Mapping[str, object]

SHEET_COLUMNS, SHEET_ROWS = 20, 15
"""Largest contact sheet; the first picks are shown where there are more."""


def contact_sheet(pool: Pool, selection: Selection, class_names: Sequence[str]) -> bytes:
    """The picked images in order, row by row, each with the label that was bought."""
    shown = selection.indices[: SHEET_COLUMNS * SHEET_ROWS]
    columns = min(SHEET_COLUMNS, len(shown))
    rows = -(-len(shown) // columns)
    figure = Figure(figsize=(0.55 * columns + 0.2, 0.7 * rows + 0.5))
    axes = figure.add_axes((0, 0, 1, 1 - 0.45 / figure.get_figheight()))
    axes.axis("off")
    axes.set_title(f"The first {len(shown)} of {len(selection.indices)} picks", fontsize=9)
    _, channels, height, width = pool.images.shape
    title = -(-height // 3)  # room for a label above each image
    mosaic = np.full((rows * (height + title), columns * (width + 1), channels), 255, dtype=np.uint8)
    for place, index in enumerate(shown):
        top, left = (place // columns) * (height + title) + title, (place % columns) * (width + 1)
        mosaic[top : top + height, left : left + width] = np.moveaxis(pool.images[index], 0, -1)
        axes.text(left + width / 2, top - 1, class_names[pool.labels[index]][:9], fontsize=6, ha="center", va="bottom")
    axes.imshow(mosaic.squeeze(), cmap="gray", aspect="auto", interpolation="nearest")
    return png(figure)


def utility_figures(held_out: HeldOut, rows: Sequence[Row]) -> dict[str, bytes]:
    """Score against utility, predicted against true OT (where there is one), losses and λ over steps."""
    pictures = {"score_against_utility": _score_against_utility(held_out), "fits": _fits(rows)}
    if held_out.predicted_ot is not None and held_out.ot is not None:
        pictures["ot_distance"] = _ot_distance(held_out.predicted_ot, held_out.ot)
    return pictures


def _score_against_utility(held_out: HeldOut) -> bytes:
    figure = Figure(figsize=(5, 4.2), layout="constrained")
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
    return png(figure)


def _ot_distance(predicted: Floats, true: Floats) -> bytes:
    figure = Figure(figsize=(4.6, 4.2), layout="constrained")
    axes = figure.add_subplot()
    axes.plot(true.ravel(), predicted.ravel(), ".", alpha=0.6)
    low, high = min(true.min(), predicted.min()), max(true.max(), predicted.max())
    axes.plot([low, high], [low, high], color="grey", linewidth=0.8)
    axes.set_xlabel("OT(ξ, S_val) in the unit of û's targets")
    axes.set_ylabel("predicted")
    axes.set_title("OT distance of held-out sets", fontsize=9)
    return png(figure)


def _fits(rows: Sequence[Row]) -> bytes:
    """One column a fit: the inner loss and E above, λ of each weight tensor below where there is one."""
    stages = list(dict.fromkeys(str(row["stage"]) for row in rows))
    width, height = 3.1 * len(stages) + 1.6, 5.0
    figure = Figure(figsize=(width, height))  # a layout engine would take as long again as all the drawing
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
    return png(figure)


def _curve(axes: Axes, rows: Sequence[Row], name: str, label: str) -> None:
    points = [(row["step"], row[name]) for row in rows if name in row]
    if points:
        axes.plot(*zip(*points, strict=True), label=label, linewidth=1)


def png(figure: Figure) -> bytes:
    """The picture as a file."""
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_png(buffer)
    return buffer.getvalue()
