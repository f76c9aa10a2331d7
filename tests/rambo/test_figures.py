import io
from dataclasses import replace

import numpy as np
import pytest
from made import made_held_out
from matplotlib.figure import Figure
from PIL import Image
from scipy.stats import linregress

from rambo import drawing, figures
from rambo.figures import contact_sheet, utility_figures

ROWS = [
    {"stage": "offline", "step": 1, "inner_loss": 0.7},
    {"stage": "offline", "step": 2, "inner_loss": 0.6},
    {"stage": "pretraining 1", "step": 1, "inner_loss": 0.6},
    {"stage": "pretraining 1", "step": 1, "outer_loss": 0.8, "lambda/model.trunk.0.weight": -6.9},
]


def opened(content):
    assert content.pdf.startswith(b"%PDF")
    image = Image.open(io.BytesIO(content.png))
    assert image.format == "PNG"
    return np.asarray(image.convert("L"))


@pytest.fixture
def drawn(monkeypatch):
    """The figures that become pictures, in order."""
    seen: list[Figure] = []
    save = drawing.png
    monkeypatch.setattr(drawing, "png", lambda figure: seen.append(figure) or save(figure))
    return seen


def sheet(prepared, number):
    picks = prepared.pool.unlabelled[:number]
    return contact_sheet(prepared.dataset, picks, prepared.split.labels[picks])


def test_the_contact_sheet_shows_each_pick_in_its_place_with_its_label(prepared, drawn):
    picture = opened(sheet(prepared, 23))
    assert picture.min() < 50 < 250 < picture.max()
    [axes] = drawn[0].axes
    picks = prepared.pool.unlabelled[:23]
    assert [text.get_text() for text in axes.texts] == [str(label) for label in prepared.split.labels[picks]]
    assert axes.get_title() == "The first 23 of 23 picks"
    mosaic = axes.images[0].get_array()
    for place, index in enumerate(picks):
        top, left = (place // 20) * (8 + 3) + 3, (place % 20) * 9
        assert np.array_equal(mosaic[top : top + 8, left : left + 8], prepared.pool.images[index, 0])


def test_a_sheet_that_would_be_too_large_shows_the_first_picks(prepared, drawn, monkeypatch):
    monkeypatch.setattr(figures, "SHEET_ROWS", 2)
    sheet(prepared, 50)
    [axes] = drawn[0].axes
    assert axes.get_title() == "The first 40 of 50 picks"
    assert len(axes.texts) == 40


def test_colour_images_keep_their_colours(prepared, drawn):
    pool, images = prepared.pool, prepared.dataset.images
    coloured = replace(prepared.dataset, images=np.concatenate([images, 0 * images, images], axis=1))
    contact_sheet(coloured, pool.labelled[:3], pool.labels[pool.labelled[:3]])
    mosaic = drawn[0].axes[0].images[0].get_array()
    assert mosaic.shape[2] == 3
    assert np.array_equal(mosaic[3:11, :8, 0], pool.images[pool.labelled[0], 0])
    assert not mosaic[3:11, :8, 1].any()


def test_any_class_is_named_as_it_is_and_each_image_by_its_file(prepared, drawn):
    """A pair of $ is no formula, and what has no letter is written as Python does."""
    names = ("$1_$5", "caf\udce9", "猫", *prepared.dataset.class_names[3:])
    files = tuple(f"{label}/IMG_{index}.png" for index, label in enumerate(prepared.dataset.labels))
    picks = [int(np.flatnonzero(prepared.dataset.labels == label)[0]) for label in range(3)]
    opened(contact_sheet(replace(prepared.dataset, class_names=names, files=files), np.array(picks), np.arange(3)))
    texts = [text.get_text() for text in drawn[0].axes[0].texts]
    assert texts[0::2] == [files[index] for index in picks]
    assert texts[1::2] == ["$1_$5", "caf\\udce9", "\\u732b"]
    assert not any(text.get_parse_math() for text in drawn[0].axes[0].texts)


def test_distances_have_a_picture_where_there_are_any():
    for ot in (True, False):
        pictures = utility_figures(made_held_out(ot=ot), ROWS)
        assert set(pictures) == {"score_against_utility", "fits"} | ({"ot_distance"} if ot else set())
        assert all(opened(draw()).std() > 0 for draw in pictures.values())


def test_held_out_sets_are_points_coloured_by_the_order_of_their_pair_with_a_line_through_all(drawn):
    held_out = made_held_out()
    utility_figures(held_out, ROWS)["score_against_utility"]()
    axes = drawn[0].axes[0]
    first, second, line = axes.lines
    assert [(one.get_label(), len(one.get_xdata())) for one in (first, second)] == [
        ("ordered as measured", 4),
        ("ordered otherwise", 2),
    ]
    assert sorted([*first.get_ydata(), *second.get_ydata()]) == pytest.approx(sorted(100 * held_out.utility.ravel()))
    slope = linregress(held_out.scores.ravel(), 100 * held_out.utility.ravel()).slope
    assert np.diff(line.get_ydata()) / np.diff(line.get_xdata()) == pytest.approx(slope)
    assert line.get_label() == f"fitted: {slope:+.2g} points a unit"
    assert axes.get_ylabel() == "measured utility u(ξ) in %"
    assert axes.get_title() == "Held-out pairs: 67 % ordered as measured (at most 90 %)"


def test_scores_that_are_all_the_same_have_no_line(drawn):
    held_out = made_held_out()
    utility_figures(replace(held_out, scores=0 * held_out.scores), ROWS)["score_against_utility"]()
    assert len(drawn[0].axes[0].lines) == 2


def test_each_fit_has_its_losses_and_penalties_where_it_has_any(drawn):
    utility_figures(made_held_out(ot=False), ROWS)["fits"]()
    [first, second, _, below] = drawn[0].axes
    assert [axes.get_title() for axes in (first, second)] == ["offline", "pretraining 1"]
    assert [line.get_label() for line in first.lines] == ["L, inner"]
    assert [line.get_label() for line in second.lines] == ["L, inner", "E, outer"]
    assert list(first.lines[0].get_ydata()) == [0.7, 0.6]
    assert [line.get_label() for line in below.lines] == ["trunk.0"]
    assert below.get_ylabel() == "λ, logarithmic axis"
    assert below.get_yscale() == "log"
    assert list(below.lines[0].get_ydata()) == pytest.approx([0.001008], rel=1e-3), "λ, of whose logarithm the rows are"
    assert {text.get_fontsize() for text in below.get_legend().get_texts()} == {8}


def test_fits_without_penalties_have_no_empty_row(drawn):
    utility_figures(made_held_out(), [{"stage": "offline", "step": 1, "inner_loss": 1.0}])["fits"]()
    [only] = drawn[0].axes
    assert (only.get_title(), only.get_xlabel(), only.get_ylabel()) == ("offline", "step", "loss")


def test_every_weight_has_a_look_of_its_own(drawn):
    """A colour for each part of û, a style for each layer: the legend tells twelve lines apart."""
    names = [f"extractor.{name}" for name in ("conv1", "conv2", "fc1", "fc2")]
    names += [f"{part}.{layer}" for part in ("trunk", "heads.rank", "heads.ot", "heads.regression") for layer in (0, 2)]
    row = {"stage": "pretraining 1", "step": 1, "inner_loss": 1.0, "outer_loss": 1.0}
    utility_figures(made_held_out(), [{**row, **{f"lambda/model.{name}.weight": -7.0 for name in names}}])["fits"]()
    lines = drawn[0].axes[1].lines
    assert len({(line.get_color(), line.get_linestyle()) for line in lines}) == len(lines) == 12
