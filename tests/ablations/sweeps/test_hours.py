"""Hours of a sweep, written down in steps."""

import json
import time
from contextlib import suppress

import pytest

from ablations.sweeps import hours as hours_module
from ablations.sweeps.hours import STEP_SECONDS, Hours
from cluster.place import Share
from rambo.home import Home


def lines(home):
    return [json.loads(line) for line in home.read_lines("sweeps/spring/hours.jsonl")]


def test_a_trial_that_was_noted_while_it_ran_counts_once(tmp_path):
    home = Home(tmp_path)
    hours, share = Hours.kept(home, "spring"), Share(2.0, 0.25)
    hours.running("a", share, STEP_SECONDS / 2)
    assert lines(home) == [], "less than a step is not worth a line"
    hours.running("a", share, 1.5 * STEP_SECONDS)
    assert hours.open_seconds("a", 1.75 * STEP_SECONDS) == STEP_SECONDS / 4
    hours.ended("a", share, 2.0 * STEP_SECONDS)
    assert [one["core_seconds"] for one in lines(home)] == [3.0 * STEP_SECONDS, STEP_SECONDS]
    kept = Hours.kept(home, "spring")
    assert (kept.core_seconds, kept.gpu_seconds) == (hours.core_seconds, hours.gpu_seconds)
    assert (kept.core_seconds, kept.gpu_seconds) == (4 * STEP_SECONDS, STEP_SECONDS / 2)


def test_a_trial_of_a_killed_driver_counts_what_was_noted_and_then_its_second_try(tmp_path):
    home, share = Home(tmp_path), Share(1.0, 0.0)
    Hours.kept(home, "spring").running("a", share, 100.0)
    second = Hours.kept(home, "spring")
    second.ended("a", share, 30.0)
    assert Hours.kept(home, "spring").core_seconds == 130.0


def test_the_rate_counts_ends_of_trials_alone(tmp_path):
    hours = Hours.kept(Home(tmp_path), "spring")
    assert hours.ended_in(3600.0) is None
    hours.ended("collection", Share(2.0, 0.0), 50.0, is_end=False)
    for trial in "abc":
        hours.ended(trial, Share(1.0, 0.0), 1.0)
    assert hours.ended_in(1800.0) == pytest.approx(6.0)
    assert Hours.kept(Home(tmp_path), "spring").ended_in(3600.0) == 3.0


def test_a_line_that_a_full_disk_has_cut_is_passed_over(tmp_path):
    home, share = Home(tmp_path), Share(1.0, 0.0)
    hours = Hours.kept(home, "spring")
    hours.ended("a", share, 10.0)
    home.append("sweeps/spring/hours.jsonl", b'{"what": "b", "core_sec\n')
    hours.ended("c", share, 5.0)
    assert Hours.kept(home, "spring").core_seconds == 15.0


def test_a_collection_is_written_down_while_it_goes_on_and_however_it_ends(tmp_path, monkeypatch):
    monkeypatch.setattr(hours_module, "STEP_SECONDS", 0.02)
    home = Home(tmp_path)
    hours = Hours.kept(home, "spring")
    start = time.monotonic()
    with suppress(KeyboardInterrupt), hours.holding("collection", Share(2.0, 0.0)):
        while not lines(home):
            time.sleep(0.01)
        raise KeyboardInterrupt
    assert len(lines(home)) >= 2
    kept = Hours.kept(home, "spring")
    assert 0.04 < kept.core_seconds <= 2 * (time.monotonic() - start) + 0.01
    assert kept.ended_in(3600.0) is None
