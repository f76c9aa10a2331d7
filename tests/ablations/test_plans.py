import json
from pathlib import Path

import pytest

from ablations.factors import make_grid, parse_factor, switches
from ablations.plans import STUDY, StudyPlan, existing_plan, make_plan, read_plan, read_study
from ablations.run import Again, Reporting, keep_plan, outdated, run_study, sync_study
from ablations.verify import differences
from cluster.place import Place
from cluster.tracking.server import tracking_uri
from rambo.errors import InvalidInput
from rambo.formats import json_bytes
from rambo.home import Home
from rambo.preparation import prepare
from rambo.progress import Progress
from rambo.training.trainer import TRAINING_VERSION

QUIET = Progress(quiet=True)

RESULT = {
    **dict.fromkeys(("test_accuracy", "val_accuracy", "base_test_accuracy", "base_val_accuracy"), 0.5),
    **dict.fromkeys(("pair_accuracy", "pair_ceiling", "label_agreement")),
    **{"data": "d-1", "config_id": "abc", "seed": 1, "strategy": "rambo", "num_labelled": 100},
    **{"trainings": 3, "seconds": {}},
}


def plan_of(base, factors, seeds=(0,), controls=("random",), name="study"):
    grid = make_grid(base, factors, controls=controls, seeds=seeds, design="factorial")
    return make_plan(name, grid, {(c.name, s): prepare(config, Path("unused")) for c, s, config in grid.trials()})


def test_a_plan_is_read_back_as_it_was_written(tiny):
    plan = plan_of(tiny, [*switches(), parse_factor("acquisition.candidate_batches=2,all")], seeds=(0, 3))
    again = StudyPlan.from_bytes(plan.to_bytes())
    assert again == plan
    assert again.to_bytes() == plan.to_bytes()


def test_cells_that_are_equal_in_effect_share_a_trial(tiny):
    plan = plan_of(tiny, [parse_factor("switches.ot"), parse_factor("utility_model.lambda_1=.5,1")], controls=())
    assert len(plan.folders) == 4
    assert len(set(plan.folders.values())) == 3
    shared = plan.folders["OT=off λ1=0.5", 0]
    assert plan.keys_of(shared) == [("OT=off λ1=0.5", 0), ("OT=off λ1=1.0", 0)]


def failed_study(tiny, home):
    """Four cells of three trials, all of which failed for good: nothing to train."""
    plan = plan_of(tiny, [parse_factor("switches.ot"), parse_factor("utility_model.lambda_1=.5,1")], controls=())
    for folder in set(plan.folders.values()):
        home.write(f"{folder}/failure.json", json_bytes({"cause": "error", "reason": "it broke"}))
    return plan


def prepared_for(plan):
    return {(c.name, s): prepare(config, Path("unused")) for c, s, config in plan.grid.trials()}


def shown(home, condition=""):
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri(home)).search_runs(["1"], condition)


def test_a_trial_that_cells_share_is_shown_once_and_found_by_each_of_them(tiny, tmp_path):
    home = Home(tmp_path)
    plan = failed_study(tiny, home)
    ids = []
    for _ in range(2):
        ended = sync_study(plan, home, Reporting(), QUIET)
        assert ended.unpublished is None
        ids.append({run.info.run_id for run in shown(home)})
    assert ids[0] == ids[1]
    assert len(ids[0]) == 1 + 3
    for cell in plan.grid.cells:
        [run] = shown(home, f"tags.cell LIKE '%{cell.name}%' AND tags.seed = '0'")
        assert run.data.tags["trial"] == plan.folders[cell.name, 0]
    [run] = shown(home, "tags.cell = 'OT=off λ1=0.5; OT=off λ1=1.0'")
    assert run.info.run_name == "OT=off λ1=0.5 and 1 equal to it, seed 0"


class Interrupted(Progress):
    """Somebody presses Ctrl-C when the tables are about to be written."""

    def say(self, sentence):
        if sentence.startswith("writing"):
            raise KeyboardInterrupt


def test_an_interrupt_leaves_the_study_s_page_its_table(tiny, tmp_path):
    home = Home(tmp_path)
    plan = failed_study(tiny, home)
    sync_study(plan, home, Reporting(), QUIET)
    place = Place(home, Path("unused"), "cpu", "ledger.jsonl")
    with pytest.raises(KeyboardInterrupt):
        run_study(plan, prepared_for(plan), place, Reporting(), again=Again(), progress=Interrupted(quiet=True))
    [parent] = shown(home, "tags.kind = 'study'")
    assert parent.info.status == "KILLED"
    assert "| missing |" in parent.data.tags["mlflow.note.content"]


def test_what_would_mix_training_versions_is_refused_before_anything_runs(tiny, tmp_path):
    home, plan = Home(tmp_path), plan_of(tiny, [parse_factor("switches.ot")])
    folder, old = plan.folders["random", 0], TRAINING_VERSION - 1
    home.write(f"{folder}/result.json", json_bytes(RESULT))
    home.write(f"{folder}/environment.json", json_bytes({"training_version": old}))
    place = Place(home, Path("unused"), "cpu", "ledger.jsonl")
    sentence = f"version {old} in 1 trial; version {TRAINING_VERSION} in 2 trials; run it with --rerun-outdated"
    with pytest.raises(InvalidInput, match=sentence):
        run_study(plan, prepared_for(plan), place, Reporting(), again=Again(), progress=QUIET)
    assert home.read(f"{folder}/result.json") is not None
    assert read_plan(home, "study") is None
    assert outdated(plan, home) == [folder]


def test_seeds_levels_and_factors_may_be_added_and_nothing_taken_away(tiny, tmp_path):
    home = Home(tmp_path)
    small = plan_of(tiny, [parse_factor("switches.ot")])
    keep_plan(small, home)
    for larger in (
        plan_of(tiny, [parse_factor("switches.ot")], seeds=(1, 0)),
        plan_of(tiny, [parse_factor("switches.ot"), parse_factor("switches.ranknet")], seeds=(0, 1)),
        plan_of(
            tiny,
            [*map(parse_factor, ("switches.ot", "switches.ranknet", "acquisition.candidate_batches=2,3,all"))],
            seeds=(0, 1),
        ),
    ):
        keep_plan(larger, home)
        assert read_plan(home, "study") == larger
    with pytest.raises(InvalidInput, match="--study study must keep its"):
        keep_plan(small, home)


def test_a_study_says_what_its_folders_hold(tiny, tmp_path):
    home, plan = Home(tmp_path), plan_of(tiny, [parse_factor("switches.ot")], seeds=(0, 1))
    assert read_study(plan, home).missing == [(cell, seed) for cell in plan.grid.cells for seed in (0, 1)]
    folder = plan.folders["OT=on", 1]
    home.write(f"{folder}/result.json", json_bytes(RESULT))
    home.write(f"{folder}/environment.json", json_bytes({"training_version": 7, "commit": "c0ffee"}))
    home.write(f"{plan.folders['random', 0]}/failure.json", json_bytes({"cause": "killed", "reason": "it died"}))
    study = read_study(plan, home)
    [outcome] = study.outcomes.values()
    assert (outcome.test_accuracy, outcome.training_version, outcome.commit) == (0.5, 7, "c0ffee")
    assert study.failures == {("random", 0): "it died"}
    assert study.accuracies(plan.grid.cells[0]) == {1: 0.5}
    assert len(plan.entries(home)) == 2


@pytest.mark.parametrize("name", ["", "..", "a/b", "../up", "a b", "x\n"])
def test_a_study_s_name_never_leaves_its_folder(name):
    with pytest.raises(InvalidInput, match="--study must be a name of letters"):
        STUDY.folder_of(name)


def test_a_study_that_is_not_there_is_refused_with_those_that_are(tmp_path):
    Home(tmp_path).write("studies/one/plan.json", json.dumps({}).encode())
    with pytest.raises(InvalidInput, match="got two; there: one"):
        existing_plan(Home(tmp_path), "two")


def test_the_kept_study_of_table_4_agrees_with_its_trials():
    """Pictures apart: they hang on the version of what draws them."""
    home = Home(Path(__file__).parents[2] / "benchmarks/records/table4")
    found = differences(existing_plan(home, "table4"), home, Reporting())
    assert [one for one in found if not one.startswith(("figures/", "report.html"))] == []
