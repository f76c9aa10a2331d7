"""The pictures of a run folder, each as the bytes of a PNG."""

import io
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from rambo.acquisition import Selection
from rambo.pool import Pool
from rambo.pretraining import HeldOut

Row = Mapping[str, object]

SHEET_COLUMNS, SHEET_ROWS = 20, 15
"""Largest contact sheet; the first picks are shown where there are more."""


def contact_sheet(pool: Pool, selection: Selection, class_names: Sequence[str]) -> bytes:
    """The picked images in order, each with the label that was bought."""
    shown = selection.indices[: SHEET_COLUMNS * SHEET_ROWS]
    columns = min(SHEET_COLUMNS, len(shown))
    rows = -(-len(shown) // columns)
    figure = Figure(figsize=(0.55 * columns + 0.4, 0.7 * rows + 0.6))
    figure.suptitle(f"The first {len(shown)} of {len(selection.indices)} picks", fontsize=9)
    for place, index in enumerate(shown):
        axes = figure.add_subplot(rows, columns, place + 1)
        axes.imshow(np.moveaxis(pool.images[index], 0, -1).squeeze(), cmap="gray")
        axes.set_title(class_names[pool.labels[index]][:9], fontsize=6, pad=1)
        axes.axis("off")
    figure.subplots_adjust(left=0.01, right=0.99, bottom=0.01, top=1 - 0.55 / figure.get_figheight(), hspace=0.35)
    return _png(figure)


def utility_figures(held_out: HeldOut, rows: Sequence[Row]) -> dict[str, bytes]:
    """Score against utility, predicted against true OT (where there is one), losses and λ over steps."""
    pictures = {"score_against_utility": _score_against_utility(held_out), "fits": _fits(rows)}
    if held_out.predicted_ot is not None and held_out.ot is not None:
        pictures["ot_distance"] = _ot_distance(held_out.predicted_ot, held_out.ot)
    return pictures


def _score_against_utility(held_out: HeldOut) -> bytes:
    figure = Figure(figsize=(5, 4.2))
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
        f"Held-out pairs: {held_out.pair_accuracy:.0%} ordered as measured (ceiling {held_out.pair_ceiling:.0%})",
        fontsize=9,
    )
    axes.legend(fontsize=8)
    return _png(figure)


def _ot_distance(predicted: NDArray[np.float64], true: NDArray[np.float64]) -> bytes:
    figure = Figure(figsize=(4.6, 4.2))
    axes = figure.add_subplot()
    axes.plot(true.ravel(), predicted.ravel(), ".", alpha=0.6)
    low, high = min(true.min(), predicted.min()), max(true.max(), predicted.max())
    axes.plot([low, high], [low, high], color="grey", linewidth=0.8)
    axes.set_xlabel("OT(ξ, S_val), mean of the offline sets = 1")
    axes.set_ylabel("predicted")
    axes.set_title("OT distance of held-out sets", fontsize=9)
    return _png(figure)


def _fits(rows: Sequence[Row]) -> bytes:
    """One column a fit: the inner loss and E above, λ below."""
    stages = list(dict.fromkeys(str(row["stage"]) for row in rows))
    figure = Figure(figsize=(3.2 * max(len(stages), 1), 5))
    for column, stage in enumerate(stages):
        mine = [row for row in rows if row["stage"] == stage]
        losses = figure.add_subplot(2, len(stages), column + 1)
        losses.set_title(stage, fontsize=9)
        for name in ("inner_loss", "outer_loss"):
            _curve(losses, mine, name)
        losses.legend(fontsize=7)
        hyper = figure.add_subplot(2, len(stages), len(stages) + column + 1)
        for name in sorted({name for row in mine for name in row if name.startswith("lambda/")}):
            _curve(hyper, mine, name)
        hyper.set_xlabel("step")
        hyper.set_ylabel("λ" if hyper.lines else "one level: no λ")
    return _png(figure)


def _curve(axes: Axes, rows: Sequence[Row], name: str) -> None:
    points = [(row["step"], row[name]) for row in rows if name in row]
    if points:
        axes.plot(*zip(*points, strict=True), label=name.replace("_", " "), linewidth=1)


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_png(buffer)
    return buffer.getvalue()
