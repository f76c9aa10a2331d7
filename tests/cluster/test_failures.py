"""Why a trial has no result, and whether another try could end otherwise."""

from typing import get_args

import pytest

from cluster.failures import (
    Cause,
    Failure,
    death,
    keep_failure,
    left_to_trials,
    once,
    read_failure,
    unforeseen,
    written,
)
from rambo.errors import InvalidInput
from rambo.home import Home


def test_what_ray_s_memory_monitor_kills_ran_out_of_memory(tmp_path):
    said = tmp_path / "error.txt"
    said.write_text("ray.exceptions.OutOfMemoryError: Task was killed due to the node running low on memory.\n")
    assert death(written(str(said)), 4).cause == "memory"
    said.write_text("ray.exceptions.ActorDiedError: The actor died unexpectedly.\n")
    found = death(written(str(said)), 4)
    assert found.cause == "killed"
    assert found.reason.startswith("its process died 4 times (")
    assert "The actor died unexpectedly." in found.reason
    assert death(written(None), 4).cause == "killed"


@pytest.mark.parametrize("cause", get_args(Cause))
def test_a_failure_is_read_as_it_was_kept_and_beside_no_other(tmp_path, cause):
    home, failure = Home(tmp_path), Failure(cause, "û is 0, λ as well")
    keep_failure(home, "trials/d/c/0", failure)
    assert read_failure(home, "trials/d/c/0") == failure
    assert read_failure(home, "trials/d/c/1") is None


def test_only_what_would_end_the_same_again_is_final():
    final = {cause for cause in get_args(Cause) if Failure(cause, "why").is_final}
    assert final == {"collapsed", "error"}


def test_what_nobody_foresaw_is_told_in_one_line_with_its_place():
    def deep() -> None:
        raise KeyError("no such\nthing")

    with pytest.raises(KeyError) as caught:
        deep()
    line = deep.__code__.co_firstlineno + 1
    found = unforeseen(caught.value)
    assert found.cause == "error"
    assert found.reason.startswith("KeyError: ")
    assert found.reason.endswith(f"(test_failures.py:{line})")
    assert "\n" not in found.reason


def test_a_death_of_which_nothing_is_written_says_so(tmp_path):
    assert death(written(str(tmp_path / "gone.txt")), 2).reason == "its process died 2 times (no message)"


def test_what_cannot_be_had_ahead_is_said_once_and_left_but_for_what_the_user_can_mend():
    said = []
    say = once(said.append)
    for _ in range(2):
        with left_to_trials("Trainings", say):
            raise ValueError("it exploded\nloudly")
    reason = "Trainings could not be worked out ahead (ValueError: it exploded)"
    assert said == [f"{reason}; trials that need them will try again."]
    with pytest.raises(InvalidInput), left_to_trials("Trainings", say):
        raise InvalidInput("The disk must have room, got none.")
