"""Settings that no preset uses, each run end to end in this process."""

import csv
import json
import shlex
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from rambo import drawing
from rambo.__main__ import main
from rambo.correctness import correct_share
from rambo.data.pool import reveal
from rambo.experiment import run
from rambo.fields import override
from rambo.preparation import prepare
from rambo.result import read_result
from rambo.store import Store
from rambo.training.trainer import SetSpec, Trainer
from rambo.utility.samples import train_seed


@pytest.mark.parametrize(
    "changes",
    [
        {"utility.label": "trained"},
        {"utility.label": "hybrid"},
        {"utility.num_audited": 0},
        {"utility_model.hypergradient": "cg"},
        {"utility_model.centre": False},
        {"offline.num_pairs": 0},
        {"acquisition.candidate_batches": "all"},
        {"data.label_noise": 0.2, "data.imbalance_classes": 0.3, "data.imbalance_fraction": 0.2},
        {"data.label_noise": 0.2, "data.label_noise_classes": 0.5},
        {"utility.size_law": "binomial", "utility_model.ot_unit": "raw", "utility_model.latent_ot": True},
        {"data.stratified": True, "strategy": "filtered_random"},
        {"classifier.name": "mnistnet", "strategy": "margin"},
        {"acquisition.scout": "seed_and_validation", "acquisition.num_scouts": 2, "evaluation.with_validation": True},
        {"acquisition.refit": "imagined", "acquisition.num_parts": 2},
        {"acquisition.rounds": 2},
        {"offline.structured": True},
        {"acquisition.scout": "seed_and_validation", "acquisition.rounds": 2, "strategy": "llal"},
    ],
)
def test_it_ends_in_a_result_that_reads_back(lab, tiny, changes):
    prepared = prepare(override(tiny, changes), lab.data_dir)
    result = run(prepared, lab)
    assert asdict(read_result(lab.home, prepared.folder)) == asdict(result)
    assert result.num_labelled == 100
    assert (result.pair_accuracy is None) == ("strategy" in changes)
    assert (result.label_agreement is None) == ("strategy" in changes or changes.get("utility.num_audited") == 0)


def test_accuracies_with_s_val_are_those_of_f_trained_on_it_too(lab, tiny):
    """By hand: means over R trainings on S_0, or on what was bought as well, and S_val each time."""
    prepared = prepare(override(tiny, {"strategy": "margin", "evaluation.with_validation": True}), lab.data_dir)
    result, split = run(prepared, lab), prepared.split
    lines = lab.home.read(f"{prepared.folder}/selected.csv").decode().splitlines()
    picked = np.array([int(row["index"]) for row in csv.DictReader(lines)])
    bought = reveal(prepared.pool, split, picked)
    trainer = Trainer(prepared.problem(bought), torch.device("cpu"))
    first, number = tiny.evaluation.first_repeat, tiny.evaluation.repeats
    for told, images in ((result.base_test_accuracy_all, split.seed_set), (result.test_accuracy_all, bought.labelled)):
        everyone = np.sort(np.concatenate([images, split.validation]))
        specs = [SetSpec(everyone, train_seed(0, repeat)) for repeat in range(first, first + number)]
        assert told == pytest.approx(np.mean([trainer.train(spec).test_accuracy for spec in specs]), abs=1e-12)


def test_which_test_images_were_right_stands_in_the_result(lab, tiny):
    result = run(prepare(override(tiny, {"strategy": "random"}), lab.data_dir), lab)
    assert (result.num_test, len(result.test_correct.split())) == (100, 2)
    assert correct_share(result.test_correct, 100).mean() == pytest.approx(result.test_accuracy, abs=1e-12)


def test_a_finished_experiment_is_read_and_nothing_is_done_again(lab, tiny, monkeypatch):
    prepared = prepare(override(tiny, {"strategy": "random"}), lab.data_dir)
    result = run(prepared, lab)

    def refuse(*given):
        raise AssertionError("a finished folder is written to")

    monkeypatch.setattr(lab.home, "write", refuse)
    assert run(prepared, lab) == result


def test_a_folder_has_a_result_only_once_it_has_all_but_its_pictures(lab, tiny, monkeypatch):
    prepared = prepare(override(tiny, {"strategy": "random", "seed": 3}), lab.data_dir)
    written, write = [], lab.home.write
    monkeypatch.setattr(lab.home, "write", lambda name, content: written.append(name) or write(name, content))
    run(prepared, lab)
    mine = [name.removeprefix(f"{prepared.folder}/") for name in written if name.startswith(prepared.folder)]
    assert sorted(mine[:-3]) == ["config.json", "environment.json", "metrics.jsonl", "selected.csv"]
    assert mine[-3:] == ["result.json", "figures/selected.png", "figures/selected.pdf"]


def test_a_picture_that_fails_takes_no_result_and_the_command_in_the_log_draws_it(
    lab, tiny, monkeypatch, caplog, capsys
):
    prepared = prepare(override(tiny, {"strategy": "random", "seed": 6}), lab.data_dir)
    with monkeypatch.context() as patched:
        patched.setattr(drawing, "png", lambda figure: 1 / 0)
        result = run(prepared, lab)
    assert asdict(read_result(lab.home, prepared.folder)) == asdict(result)
    assert lab.home.list(f"{prepared.folder}/figures") == []
    [said] = [record.getMessage() for record in caplog.records]
    assert said.startswith("figures/selected.png could not be drawn (ZeroDivisionError: division by zero); ")
    command = said.split("missing: ")[1].removesuffix(" draws it again.")
    assert command.startswith("python -m rambo ")
    main(shlex.split(command)[3:])
    assert capsys.readouterr().out.splitlines()[-1] == lab.home.path(prepared.folder)
    assert lab.home.list(f"{prepared.folder}/figures") == ["selected.pdf", "selected.png"]


def test_a_picture_that_cannot_be_kept_takes_no_result(lab, tiny, caplog):
    """Nor does a file, of those that pictures are drawn from, which somebody has damaged."""
    prepared = prepare(override(tiny, {"strategy": "random", "seed": 8}), lab.data_dir)
    result = run(prepared, lab)
    folder = Path(lab.home.path(prepared.folder))
    for name in ("selected.png", "selected.pdf"):
        (folder / "figures" / name).unlink()
    (folder / "figures").rmdir()
    (folder / "figures").write_text("no folder")
    assert run(prepared, lab) == result
    (folder / "figures").unlink()
    (folder / "selected.csv").write_text("spoilt\n1\n")
    assert run(prepared, lab) == result
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 2
    assert all("could not be drawn (" in line for line in said)


def test_a_result_that_is_worked_out_again_has_no_older_pictures(lab, tiny, monkeypatch):
    prepared = prepare(override(tiny, {"strategy": "random", "seed": 7}), lab.data_dir)
    run(prepared, lab)
    lab.home.remove(f"{prepared.folder}/result.json")
    monkeypatch.setattr(drawing, "png", lambda figure: 1 / 0)
    run(prepared, lab)
    assert lab.home.list(f"{prepared.folder}/figures") == []


def test_embeddings_have_no_picture_of_picks(lab, embedded):
    prepared = prepare(override(embedded, {"strategy": "margin"}), lab.data_dir)
    result = run(prepared, lab)
    assert lab.home.list(f"{prepared.folder}/figures") == []
    assert lab.home.read(f"{prepared.folder}/selected.csv")
    assert result.test_accuracy > result.base_test_accuracy > 0.5


def test_a_store_that_is_open_already_is_used(lab, tiny):
    """What it holds is not trained again; a run of its own would count the same."""
    store = Store(lab.home)
    first = run(prepare(override(tiny, {"strategy": "random", "seed": 4}), lab.data_dir), replace(lab, store=store))
    second = run(prepare(override(tiny, {"strategy": "margin", "seed": 4}), lab.data_dir), replace(lab, store=store))
    assert (first.trainings, second.trainings) == (4, 3), "R on S_0 and R on S_1; then the scout and R on S_1"
    assert (second.base_test_accuracy, second.base_val_accuracy) == (first.base_test_accuracy, first.base_val_accuracy)


def test_dulo_learns_from_what_was_measured_for_rambo(lab, tiny):
    """The same sets: only its picks are trained on; no OT, no bilevel fit, no ranking, whatever the switches say."""
    run(prepare(override(tiny, {"seed": 5}), lab.data_dir), lab)
    prepared = prepare(override(tiny, {"seed": 5, "strategy": "dulo"}), lab.data_dir)
    distances = lab.home.list("store/ot")
    result = run(prepared, lab)
    assert result.trainings == tiny.evaluation.repeats
    assert lab.home.list("store/ot") == distances
    described = json.loads(lab.home.read(f"{prepared.folder}/utility_model.json"))
    assert described["switches"] == {"bilevel": False, "ot": False, "ranknet": False}
    assert tiny.switches.bilevel
    assert tiny.switches.ot
    assert tiny.switches.ranknet


def test_dulo_s_û_is_rambo_s_with_every_component_off(lab, tiny):
    off = {f"switches.{name}": False for name in ("bilevel", "ot", "ranknet")}
    cells = [prepare(override(tiny, {"seed": 5, **changes}), lab.data_dir) for changes in ({"strategy": "dulo"}, off)]
    for cell in cells:
        run(cell, lab)
    dulo, plain = (lab.home.read(f"{cell.folder}/utility_model.safetensors") for cell in cells)
    assert dulo == plain
