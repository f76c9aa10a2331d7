"""Tables that fit, words that stay whole, colour where it is wanted."""

import pty

import pytest

from rambo import console
from rambo.console import Table, show, width, wrapped

TABLE = Table(
    ("name", "n", "a long number", "verdict"),
    [("bilevel=on OT=off RankNet=on", "10", "93.53 ± 0.18", "shown gain"), ("OT", "2", "1", "remains open")],
    leaving=("a long number", "n"),
    styles={"shown gain": "green"},
)


def test_what_there_is_no_room_for_is_left_out_in_the_stated_order():
    assert TABLE.within(80).header == ["name", "n", "a long number", "verdict"]
    assert TABLE.within(50).header == ["name", "n", "verdict"]
    assert TABLE.within(40).header == ["name", "verdict"]


@pytest.mark.parametrize("columns", [40, 45, 50, 60, 80, 200])
def test_no_line_is_longer_than_the_terminal_and_no_word_is_broken(columns):
    lines = TABLE.text(columns).splitlines()
    assert max(map(len, lines)) <= columns
    words = {word for line in lines for word in line.split()}
    assert {"bilevel=on", "RankNet=on", "shown", "gain"} <= words


def test_by_eye():
    assert Table(("cell", "test %"), [("OT=on", "93.5"), ("û", "9.1")], "Cells").text().splitlines() == [
        "Cells",
        "cell   test %",
        "─────────────",
        "OT=on    93.5",
        "û         9.1",
    ]


def test_sentences_are_broken_between_words_alone():
    text = wrapped("  an indented and/or long-winded line of /some/path/that/is/longer/than/all\nand a second", 20)
    assert text.splitlines() == [
        "  an indented and/or",
        "  long-winded line",
        "  of",
        "  /some/path/that/is/longer/than/all",
        "and a second",
    ]


@pytest.mark.parametrize(("told", "expected"), [(None, 80), ("132", 132), ("7", 40), ("x", 80), ("0", 80)])
def test_a_pipe_is_as_wide_as_columns_says(monkeypatch, told, expected):
    monkeypatch.delenv("COLUMNS", raising=False)
    if told is not None:
        monkeypatch.setenv("COLUMNS", told)
    assert width() == expected


def test_a_pipe_has_no_colour(capsys):
    show(TABLE, "said")
    assert "\x1b" not in capsys.readouterr().out


@pytest.mark.parametrize("plain", [False, True])
def test_a_terminal_has_colour_unless_it_is_not_wanted(monkeypatch, plain):
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.setenv("NO_COLOR", "1") if plain else monkeypatch.delenv("NO_COLOR", raising=False)
    ours, theirs = pty.openpty()
    with open(theirs, "w") as terminal, open(ours, "rb", buffering=0) as reader:
        monkeypatch.setattr(console.sys, "stdout", terminal)
        show(TABLE)
        terminal.flush()
        said = reader.read(65536).decode()
    assert ("\x1b[32mshown gain" in said) is not plain
    assert ("\x1b" in said) is not plain
