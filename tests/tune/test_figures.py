"""The pictures of a search: there is ink, each coordinate has its panel, and what is told apart looks different."""

import io
from dataclasses import replace

import numpy as np
import pytest
from made_searches import attempts, plan
from PIL import Image

from rambo import drawing
from rambo.drawing import DPI, Drawn
from tune import figures
from tune.importances import Importance


def pixels(content: Drawn) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content.png)).convert("RGB")).astype(int)


def num_like(picture: np.ndarray, red: int, green: int, blue: int) -> int:
    """Pixels of about that colour."""
    return int((np.abs(picture - (red, green, blue)).max(axis=-1) < 30).sum())


BLUE, ORANGE, RED = (31, 119, 180), (255, 127, 14), (214, 39, 40)


def test_the_history_shows_failures_in_red_where_there_are_any():
    everything = attempts()
    picture = pixels(figures.history(everything))
    assert num_like(picture, *BLUE) > 100
    assert num_like(picture, *ORANGE) > 100
    assert num_like(picture, *RED) > 20
    assert num_like(pixels(figures.history([one for one in everything if one.state != "FAIL"])), *RED) == 0


def test_a_stopped_trial_is_told_from_a_complete_one():
    complete = [replace(one, state="COMPLETE") for one in attempts() if one.is_finished]
    stopped = [*complete[:1], *(replace(one, state="PRUNED") for one in complete[1:])]
    mostly, hardly = (num_like(pixels(figures.history(some)), *BLUE) for some in (complete, stopped))
    assert mostly > 4 * hardly > 0


def test_every_coordinate_has_a_panel_though_some_trials_lack_it(tiny):
    finished = [one for one in attempts() if one.is_finished]
    points = [plan(tiny).coordinates(one) for one in finished]
    assert len({len(point) for point in points}) == 2, "without OT there is no λ"
    picture = pixels(figures.slices(points, finished))
    assert picture.shape[1] == 4 * 3.2 * DPI
    assert all(num_like(panel, *BLUE) > 20 for panel in np.array_split(picture, 4, axis=1))


def test_a_logarithmic_axis_and_names_are_in_plain_text(monkeypatch):
    seen, save = [], drawing.png
    monkeypatch.setattr(drawing, "png", lambda figure: seen.append(figure) or save(figure))
    finished = [one for one in attempts() if one.is_finished]
    rates = [{"rate": 10.0 ** -(1 + one % 4), "kind": ("$a$", "caf\udce9")[one % 2]} for one in range(len(finished))]
    figures.slices(rates, finished)
    labels = [[text.get_text() for text in axes.get_xticklabels()] for axes in seen[0].axes]
    assert {"0.0001", "0.1"} <= set(labels[0])
    assert labels[1] == ["$a$", "caf\\udce9"]


def share(coordinate, value, null_mean=0.3, null_high=0.5):
    return Importance(coordinate, value, null_mean, null_high, 0.2)


@pytest.mark.parametrize(
    "shares", [[share("b", 1.0)], [share("b", 0.6), share("OT on", 0.3), share("λ_OT·λ3", 0.1)]], ids=len
)
def test_importances_have_a_bar_for_each_coordinate_and_their_null_in_orange(shares):
    picture = pixels(figures.importances(shares))
    assert picture.shape[0] == round(DPI * (1.2 + 0.45 * len(shares)))
    assert num_like(picture, *BLUE) > 1000
    assert num_like(picture, *ORANGE) > 50


def test_the_most_important_coordinate_is_on_top():
    picture = pixels(figures.importances([share("b", 0.9), share("OT on", 0.1)]))
    upper, lower = np.array_split(picture, 2)
    assert num_like(upper, *BLUE) > 4 * num_like(lower, *BLUE) > 0


def test_the_front_is_a_line_where_there_is_one():
    finished = [one for one in attempts() if one.is_finished]
    budgets = [40 + 20 * (one.number % 3) for one in finished]
    drawn = pixels(figures.front(budgets, finished, [(40, 0.82), (80, 0.9)]))
    assert num_like(drawn, *ORANGE) > 100
    assert num_like(pixels(figures.front(budgets, finished, [])), *ORANGE) == 0
