import io
import sys
from types import SimpleNamespace

import pytest

from rambo import progress
from rambo.progress import LOG_SECONDS, Progress


@pytest.fixture
def clock(monkeypatch):
    """Time that passes when it is told to."""
    now = [0.0]
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: now[0]))

    def wait(seconds):
        now[0] += seconds

    return wait


def test_in_a_log_there_is_a_line_only_now_and_then(clock, capsys):
    with Progress().task("sets", 100) as advance:
        for _ in range(50):
            clock(LOG_SECONDS / 20)
            advance(1)
    assert capsys.readouterr().err.splitlines() == [
        "sets: 20/100, 2.0/s, 40 s left",
        "sets: 40/100, 2.0/s, 30 s left",
    ]


def test_what_nothing_is_done_of_has_no_rate_yet(clock, capsys):
    with Progress().task("sets", 3) as advance:
        clock(2 * LOG_SECONDS)
        advance(0)
        assert capsys.readouterr().err == ""
        advance(3)
    assert capsys.readouterr().err == "sets: 3/3, 0.1/s, 0 s left\n"


def test_a_prefix_tells_whose_line_it_is(clock, capsys):
    told = Progress(prefix="[trial 3] ")
    told.say("It begins.")
    with told.task("sets", 2) as advance:
        clock(LOG_SECONDS)
        advance(1)
    assert capsys.readouterr().err == "[trial 3] It begins.\n[trial 3] sets: 1/2, 0.1/s, 10 s left\n"


@pytest.mark.parametrize("quiet", [True, False])
def test_who_is_quiet_and_who_has_nothing_to_do_say_nothing(quiet, clock, capsys):
    told = Progress(quiet=quiet)
    with told.task("sets", 2 if quiet else 0) as advance:
        clock(9 * LOG_SECONDS)
        advance(2)
    if quiet:
        told.say("It ends.")
    assert capsys.readouterr() == ("", "")


def test_on_a_terminal_there_is_a_bar_and_nothing_on_standard_output(capsys, monkeypatch):
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    with Progress().task("sets", 3) as advance:
        advance(2)
    assert "sets" in terminal.getvalue()
    assert "2/3" in terminal.getvalue()
    assert capsys.readouterr().out == ""


def test_an_error_inside_a_task_comes_out(clock):
    with pytest.raises(ZeroDivisionError), Progress().task("sets", 3):
        raise ZeroDivisionError
