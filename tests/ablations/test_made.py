"""What a report says of how its study was made."""

import shlex
from dataclasses import replace
from pathlib import Path

import pytest
from gaining_studies import noisy

from ablations.__main__ import read
from ablations.factors import make_grid, parse_factor, switches
from ablations.made import command, made_lines
from ablations.paper.asked import read_grid
from ablations.plans import existing_plan, read_study
from ablations.report import render
from ablations.study import Effort, Study
from rambo.fields import override
from rambo.home import Home
from rambo.presets import paper_mnist, quickstart
from rambo.strategies.facts import CONTROLS

KEPT = Path(__file__).parents[2] / "benchmarks/records/table4"


def made_of(base, factors=(), *, controls=CONTROLS, seeds=(0, 1, 2), design="factorial", name="quickstart"):
    parsed = [parse_factor(text) for text in factors] or switches()
    return Study(name, make_grid(base, parsed, controls=controls, seeds=seeds, design=design), {}, {})


STUDIES = [
    made_of(quickstart()),
    made_of(quickstart(), name="other", seeds=[0, 3, 4, 5]),
    made_of(quickstart(), ["acquisition.budget=50,100", "switches.ot"], controls=[]),
    made_of(quickstart(), ["strategy=rambo,random,badge"], controls=["margin"]),
    made_of(quickstart(), ["switches.ot", "utility_model.lambda_1=1e-3,1"], design="one-at-a-time"),
    made_of(override(paper_mnist(), {"data.source": "digits", "acquisition.budget": 100, "evaluation.repeats": 3})),
]


def recipe_of(*words):
    """The study that a recipe makes with these flags."""
    grid = read_grid(read(["run", *words]))
    return Study(words[0].partition("=")[2], grid, {}, {}, recipe=words[0].partition("=")[2])


RECIPES = [
    recipe_of("--recipe=table4", "--data.source=digits", "--acquisition.budget=100", "--seeds=0-1"),
    recipe_of("--recipe=fig2a", "--evaluation.repeats=1", "--factor=acquisition.budget=100,200"),
    recipe_of("--recipe=runtimes-svhn", "--controls=filtered_random"),
]


def test_the_command_of_a_recipe_leaves_what_stands_beside_the_paper():
    assert command(RECIPES[0]).startswith("python -m ablations run --recipe table4 --data.source digits ")
    other = replace(RECIPES[1], grid=replace(RECIPES[1].grid, factors=tuple(switches())))
    assert "--recipe" not in command(other), "whose factors would stand before these"


@pytest.mark.parametrize("study", [*STUDIES, *RECIPES], ids=command)
def test_the_command_asks_for_the_same_cells_and_seeds(study):
    words = shlex.split(command(study))
    asked = read_grid(read(words[3:]))
    assert (asked.cells, asked.seeds, asked.design) == (study.grid.cells, study.grid.seeds, study.grid.design)
    for cell in asked.cells:
        assert asked.config(cell, asked.seeds[0]) == study.grid.config(cell, asked.seeds[0])


def test_what_was_changed_of_the_preset_is_said_and_where_the_data_lay_is_not():
    base = override(paper_mnist(), {"data.source": "npz:/home/ann/mnist_10k.npz", "acquisition.budget": 300})
    first, *sizes, called = made_lines(made_of(base, ["acquisition.budget=300,500"], controls=[]))
    assert first == "Preset: paper_mnist, with data.source = npz:mnist_10k.npz."
    assert sizes == ["k, labels of the seed set: 200.", "B, labels bought: 300, 500.", "Classifier: lenet5."]
    assert "/home/ann" not in called
    files = {"utility_model.weights": "/home/ann/resnet18.pth", "data.labels": "/home/ann/labels.csv"}
    factor = "data.source=npz:/home/ann/a.npz,npz:/home/ann/b.npz"
    told = " ".join(made_lines(made_of(override(paper_mnist(), files), [factor], controls=[])))
    assert "--utility_model.weights resnet18.pth" in told
    assert "--factor data.source=npz:a.npz,npz:b.npz" in told


def test_machines_and_cost_are_those_of_the_trial_folders():
    home = Home(KEPT)
    study = read_study(existing_plan(home, "table4"), home)
    assert study.effort is not None
    assert study.effort.num_trials == len(set(existing_plan(home, "table4").folders.values()))
    lines = made_lines(study)
    assert "Machine: cpu, Linux-6.18.44-fc-v669-x86_64-with-glibc2.36, Python 3.11.7, torch 2.14.1." in lines
    [cost] = [line for line in lines if line.startswith("Cost: ")]
    assert f"for {study.effort.num_trials} trials" in cost
    assert made_lines(replace(study, effort=None)) == lines[:5]


def test_the_page_has_them(make_study):
    study = make_study(noisy, seeds=[0, 1])
    effort = Effort(("an <old> machine",), 7200.0, 22, 44)
    page = render(replace(study, effort=effort))["report.html"].decode()
    assert "Preset: paper_mnist." in page
    assert "Machine: an &lt;old&gt; machine." in page
    assert "Cost: 2.0 h of one process for 22 trials, and the 44 trainings" in page
