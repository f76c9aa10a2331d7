"""The real command line, in processes of its own."""

import csv
import io
import json
import os
import subprocess
import sys
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from here import run_here, sentences
from PIL import Image
from safetensors.torch import load_file
from tiny_experiment import TINY_FLAGS

from rambo.utility.deep_sets import SetUtilityModel

PICTURES = ("selected", "score_against_utility", "ot_distance", "fits")


def in_a_process(*flags, cwd):
    command = [sys.executable, "-m", "rambo", *flags]
    environment = {**os.environ, "PYTHONWARNINGS": "error:::rambo"}
    answer = subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=environment, timeout=280)
    assert answer.returncode == 0, answer.stderr
    return answer


def rambo(*flags, cwd, check=True):
    answer = run_here("rambo", *flags, cwd=cwd)
    assert not check or answer.returncode == 0, answer.stderr
    return answer


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished tiny run: its folder, its home and what it printed."""
    root = tmp_path_factory.mktemp("finished")
    answer = in_a_process(*TINY_FLAGS, "--home", "home", cwd=root)
    return Path(answer.stdout.splitlines()[-1]), root, answer


def test_a_run_leaves_everything_that_the_contract_names(finished):
    folder, root, answer = finished
    assert folder.is_relative_to(root / "home" / "trials")
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert names == {
        "config.json",
        "environment.json",
        "metrics.jsonl",
        "result.json",
        "selected.csv",
        "held_out.csv",
        "utility_model.safetensors",
        "utility_model.json",
        *(f"figures/{name}.{kind}" for name in PICTURES for kind in ("png", "pdf")),
    }
    result = json.loads((folder / "result.json").read_text())
    assert result["num_labelled"] == 100
    assert 0 < result["test_accuracy"] < 1
    assert result["trainings"] > 30
    assert f"{100 * result['test_accuracy']:.1f} %" in answer.stdout


def test_figures_are_pictures(finished):
    folder, _, _ = finished
    for path in (folder / "figures").glob("*.png"):
        pixels = np.asarray(Image.open(path).convert("L"))
        assert min(pixels.shape) > 100
        assert pixels.std() > 5, f"{path.name} is blank"


def test_picks_are_the_budget_of_labelled_pool_images(finished):
    rows = list(csv.DictReader(io.StringIO((finished[0] / "selected.csv").read_text())))
    assert len({row["index"] for row in rows}) == len(rows) == 40
    assert {row["iteration"] for row in rows} == {"0", "1"}
    assert all(0 <= int(row["label"]) < 10 and float(row["score"]) < 1e6 for row in rows)


def test_the_learned_model_loads_again(finished):
    model = SetUtilityModel.from_description(json.loads((finished[0] / "utility_model.json").read_text()))
    model.load_state_dict(load_file(finished[0] / "utility_model.safetensors"))
    assert len(list(model.parameters())) > 0


def test_the_second_run_does_nothing_and_prints_the_same(finished):
    _, root, answer = finished
    before = {path: path.stat().st_mtime_ns for path in (root / "home").rglob("*") if path.is_file()}
    again = rambo(*TINY_FLAGS, "--home", "home", cwd=root)
    assert again.stdout == answer.stdout
    assert before == {path: path.stat().st_mtime_ns for path in (root / "home").rglob("*") if path.is_file()}


def test_the_same_seed_in_another_process_gives_the_same_bytes(finished, tmp_path):
    other = in_a_process(*TINY_FLAGS, "--home", "home", cwd=tmp_path)
    folder = Path(other.stdout.splitlines()[-1])
    for name in ("selected.csv", "held_out.csv", "metrics.jsonl", "utility_model.safetensors"):
        assert (folder / name).read_bytes() == (finished[0] / name).read_bytes(), name


def test_a_run_that_lost_its_result_trains_nothing_anew(finished, tmp_path):
    import shutil

    shutil.copytree(finished[1] / "home", tmp_path / "home")
    folder = tmp_path / "home" / finished[0].relative_to(finished[1] / "home")
    (folder / "result.json").unlink()
    rambo(*TINY_FLAGS, "--home", "home", cwd=tmp_path)
    assert json.loads((folder / "result.json").read_text())["trainings"] == 0
    assert (folder / "selected.csv").read_bytes() == (finished[0] / "selected.csv").read_bytes()


def test_the_plan_counts_what_is_missing_and_trains_nothing(finished, tmp_path):
    plan = rambo(*TINY_FLAGS, "--home", "home", "--plan", cwd=tmp_path)
    assert "trainings known in advance are missing" in plan.stdout
    assert not (tmp_path / "home").exists()
    done = rambo(*TINY_FLAGS, "--home", "home", "--plan", cwd=finished[1])
    assert done.stdout.splitlines()[-1].startswith("0 trainings known in advance are missing")


def test_the_eight_combinations_of_switches_and_the_controls(tmp_path):
    folders = set()
    for bilevel, ot, ranknet in product(("on", "off"), repeat=3):
        switches = [f"--switches.bilevel={bilevel}", f"--switches.ot={ot}", f"--switches.ranknet={ranknet}"]
        answer = rambo(*TINY_FLAGS, *switches, "--home", "home", cwd=tmp_path)
        folder = Path(answer.stdout.splitlines()[-1])
        folders.add(folder)
        result = json.loads((folder / "result.json").read_text())
        assert 0 <= result["pair_accuracy"] <= 1
        assert (folder / "figures" / "ot_distance.png").exists() == (ot == "on")
        assert ("lambda/" in (folder / "metrics.jsonl").read_text()) == (bilevel == "on")
        if len(folders) > 1:
            assert result["trainings"] <= 2, "all cells share the store; only the final trainings are their own"
    assert len(folders) == 8


def test_several_strategies_and_seeds_end_in_a_table(tmp_path):
    flags = ["--strategy", "random,margin,filtered_random", "--seed", "0-1", "--home", "home"]
    answer = rambo(*TINY_FLAGS, *flags, cwd=tmp_path)
    assert "Test accuracy over 2 seeds, mean ± standard error" in answer.stdout
    assert answer.stdout.count("seed 1:") == 3
    for strategy in ("random", "margin", "filtered_random"):
        assert any(line.startswith(f"{strategy} ") for line in answer.stdout.splitlines())


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        ([], "Either --preset or --config must say what to run"),
        (["--preset", "nope"], "--preset must be one of quickstart"),
        (["--preset", "quickstart", "--data.source", "imagenet"], "imagenet"),
        (["--preset", "quickstart", "--acquisition.bugdet", "3"], "did you mean --acquisition.budget?"),
        (["--preset", "quickstart", "--acquisition.budget", "lots"], "acquisition.budget must be int, got 'lots'"),
        (["--preset", "quickstart", "--data.source", "npz:none.npz"], "none.npz"),
        (["--preset", "quickstart", "--config", "none.json"], "--config must name a file that exists"),
        (["--preset", "quickstart", "--acquisition.budget", "100000"], "acquisition.budget (B) must be at most the"),
        (["--preset", "quickstart", "--data.num_seed_labels", "1500", "--strategy", "random"], "must leave a pool"),
        (["--preset", "quickstart", "--acquisition.batch_size", "30"], "must divide acquisition.budget"),
        (["--preset", "quickstart", "--acquisition.batch_size", "10"], "1 to 8 pretraining iterations, got 9"),
        (["--preset", "quickstart", "--data.num_seed_labels", "110"], "at least 2 labels a class"),
        (["--preset", "quickstart", "--data.num_seed_labels", "10", "--strategy", "margin"], "must hold every class"),
        (["--preset", "quickstart", "--classifier.name", "lenet5"], "classifier.name = lenet5 needs square images"),
        (["--preset", "quickstart", "--seed", "3-1"], "Seeds must be whole numbers and ranges"),
        (["--preset", "quickstart", "--home", "/proc/none"], "--home must be a folder that can be written"),
        (["--preset", "quickstart", "--device", "cuda"], "--device must be cpu or auto where there is no GPU"),
        (["--preset", "paper_mnist"], "MNIST"),
    ],
)
def test_bad_input_is_one_sentence_before_any_training(tmp_path, flags, sentence):
    answer = rambo(*flags, cwd=tmp_path, check=False)
    assert answer.returncode == 2
    lines = sentences(answer.stderr)
    assert len(lines) == 1, answer.stderr
    assert lines[0].startswith("rambo: ")
    assert sentence in lines[0]
    assert not list(tmp_path.rglob("*.parquet"))


def test_help_teaches_every_field(tmp_path):
    text = rambo("--help", cwd=tmp_path).stdout
    for word in (
        "python -m rambo --preset quickstart",
        "--utility_model.lambda_ot",
        "λ_OT, weight of the OT",
        "--plan",
    ):
        assert word in text


def test_colour_images_through_frozen_features_and_a_weights_file(tmp_path):
    """A.2's path: weights from a file, features computed once, the ground cost of OT in their space."""
    import torch
    from torchvision.models import resnet18

    generator = np.random.default_rng(0)
    labels = np.arange(240) % 3
    prototypes = generator.integers(0, 256, (3, 16, 16, 3))
    noise = generator.integers(-60, 60, (240, 16, 16, 3))
    images = np.clip(prototypes[labels] + noise, 0, 255).astype(np.uint8)
    np.savez(tmp_path / "colour.npz", x=images, y=labels)
    torch.manual_seed(0)
    torch.save(resnet18().state_dict(), tmp_path / "weights.pth")
    flags = [
        "--data.source=npz:colour.npz",
        "--classifier.name=lenet5",
        "--utility_model.extractor=resnet18",
        "--utility_model.weights=weights.pth",
        "--data.num_validation=60",
        "--data.num_test=60",
    ]
    answer = rambo(*TINY_FLAGS, *flags, "--home", "home", cwd=tmp_path)
    folder = Path(answer.stdout.splitlines()[-1])
    model = json.loads((folder / "utility_model.json").read_text())
    assert model["input_shape"] == [512]
    assert len(list((tmp_path / "data" / "features").glob("*.npy"))) == 1


def test_what_was_run_before_final_trainings_had_seeds_of_their_own_is_run_alike(tmp_path):
    """The folder and the figures of the tiny run as they were before `evaluation.first_repeat`."""
    answer = rambo(*TINY_FLAGS, "--evaluation.first_repeat=0", "--home", "home", cwd=tmp_path)
    folder = Path(answer.stdout.splitlines()[-1])
    result = json.loads((folder / "result.json").read_text())
    assert folder.relative_to(tmp_path / "home").as_posix() == "trials/digits-e103a32d4703/89c499951ff9e1c3/0"
    assert (result["trainings"], result["num_labelled"]) == (46, 100)
    assert result["test_accuracy"] == pytest.approx(0.165, abs=0.02)
    assert result["base_val_accuracy"] == pytest.approx(0.19, abs=0.02)


def test_golden_metrics_of_the_tiny_run(finished):
    """Guards refactorings. Where it fails on purpose, say in the commit why results have changed."""
    folder = finished[0]
    result = json.loads((folder / "result.json").read_text())
    assert folder.relative_to(finished[1] / "home").as_posix() == "trials/digits-e103a32d4703/c418aa3299721d62/0"
    assert (result["trainings"], result["num_labelled"]) == (47, 100)
    assert result["test_accuracy"] == pytest.approx(0.095, abs=0.02)
    assert result["base_val_accuracy"] == pytest.approx(0.22, abs=0.02)
    rows = list(csv.DictReader(io.StringIO((folder / "selected.csv").read_text())))
    assert [int(row["index"]) for row in rows[:4]] == [1002, 1470, 1316, 1221]
    metrics = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert metrics[-1] == {"stage": "pretraining 2", "step": 9, "skipped_hypergradients": 0.0}
    assert metrics[-2]["outer_loss"] == pytest.approx(0.7196, abs=0.01)
    assert metrics[-2]["lambda/model.extractor.conv1.weight"] == pytest.approx(-6.7160, abs=0.02)
