"""Studies of a sweep: where their trials stand, and why a result no longer counts."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sweep_files import finish, keep_plan, study_text

from ablations.plans import read_plan
from ablations.sweeps.kept import Kept
from ablations.sweeps.studies import prepare_study, prepare_sweep, retired, standing_of, with_owner
from rambo.errors import InvalidInput
from rambo.formats import json_bytes
from rambo.home import Home
from rambo.training.trainer import TRAINING_VERSION


def prepared(write, *studies):
    return prepare_sweep(Kept.of(write("spring", *studies))[1], Path("unused"))


@pytest.fixture
def home(tmp_path):
    return Home(tmp_path / "home")


def test_each_trial_is_done_missing_or_failed_and_a_failure_that_may_pass_is_missing(write, home):
    (study,) = prepared(write, study_text("digits"))
    first, second, third, last = study.trials
    finish(home, study.trials[first][0])
    home.write(f"{second}/failure.json", json_bytes({"cause": "error", "reason": "a bug"}))
    home.write(f"{third}/failure.json", json_bytes({"cause": "killed", "reason": "a node went"}))
    standing = standing_of(study, home)
    assert dict(standing.states) == {first: "done", second: "failed", third: "missing", last: "missing"}
    assert standing.reasons == {second: "a bug", third: "a node went"}


def test_trials_come_seed_by_seed(write):
    (study,) = prepared(write, study_text("digits", seeds="3,1"))
    assert [place for _, place in study.trials.values()] == [0, 0, 1, 1]
    assert [one.config.seed for one, _ in study.trials.values()] == [3, 3, 1, 1]


def test_another_training_version_is_stale(write, home):
    (study,) = prepared(write, study_text("digits", seeds="0"))
    for one, _ in study.trials.values():
        finish(home, one, version=TRAINING_VERSION - 1)
    assert standing_of(study, home).why_stale == {f"training version {TRAINING_VERSION - 1}, now {TRAINING_VERSION}": 2}


def test_other_data_are_named_with_both_fingerprints(write, home, tmp_path):
    rng = np.random.default_rng(0)

    for name in ("before", "after"):
        np.savez(tmp_path / f"{name}.npz", x=rng.integers(0, 256, (400, 8, 8), dtype=np.uint8), y=np.arange(400) % 10)

    (before,) = prepared(write, study_text("own", seeds="0", fields={"data.source": "npz:before.npz"}))
    keep_plan(before, home)
    for one, _ in before.trials.values():
        finish(home, one)
    (after,) = prepared(write, study_text("own", seeds="0", fields={"data.source": "npz:after.npz"}))
    ((reason, count),) = standing_of(after, home).why_stale.items()
    old, new = (next(iter(study.trials)).split("/")[1] for study in (before, after))
    assert (reason, count) == (f"other data: {new}, before {old}", 2)


def test_a_field_is_told_as_the_file_s_or_as_a_new_default(write, home):
    (before,) = prepared(write, study_text("digits", seeds="0"))
    keep_plan(before, home)
    for one, _ in before.trials.values():
        finish(home, one)
    (after,) = prepared(write, study_text("digits", seeds="0", fields={"training.max_epochs": 4}))
    assert standing_of(after, home).why_stale == {"training.max_epochs is 4, before 3": 2}
    not_named = replace(after.declared, given=after.declared.given - {"training.max_epochs"})
    assert standing_of(replace(after, declared=not_named), home).why_stale == {
        "the default of training.max_epochs is 4, before 3": 2
    }


def test_a_strategy_s_edited_source_is_told(write, home, modules):
    modules.write("def pick(request):\n    return request.pool.unlabelled[: request.budget]\n", "mine")
    text = study_text("digits", seeds="0", strategy=["mine:pick", "random"])
    (before,) = prepared(write, text)
    keep_plan(before, home)
    for one, _ in before.trials.values():
        finish(home, one)
    modules.write("def pick(request):\n    return request.pool.unlabelled[-request.budget :]\n", "mine")
    (after,) = prepared(write, text)
    assert standing_of(after, home).why_stale == {
        "other code: the source of mine:pick, or a file that a field names": 1
    }


def test_a_study_of_the_sweep_s_own_may_shrink_and_one_made_by_hand_may_not(write, home):
    (study,) = prepared(write, study_text("digits"))
    keep_plan(study, home)
    assert json.loads(home.read("studies/digits/plan.json"))["sweep"] == "spring"
    (smaller,) = prepared(write, study_text("digits", seeds="0"))
    assert with_owner(smaller, home).sweep == "spring"
    assert len(retired(smaller, home)) == 2
    home.write("studies/digits/plan.json", replace(read_plan(home, "digits"), sweep=None).to_bytes())
    with pytest.raises(InvalidInput, match="--study digits must keep its 4 trials"):
        with_owner(smaller, home)
    (larger,) = prepared(write, study_text("digits", seeds="0-3"))
    assert with_owner(larger, home).sweep is None


def test_a_cell_that_cannot_be_is_refused_before_anything_runs(write):
    path = write("spring", study_text("digits", acquisition__budget=[40, 100_000]))
    with pytest.raises(InvalidInput, match=r"acquisition\.budget"):
        prepare_study("spring", Kept.of(path)[1].studies[0], Path("unused"))
