"""Names of the paper from the command line to tables, at sizes that end in seconds."""

import csv
import json

import pytest
from here import run_here
from tiny_experiment import TINY_FLAGS

SMALL = [*TINY_FLAGS, "--seeds=0,1", "--device=cpu", "--home=home", "--evaluation.repeats=1"]
STRATEGIES = "--factor=strategy=rambo,random"


@pytest.mark.long
def test_budgets_and_seed_labels_of_the_paper_s_figures_run_to_their_comparisons(tmp_path):
    def ablations(*words):
        answer = run_here("ablations", *words, cwd=tmp_path)
        assert answer.returncode == 0, answer.stderr
        return answer.stdout

    budgets = ["--data.source=digits", "--factor=acquisition.budget=40,60"]
    ablations("run", "--recipe=fig2a", STRATEGIES, *budgets, *SMALL)
    study = tmp_path / "home/studies/fig2a"
    assert json.loads((study / "plan.json").read_text())["recipe"] == "fig2a"
    rows = list(csv.DictReader((study / "comparison/curves.csv").open()))
    assert {row["method"] for row in rows} == {"rambo", "random", "scout_margin"}
    assert not (study / "paper.md").exists(), "the paper prints no numbers of it"
    seed_labels = ["--factor=data.num_seed_labels=40,60", "--data.stratified=on"]
    ended = ablations("run", "--recipe=fig7", "--source", "mnist=digits", STRATEGIES, *seed_labels, *SMALL, "--seeds=0")
    assert "6 trials were run now." in ended
    assert sorted(path.name for path in (tmp_path / "home/studies").iterdir()) == ["fig2a", "fig7-mnist"]
