"""Pictures by our own settings, names as they are, and what fails is a line."""

import io
import logging
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from PIL import Image

from rambo.drawing import DPI, MOST_INCHES, drawn_of, picture, plain, quick_picture, sheet

DRAW = """
import sys
import rambo.drawing
from test_drawing import titled
drawn = titled("$1_$5")
sys.stdout.buffer.write(drawn.png + drawn.pdf)
"""


@picture
def titled(title, *, width=2.0):
    figure = sheet(width, 2)
    figure.add_subplot().set_title(title)
    return figure


def test_settings_of_the_user_change_no_picture_and_stop_none(tmp_path):
    (tmp_path / "matplotlibrc").write_bytes(b"figure.dpi: 300\nfont.family: caf\xe9\n")
    (tmp_path / "own").write_text("text.usetex: True\naxes.unicode_minus: maybe\n")
    paths = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    hostile = {"PYTHONPATH": paths, "MPLBACKEND": "no backend", "MATPLOTLIBRC": str(tmp_path / "own")}
    command = [sys.executable, "-c", DRAW]
    answer = subprocess.run(command, cwd=tmp_path, env={**os.environ, **hostile}, capture_output=True, check=True)
    drawn = titled("$1_$5")
    assert answer.stdout == drawn.png + drawn.pdf, "the same bytes in another process, on another day"
    assert answer.stderr == b""


def test_settings_made_later_change_nothing_and_are_left_as_they_were():
    expected = titled("x")
    with matplotlib.rc_context({"figure.dpi": 40, "text.usetex": True}):
        assert titled("x") == expected
        assert matplotlib.rcParams["figure.dpi"] == 40


NAMES = ["$1_$5", "$", "$$", r"\alpha$x^$", "caf\udce9", "\ud800", "a\nb", "猫", "🐈", "\0", ""]


@pytest.mark.parametrize("name", NAMES)
def test_any_name_is_drawn_as_plain_text(name):
    drawn = titled(plain(name))
    assert Image.open(io.BytesIO(drawn.png)).size == (2 * DPI, 2 * DPI)
    assert drawn.pdf.startswith(b"%PDF")


def test_a_pair_of_dollars_is_drawn_as_two_dollars():
    assert ink_of("$5$") > 1.5 * (ink_of("5") - ink_of("")) + ink_of("")


def ink_of(text):
    return int((np.asarray(Image.open(io.BytesIO(titled(text).png)).convert("L")) < 128).sum())


def test_a_figure_is_no_larger_than_can_be_drawn():
    assert Image.open(io.BytesIO(titled("x", width=3 * MOST_INCHES).png)).size[0] == DPI * MOST_INCHES


def test_a_pdf_says_not_when_it_was_made_and_holds_fonts_that_publishers_take():
    assert b"CreationDate" not in titled("x").pdf
    assert b"/Type3" not in titled("x").pdf
    assert b"CreationDate" not in quick_picture(titled.__wrapped__)("x").pdf


def test_one_that_fails_is_a_line_and_the_others_are_drawn(caplog):
    def broken():
        raise RuntimeError("no ink\nat all")

    with caplog.at_level(logging.WARNING):
        drawn = drawn_of({"a": broken, "b": partial(titled, "x")}, "this command")
    assert list(drawn) == ["b.png", "b.pdf"]
    assert [record.getMessage() for record in caplog.records] == [
        "a.png could not be drawn (RuntimeError: no ink); nothing else is missing: this command draws it again."
    ]
