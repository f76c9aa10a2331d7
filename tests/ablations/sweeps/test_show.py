"""How far a sweep is, from what stands in the home."""

import json
import time
from pathlib import Path

import pytest
from sweep_files import finish, keep_plan, study_text

from ablations.sweeps.hours import Hours
from ablations.sweeps.kept import DRIVER, existing, keep_state
from ablations.sweeps.show import status_of
from ablations.sweeps.studies import prepare_sweep
from cluster.place import Share
from rambo.formats import json_bytes

UNUSED = Path("unused")


@pytest.fixture
def begun(write, wanted):
    """Two studies of four trials; of the first one is done and one failed."""
    limits = "core_hours = 2.5\ndeadline = 2030-01-02T03:04:00Z"
    home = wanted(write("spring", study_text("low"), study_text("high", priority=3), limits=limits))
    studies = prepare_sweep(existing(home, "spring").declared(), UNUSED)
    for study in studies:
        keep_plan(study, home)
    trials = list(studies[0].trials)
    finish(home, studies[0].trials[trials[0]][0])
    home.write(f"{trials[1]}/failure.json", json_bytes({"cause": "error", "reason": "a bug"}))
    return home, studies


def test_a_status_counts_each_study_and_says_what_was_spent_and_what_comes_next(begun):
    home, _ = begun
    Hours.kept(home, "spring").ended("a", Share(2.0, 0.0), 900.0)
    status = status_of(existing(home, "spring"), home, UNUSED)
    (high, low) = status.studies
    assert (high.name, high.done, high.failed, high.waiting) == ("high", 1, 1, 2)
    assert (low.name, low.done, low.failed, low.waiting) == ("low", 1, 1, 2), "they are equal, and share all trials"
    told = status.sentences()
    assert told[0] == "spring: running, no driver is at work."
    assert "Spent: 0.5 of 2.5 core-hours, until 2030-01-02 03:04 UTC." in told
    assert "failed: high, strategy=margin, seed 0: a bug" in told
    assert "4 of these trials are another study's too, and run once; every row has them." in told
    assert told[-1].startswith("Next: high, strategy=random, seed 1; high, strategy=margin, seed 1.")
    assert "About 0 s to 7 s are left, 1 trials in the last hour." in told


def test_a_driver_that_speaks_is_named_with_what_runs_and_what_holds_it(begun):
    home, studies = begun
    waiting = list(studies[0].trials)[2]
    said = {
        "host": "node-7", "process": 12, "time": time.time(), "cpus": 4, "gpus": 0,
        "running": {waiting: {"sweep": "spring", "seconds": 3.0}},
        "why": {"spring": "limits.running of 1 is reached"},
    }  # fmt: skip
    home.write(DRIVER, json_bytes(said))
    status = status_of(existing(home, "spring"), home, UNUSED)
    assert (status.studies[0].running, status.studies[0].waiting) == (1, 1)
    assert status.sentences()[:2] == [
        "spring: running, driven on node-7 (process 12).",
        "The next trial waits: limits.running of 1 is reached.",
    ]
    home.write(DRIVER, json_bytes({**said, "time": time.time() - 1000}))
    assert status_of(existing(home, "spring"), home, UNUSED).driver is None, "it is gone"


def test_a_trial_that_waits_since_a_try_has_failed_says_why(begun):
    home, studies = begun
    waiting = list(studies[0].trials)[2]
    home.write(f"{waiting}/failure.json", json_bytes({"cause": "memory", "reason": "too little memory"}))
    status = status_of(existing(home, "spring"), home, UNUSED)
    assert (status.studies[0].failed, status.studies[0].waiting) == (1, 2)
    assert "to be tried again: high, strategy=random, seed 1: too little memory" in status.sentences()


def test_a_status_is_json_as_well(begun):
    home, _ = begun
    keep_state(home, "spring", "paused")
    found = json.loads(json.dumps(status_of(existing(home, "spring"), home, UNUSED).to_json()))
    assert (found["name"], found["state"], found["limits"]["deadline"]) == (
        "spring", "paused", "2030-01-02T03:04:00+00:00",
    )  # fmt: skip
    assert [study["done"] for study in found["studies"]] == [1, 1]


def test_a_sweep_with_nothing_left_is_complete(write, wanted):
    home = wanted(write())
    (study,) = prepare_sweep(existing(home, "spring").declared(), UNUSED)
    for one, _ in study.trials.values():
        finish(home, one)
    assert status_of(existing(home, "spring"), home, UNUSED).sentences()[0] == "spring: complete."


def said_by(home, **said):
    home.write(DRIVER, json_bytes({"host": "node-7", "process": 12, "time": time.time(), "cpus": 4, **said}))


def test_what_is_left_counts_what_runs(begun):
    """Of trials that take 1 s two run, one of them for long; others are done."""
    home, studies = begun
    *others, third, fourth = studies[0].trials.values()
    for one, _ in others:
        finish(home, one)
    running = {third[0].folder: 0.25, fourth[0].folder: 5.0}
    said_by(home, running={folder: {"sweep": "spring", "seconds": seconds} for folder, seconds in running.items()})
    status = status_of(existing(home, "spring"), home, UNUSED)
    assert [(one.running, one.waiting) for one in status.studies] == [(2, 0), (2, 0)]
    low, high = status.seconds_left
    assert low <= 0.75 / 2 < 0.75 <= high
    finish(home, third[0])  # which the driver has not said yet
    status = status_of(existing(home, "spring"), home, UNUSED)
    assert [(one.done, one.running, one.waiting) for one in status.studies] == [(3, 1, 0), (3, 1, 0)]


@pytest.mark.parametrize(
    ("limit", "told"),
    [
        ("core_hours = 0.5", "limits.core_hours of 0.5 leaves 0 beside"),
        ("failures = 1", "limits.failures of 1 is reached: 1 trial failed"),
        ("deadline = 2020-01-02T03:04:00Z", "limits.deadline is 2020-01-02 03:04 UTC"),
    ],
)
def test_a_limit_that_has_stopped_a_sweep_is_said_when_its_driver_has_ended(begun, write, wanted, limit, told):
    home, _ = begun
    wanted(write("spring", study_text("low"), study_text("high", priority=3), limits=limit))
    Hours.kept(home, "spring").ended("a", Share(2.0, 0.0), 900.0)
    assert f"The next trial waits: {told}" in " ".join(status_of(existing(home, "spring"), home, UNUSED).sentences())
    keep_state(home, "spring", "paused")
    assert status_of(existing(home, "spring"), home, UNUSED).why is None
