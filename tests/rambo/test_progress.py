import io
import sys
from types import SimpleNamespace

import pytest

from rambo import heartbeat, progress
from rambo.heartbeat import FIRST_SECONDS, LOG_SECONDS, Heart
from rambo.progress import Progress, Units


@pytest.fixture
def clock(monkeypatch):
    """Time that passes when it is told to."""
    now = [0.0]
    stopped = SimpleNamespace(monotonic=lambda: now[0], sleep=lambda seconds: None)
    monkeypatch.setattr(progress, "time", stopped)
    monkeypatch.setattr(heartbeat, "time", stopped)
    monkeypatch.setattr(Heart, "_beat_on", lambda heart: None)  # what is done beats
    monkeypatch.setattr(progress, "HEART", Heart())

    def wait(seconds):
        now[0] += seconds

    return wait


def test_in_a_log_there_is_a_line_only_now_and_then(clock, capsys):
    with Progress().task("sets", 100) as advance:
        for _ in range(50):
            clock(LOG_SECONDS / 20)
            advance(1)
    assert capsys.readouterr().err.splitlines() == [
        "sets: 4/100, 2.0/s, 48 s left",
        "sets: 24/100, 2.0/s, 38 s left",
        "sets: 44/100, 2.0/s, 28 s left",
        "sets: 50/100",
    ]


def test_what_is_stopped_says_how_far_it_got_unless_nobody_has_heard_of_it(clock, capsys):
    def stopped_after(seconds):
        with Progress().task("sets", 3) as advance:
            clock(seconds)
            advance(1)
            advance(1)
            raise KeyboardInterrupt

    for seconds, expected in ((FIRST_SECONDS, "sets: 1/3, 0.5/s, 4 s left\nsets: 2/3\n"), (0, "")):
        with pytest.raises(KeyboardInterrupt):
            stopped_after(seconds)
        assert capsys.readouterr().err == expected


def test_what_nothing_is_done_of_has_no_rate_yet(clock, capsys):
    with Progress().task("sets", 3) as advance:
        clock(2 * LOG_SECONDS)
        advance(0)
        assert capsys.readouterr().err == "sets: 0/3, 20 s so far\n"
        clock(2 * LOG_SECONDS)
        advance(1)
    assert capsys.readouterr().err == "sets: 1/3, 40 s each, 80 s left\nsets: 1/3\n"


def test_what_is_in_hand_counts_towards_the_time_left(clock):
    """Six of 20 s each, two at a time: 60 s in all, of which 30 are left after half."""
    units = Units("trials", 6)
    assert units.line() == "trials: 0/6, 0 s so far"
    units.begin("a"), units.begin("b")
    clock(15)
    assert units.line() == "trials: 0/6, 2 in hand for 15 s, more than 30 s to go"
    clock(5)
    for one in ("a", "b"):
        units.end(one)
        units.advance(1)
    units.begin("c"), units.begin("d")
    assert units.line() == "trials: 2/6, 2 in hand, 20 s each, 40 s left"
    clock(10)
    assert units.line() == "trials: 2/6, 2 in hand, 20 s each, 30 s left"
    clock(90)
    assert units.line() == "trials: 2/6, 2 in hand, 20 s each, 20 s left", "the late ones are about to end"


def test_what_begins_anew_counts_from_then_and_what_fails_is_not_done(clock):
    units = Units("trials", 2)
    units.begin("a")
    clock(10)
    units.begin("a")
    clock(4)
    units.end("a")
    assert (units.done, units.line()) == (0, "trials: 0/2, 0 in hand, 4 s each, 8 s left")


def test_a_prefix_tells_whose_line_it_is(clock, capsys):
    told = Progress(prefix="[trial 3] ")
    told.say("It begins.")
    with told.task("sets", 2) as advance:
        clock(LOG_SECONDS)
        advance(1)
    said = ["It begins.", "sets: 1/2, 0.1/s, 10 s left", "sets: 1/2"]
    assert capsys.readouterr().err.splitlines() == [f"[trial 3] {line}" for line in said]


@pytest.mark.parametrize("quiet", [True, False])
def test_who_is_quiet_and_who_has_nothing_to_do_say_nothing(quiet, clock, capsys):
    told = Progress(quiet=quiet)
    with told.task("sets", 2 if quiet else 0) as advance:
        clock(9 * LOG_SECONDS)
        advance(2)
    if quiet:
        with told.doing("this and that"):
            clock(FIRST_SECONDS)
            progress.HEART.beat()
        told.say("It ends.")
    assert capsys.readouterr() == ("", "")


def test_on_a_terminal_there_is_a_bar_and_nothing_on_standard_output(capsys, monkeypatch):
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    with Progress().units("sets", 3) as units:
        units.begin("a")
        units.advance(2)
    assert "sets" in terminal.getvalue()
    assert "2/3" in terminal.getvalue()
    assert "1 in hand for 0 s" in terminal.getvalue()
    assert capsys.readouterr().out == ""


def test_an_error_inside_a_task_comes_out(clock):
    with pytest.raises(ZeroDivisionError), Progress().task("sets", 3):
        raise ZeroDivisionError
