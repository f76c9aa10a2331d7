"""What is known before the first trial, and what a trial can need on top, against what experiments name themselves."""

import pytest
from made_searches import NOWHERE, RATE

from cluster.databases import file_url
from rambo.errors import InvalidInput
from rambo.fields import override
from rambo.home import Home
from rambo.preparation import prepare
from tune.__main__ import main
from tune.records import SearchPlan
from tune.settings import keep_plan, known_experiments, most_trainings, storage_of
from tune.space import BATCH, Choice, Range, Space, Whole


def plan(tiny, space: dict) -> SearchPlan:
    """Of a base that b = 20 and b = 30 both fit."""
    base = override(tiny, {"acquisition.budget": 60})
    return SearchPlan("test", Space(space), base, (0, 1), ("accuracy",), "digits")


def test_a_range_that_changes_what_is_measured_is_collected_at_the_base_and_nowhere_else(tiny):
    known = known_experiments(plan(tiny, {RATE: Range(1e-4, 1e-2, log=True), BATCH: Choice((20, 30))}), NOWHERE)
    assert {one.config.training.learning_rate for one in known} == {tiny.training.learning_rate}
    assert sorted((one.config.seed, one.config.acquisition.batch_size) for one in known) == [
        (seed, size) for seed in (0, 1) for size in (20, 30)
    ]


def test_without_a_listed_value_the_base_is_known_ahead(tiny):
    one = plan(tiny, {"utility_model.dropout": Range(0.1, 0.5)})
    bases = [prepare(one.config({}, seed), NOWHERE).folder for seed in (0, 1)]
    assert [known.folder for known in known_experiments(one, NOWHERE)] == bases


def test_listed_values_that_cannot_be_combined_are_left_out(tiny):
    sizes = {BATCH: Choice((20, 30)), "data.num_seed_labels": Choice((60, 100))}  # b = 30 of 100 leaves a start of 10
    assert {
        (one.config.acquisition.batch_size, one.config.data.num_seed_labels)
        for one in known_experiments(plan(tiny, sizes), NOWHERE)
    } == {(20, 60), (20, 100), (30, 60)}


def test_a_trial_needs_its_final_trainings_and_what_its_own_setting_brings(tiny):
    final = 2 * tiny.evaluation.repeats
    assert most_trainings(plan(tiny, {BATCH: Choice((20, 30))}), NOWHERE) == final
    rates = plan(tiny, {RATE: Range(1e-4, 1e-2, log=True)})
    own = sum(map(len, prepare(tiny, NOWHERE).specs().values()))
    assert most_trainings(rates, NOWHERE) == final + 2 * own
    pairs = dict.fromkeys(("offline.num_pairs", "pretraining.num_pairs"), Whole(4, 9))
    sizes = plan(tiny, {**pairs, BATCH: Choice((20, 30))})
    everything = [
        prepare(sizes.config({"offline.num_pairs": one, "pretraining.num_pairs": two, BATCH: size}), NOWHERE).specs()
        for one in (4, 9)
        for two in (4, 9)
        for size in (20, 30)
    ]
    most = max(sum(map(len, stages.values())) for stages in everything)
    assert most_trainings(sizes, NOWHERE) == final + 2 * most


@pytest.mark.parametrize("command", [["status"], ["report"], ["confirm", "--seeds=7,8"]])
def test_a_home_that_is_a_url_needs_a_database_elsewhere_whatever_looks_at_the_search(tiny, command):
    home = Home("memory://searched")
    keep_plan(plan(tiny, {BATCH: Choice((20, 30))}), home)
    with pytest.raises(
        InvalidInput, match="--storage must name a database where --home is a URL, got none with memory"
    ):
        main([*command, "--study=test", f"--home={home.root}"])
    assert storage_of("test", "sqlite:////x/optuna.db", home) == file_url("/x/optuna.db")


@pytest.mark.parametrize("storage", ["x.db", "~no-such-user/x.db", "redis://x", ""])
def test_a_plan_refuses_the_storage_that_its_run_would_refuse(tmp_path, storage):
    flags = ["--preset=quickstart", "--num-trials=3", "--seeds=0", f"--home={tmp_path}", f"--storage={storage}"]
    with pytest.raises(InvalidInput, match=r"^--storage must be "):
        main(["run", "--plan", *flags])
