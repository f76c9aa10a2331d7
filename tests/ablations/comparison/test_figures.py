"""Pictures of a comparison: legible in grey, whole, the same bytes."""

import io

import numpy as np
import pytest
from PIL import Image

from ablations.comparison.figures import _look, curves_figure, penalties_figure, profiles_figure, ranks_figure

ALL = "strategy=rambo,random,margin,filtered_random,entropy,least_confidence,coreset,badge"


@pytest.fixture(scope="module")
def many(make_compared):
    return make_compared(factors=(ALL, "acquisition.budget=100,200"), seeds=range(2))


def test_no_two_lines_share_both_style_and_marker(make_compared):
    names = "scout_margin,ensemble_margin,glister,typiclust,uncertainty_herding,portfolio,portfolio_random,dulo,llal"
    found = make_compared(factors=(f"{ALL},{names}",), seeds=range(2))
    looks = [_look(found, place) for place in range(17)]
    assert len({(look["linestyle"], look["marker"]) for look in looks}) == 17


@pytest.mark.parametrize("draw", [curves_figure, ranks_figure, penalties_figure, profiles_figure])
def test_nothing_touches_the_edge(many, draw):
    drawn = draw(many)
    pixels = np.array(Image.open(io.BytesIO(drawn.png)).convert("L"))
    edges = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    assert (edges == 255).all()
    assert drawn.pdf.startswith(b"%PDF")


def test_the_same_numbers_give_the_same_bytes(many):
    assert ranks_figure(many) == ranks_figure(many)


def test_few_lines_have_bands(compared):
    assert curves_figure(compared).png != b""
