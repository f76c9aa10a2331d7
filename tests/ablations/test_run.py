"""A study while it runs: what is refused, what is shown, and what an interrupt leaves."""

from pathlib import Path

import pytest
from planned_studies import RESULT, plan_of, prepared_for

from ablations.factors import parse_factor
from ablations.plans import read_plan
from ablations.run import (
    Again,
    Reporting,
    keep_plan,
    kept_reporting,
    outdated,
    run_study,
    sync_study,
    write_report,
)
from cluster.place import Place
from cluster.tracking.server import tracking_uri
from rambo.errors import InvalidInput
from rambo.fields import override
from rambo.formats import json_bytes
from rambo.home import Home
from rambo.progress import Progress
from rambo.training.trainer import TRAINING_VERSION

QUIET = Progress(quiet=True)


def failed_study(tiny, home):
    """Four cells of three trials, all of which failed for good: nothing to train."""
    plan = plan_of(tiny, [parse_factor("switches.ot"), parse_factor("utility_model.lambda_1=.5,1")], controls=())
    for folder in set(plan.folders.values()):
        home.write(f"{folder}/failure.json", json_bytes({"cause": "error", "reason": "it broke"}))
    return plan


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
    assert len(ids[0]) == 1 + 3 + 4, "the study, its trials, its cells"
    for cell in plan.grid.cells:
        [run] = shown(home, f"tags.cell LIKE '%{cell.name}%' AND tags.seed = '0'")
        assert run.data.tags["trial"] == plan.folders[cell.name, 0]
    [run] = shown(home, "tags.cell = 'OT=off λ1=0.5; OT=off λ1=1.0'")
    assert run.info.run_name == "seed 0, no OT λ1=0.5 and 1 equal to it"


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
    with pytest.raises(InvalidInput, match=r"--study study must keep its .* the flags it was made with\.$"):
        keep_plan(small, home)
    other = plan_of(override(tiny, {"evaluation.first_repeat": 0}), [parse_factor("switches.ot")])
    with pytest.raises(InvalidInput, match=r"the flags it was made with \(--evaluation.first_repeat 1\)\.$"):
        keep_plan(other, home)


def test_a_damaged_note_on_how_to_judge_is_one_sentence_whose_advice_works(tiny, tmp_path):
    home = Home(tmp_path)
    keep_plan(failed_study(tiny, home), home)
    home.write("studies/study/reporting.json", b'{"margin": 0.0')
    with pytest.raises(InvalidInput, match=r"reporting\.json must be whole .*; remove it: the next report is judged"):
        kept_reporting(home, "study")
    home.remove("studies/study/reporting.json")
    assert kept_reporting(home, "study") == Reporting()


def test_a_report_without_a_comparison_removes_that_of_an_earlier_one(make_study, tmp_path):
    home, factors = Home(tmp_path), list(map(parse_factor, ("strategy=rambo,random", "acquisition.budget=100,200")))
    whole = make_study(lambda cell, seed: 0.5 + 0.01 * seed, factors=factors, controls=(), seeds=range(2))
    write_report(whole, home, Reporting())
    home.write("studies/study/comparison/mine.txt", b"mine")
    assert len(home.list("studies/study/comparison")) == 13
    one = make_study(lambda cell, seed: 0.5, factors=factors, controls=(), seeds=[0])
    write_report(one, home, Reporting())
    assert home.list("studies/study/comparison") == ["mine.txt"]
    assert home.read("studies/study/comparison.md") is None
    assert home.read("studies/study/table.md") is not None
