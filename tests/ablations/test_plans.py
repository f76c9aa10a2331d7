"""What a study is on disk, and what its folders say."""

import json
import shutil

import pytest
from own_strategy import EXAMPLE
from planned_studies import RESULT, plan_of

from ablations.effects import control_effects
from ablations.factors import parse_factor, switches
from ablations.plans import STUDY, StudyPlan, existing_plan, read_study
from rambo.errors import InvalidInput
from rambo.formats import json_bytes
from rambo.home import Home


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


def test_a_study_with_a_strategy_of_the_user_s_own_is_read_where_its_module_is_not(tiny, modules, tmp_path):
    modules.write(EXAMPLE, "gone")
    plan = plan_of(tiny, [parse_factor("strategy=margin,gone:pick")], controls=("random", "filtered_random"))
    (tmp_path / "gone.py").unlink()
    modules.forget()
    again = StudyPlan.from_bytes(plan.to_bytes())
    assert again == plan
    assert control_effects(read_study(again, Home(tmp_path)))


def test_an_edited_strategy_makes_another_study(tiny, modules):
    factors = [parse_factor("strategy=margin,mine:pick")]
    modules.write(EXAMPLE)
    old = plan_of(tiny, factors, seeds=(0,))
    plan_of(tiny, factors, seeds=(0, 1)).check_extends(old)
    modules.write(EXAMPLE.replace("3 * request.budget", "2 * request.budget"))
    with pytest.raises(InvalidInput, match=r"got a plan without 1 of them; .* and files of your own as they were\.$"):
        plan_of(tiny, factors, seeds=(0, 1)).check_extends(old)


@pytest.mark.parametrize("name", ["result.json", "failure.json", "environment.json"])
def test_a_damaged_file_of_a_trial_is_one_sentence_whose_advice_works(tiny, tmp_path, name):
    home, plan = Home(tmp_path), plan_of(tiny, [parse_factor("switches.ot")], controls=())
    folder = plan.folders["OT=on", 0]
    if name == "environment.json":
        home.write(f"{folder}/result.json", json_bytes(RESULT))
    home.write(f"{folder}/{name}", b'{"caus')
    with pytest.raises(InvalidInput, match=f"/{name} must be whole and as this version writes it, got: ") as caught:
        read_study(plan, home)
    removed = tmp_path / folder
    if f"; remove {removed}: " in str(caught.value):
        shutil.rmtree(removed)
    else:
        assert "; remove it: " in str(caught.value)
        home.remove(f"{folder}/{name}")
    assert (plan.grid.cells[0], 0) in read_study(plan, home).missing
