"""Time passes when it is told to; one real process shows that the thread beats."""

import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

from rambo import heartbeat
from rambo.heartbeat import FIRST_SECONDS, LOG_SECONDS, Heart, doing


@pytest.fixture
def clock(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(heartbeat, "time", SimpleNamespace(monotonic=lambda: now[0], sleep=lambda seconds: None))
    monkeypatch.setattr(Heart, "_beat_on", lambda heart: None)  # the test beats

    def wait(seconds, heart):
        for _ in range(int(2 * seconds)):
            now[0] += 0.5
            heart.beat()

    return wait


def test_silence_ends_within_two_seconds_and_then_every_ten(clock, capsys):
    heart = Heart()
    with heart.during(doing("reading data")):
        clock(25, heart)
    clock(25, heart)
    assert capsys.readouterr().err.splitlines() == [
        f"reading data ({seconds:.0f} s so far)"
        for seconds in (FIRST_SECONDS, FIRST_SECONDS + LOG_SECONDS, FIRST_SECONDS + 2 * LOG_SECONDS)
    ]


def test_the_innermost_is_told_and_whatever_is_said_breaks_the_silence(clock, capsys):
    heart = Heart()
    with heart.during(doing("outer")):
        clock(1, heart)
        heart.say("a sentence")
        with heart.during(doing("inner")):
            clock(3, heart)
        clock(9, heart)
        assert capsys.readouterr().err.splitlines() == [
            "a sentence",
            "inner (2 s so far)",
            "outer (5 s so far)",  # which nobody has heard of, two seconds after the last word
        ]


def test_what_a_bar_shows_is_not_told(clock, capsys):
    heart = Heart()
    with heart.during(doing("outer")), heart.during(lambda: None):
        clock(30, heart)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("flags", [(), ("--quiet",)])
def test_a_command_that_takes_long_to_load_says_so_unless_it_is_to_be_quiet(tmp_path, flags):
    (tmp_path / "room").mkdir()
    (tmp_path / "room/__init__.py").write_text(
        "from rambo import heartbeat\nheartbeat.FIRST_SECONDS = 0.1\n"
        "from rambo.terminal import answer_while_loading, answer_from_now_on\nanswer_while_loading()\n"
        "import time\ntime.sleep(0.8)\nanswer_from_now_on()\ntime.sleep(0.8)\n"
    )
    (tmp_path / "room/__main__.py").write_text("")
    path = os.pathsep.join(path for path in sys.path if path)
    answer = subprocess.run(
        [sys.executable, "-m", "room", *flags],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    assert answer.stderr.splitlines() == ([] if flags else ["room: loading (0 s so far)"])
