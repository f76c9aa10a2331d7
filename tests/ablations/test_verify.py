"""Recomputing a study from its trial folders."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

from made import made_control

from ablations.plans import existing_plan
from ablations.run import Reporting
from ablations.verify import _images, _trial, differences, disagreements
from rambo.formats import json_bytes
from rambo.home import Home

FIRST_OFF = "bilevel=off OT=on RankNet=on"


def test_the_kept_study_of_table_4_agrees_with_its_trials():
    """Pictures apart: they hang on the version of what draws them."""
    home = Home(Path(__file__).parents[2] / "benchmarks/records/table4")
    found = differences(existing_plan(home, "table4"), home, Reporting())
    assert [one for one in found if not one.startswith(("figures/", "report.html"))] == []


def test_whatever_was_changed_in_a_trial_or_a_table_is_named(tmp_path):
    kept, home = Path(__file__).parents[2] / "benchmarks/records/table4", Home(tmp_path)
    whole = existing_plan(Home(kept), "table4")
    folders = {key: folder for key, folder in whole.folders.items() if key[1] in (3, 4)}
    plan = replace(whole, grid=replace(whole.grid, seeds=(3, 4)), folders=folders)
    shutil.copytree(kept / "studies", tmp_path / "studies")
    for folder in set(folders.values()):
        shutil.copytree(kept / folder, tmp_path / folder)
    full, other, control, lost = ((name, 3) for name in ("bilevel=on OT=on RankNet=on", "margin", "random", FIRST_OFF))
    selected = home.read(f"{folders[full]}/selected.csv")
    home.write(f"{folders[full]}/selected.csv", b"".join(selected.splitlines(keepends=True)[:-1]))
    for key, changes in ((other, {"strategy": "random"}), (control, {"seed": 4})):
        result = json.loads(home.read(f"{folders[key]}/result.json"))
        home.write(f"{folders[key]}/result.json", json_bytes({**result, **changes}))
    home.write(f"{folders[full[0], 4]}/held_out.csv", b"pair,member,score,utility\n0,0,x")
    home.write(f"{folders['margin', 4]}/config.json", b"{")
    home.write(f"{folders['random', 4]}/selected.csv", b"\xff")
    home.remove(f"{folders[lost]}/result.json")
    home.remove("studies/table4/table.md")
    home.write("studies/table4/comparison/ranks.csv", b"of strategies that it has no more")
    found = differences(plan, home, Reporting(allow_mixed=True))
    unread = [one.partition(" (")[0] for one in found if one.endswith(").") and ", seed 4" in one]
    assert sorted(unread) == [
        "bilevel=on OT=on RankNet=on, seed 4: held_out.csv cannot be read",
        "margin, seed 4: config.json cannot be read",
        "margin, seed 4: config.json or selected.csv cannot be read",
        "random, seed 4: config.json or selected.csv cannot be read",
    ]
    assert {one for one in found if ", seed 3" in one} == {
        f"{full[0]}, seed 3: selected.csv must hold 500 different images, got 499.",
        f"{full[0]}, seed 3: selected.csv does not add up to the result's 700 labels.",
        f"{other[0]}, seed 3: the result is of random, not of margin.",
        f"{control[0]}, seed 3: the result belongs to another folder than {folders[control]}.",
        f"{lost[0]}, seed 3: there is no result in {folders[lost]}.",
    }
    assert "table.md is missing." in found
    assert "comparison/ranks.csv is of an earlier report." in found
    assert "trials.csv is not what the trial folders give." in found


def test_bits_that_do_not_give_the_accuracy_are_named():
    kept = made_control(test_accuracy=0.5, num_test=4, test_correct="oA==")
    assert list(_images("x", kept)) == []
    assert list(_images("x", replace(kept, test_accuracy=0.75))) == [
        "x: the result's test_correct does not give its test accuracy."
    ]
    [sentence] = _images("x", replace(kept, test_correct="oAA="))
    assert sentence.startswith("x: the result's test_correct cannot be read (The bits of 4 images must take 1 byte")
    assert list(_images("x", replace(kept, num_test=None, test_correct=None))) == []


def test_a_trial_that_is_gone_is_named_though_the_cells_are_then_unequal(tmp_path):
    kept, home = Path(__file__).parents[2] / "benchmarks/records/table4", Home(tmp_path)
    plan = existing_plan(Home(kept), "table4")
    shutil.copytree(kept, tmp_path, dirs_exist_ok=True)
    shutil.rmtree(tmp_path / plan.folders["margin", 3])
    [gone, unequal] = differences(plan, home, Reporting())
    assert gone == f"margin, seed 3: there is no result in {plan.folders['margin', 3]}."
    assert "must have the same seeds in all cells" in unequal


def test_a_result_that_denies_what_its_strategy_sees_is_named(tmp_path):
    kept, home = Path(__file__).parents[2] / "benchmarks/records/table4", Home(tmp_path)
    plan, key = existing_plan(Home(kept), "table4"), ("bilevel=on OT=on RankNet=on", 3)
    folder = plan.folders[key]
    shutil.copytree(kept / folder, tmp_path / folder)
    for saw, said in ((True, []), (False, [f"{key[0]}, seed 3: the result has saw_validation = False, which its"])):
        content = {**json.loads(home.read(f"{folder}/result.json")), "saw_validation": saw}
        home.write(f"{folder}/result.json", json_bytes(content))
        assert [one.partition(" strategy")[0] for one in _trial(plan, home, key)] == said


def test_several_accuracies_of_one_training_are_told_and_are_no_fault(make_study, make_outcome):
    study = make_study(lambda cell, seed: make_outcome(0.9), seeds=range(4))
    assert disagreements(study) == []
    outcomes = {key: replace(one, base_val_accuracy=one.base_val_accuracy + 0.01 * (key == ("random", 2)))
                for key, one in study.outcomes.items()}  # fmt: skip
    assert disagreements(replace(study, outcomes=outcomes)) == [
        "Seeds 2: trials tell several accuracies of the same trainings on S_0, 1 points apart at most; another kind of "
        "machine has trained them again, or a result was changed."
    ]


def test_cells_whose_trials_were_exchanged_in_the_plan_are_named():
    home = Home(Path(__file__).parents[2] / "benchmarks/records/table4")
    plan, full, off = existing_plan(home, "table4"), ("bilevel=on OT=on RankNet=on", 3), (FIRST_OFF, 3)
    assert list(_trial(plan, home, full)) == []
    exchanged = {**plan.folders, full: plan.folders[off], off: plan.folders[full]}
    sentences = list(_trial(replace(plan, folders=exchanged), home, full))
    assert f"{full[0]}, seed 3: config.json has switches.bilevel = False, the plan True." in sentences
