"""Which trainings stand behind a trial."""

import json
from dataclasses import replace

import numpy as np
import pytest

from ablations.deep.trainings import read_trials
from rambo.errors import InvalidInput
from rambo.fields import override
from rambo.formats import json_bytes
from rambo.store import Store


def found(plan, home, tmp_path, source=None):
    trials = read_trials(plan, home, tmp_path, source)
    return {folder: (trial, sentence) for folder, trial, sentence in trials}


def test_every_accuracys_trainings_are_named_by_the_keys_of_the_store(finished, tmp_path):
    plan, home = finished
    trials = found(plan, home, tmp_path)
    assert set(trials) == set(plan.folders.values())
    trial, sentence = trials[plan.folders["strategy=rambo", 0]]
    assert (trial.what, sentence) == ("strategy=rambo, seed 0", "")
    judged = list(trial.judged)
    assert [one.what for one in judged] == ["S_0", "S_0 and S_val", "S_1", "S_1 and S_val"]
    assert [len(one.specs[0].indices) for one in judged] == [60, 160, 100, 200]
    keys = {one.problem.key(spec) for one in (*judged, *trial.planned) for spec in one.specs}
    assert Store(home, compact=False).known_measurements(keys) == keys


def test_what_was_changed_beside_a_result_is_named(copied, tmp_path):
    plan, home = copied
    first, second, third = plan.folders.values()
    rows = home.read(f"{first}/selected.csv").decode().splitlines()
    place, index, iteration, label, score = rows[1].split(",")
    rows[1] = ",".join([place, index, iteration, str((int(label) + 1) % 10), score])
    home.write(f"{first}/selected.csv", "\n".join(rows).encode())
    config = json.loads(home.read(f"{second}/config.json"))
    config["acquisition"]["budget"] = 60
    home.write(f"{second}/config.json", json_bytes(config))
    home.remove(f"{third}/selected.csv")
    sentences = [sentence for _, sentence in found(plan, home, tmp_path).values()]
    assert sentences[0].endswith("selected.csv has labels that are not the data's.")
    assert "config.json is of " in sentences[1]
    assert sentences[2].endswith("selected.csv is missing.")
    home.write(f"{second}/config.json", b"{")
    home.write(f"{first}/selected.csv", "\n".join([*rows, rows[-1]]).encode())
    assert "config.json cannot be read" in found(plan, home, tmp_path)[second][1]
    assert "selected.csv cannot be bought again" in found(plan, home, tmp_path)[first][1]


def test_trials_without_a_result_are_passed_over(copied, tmp_path):
    plan, home = copied
    home.remove(f"{plan.folders['strategy=random', 0]}/result.json")
    assert len(found(plan, home, tmp_path)) == 2


def test_other_data_than_the_trials_are_refused(finished, tmp_path):
    plan, home = finished
    images = np.random.default_rng(0).integers(0, 256, (400, 8, 8), dtype=np.uint8)
    np.savez(tmp_path / "digits.npz", x=images, y=np.arange(400) % 10)
    with pytest.raises(InvalidInput, match=r"must be the data of the trials, .*; give --data.source"):
        found(plan, home, tmp_path, f"npz:{tmp_path}/digits.npz")


def test_a_folder_of_another_cell_is_named(copied, tmp_path):
    """Both of rambo, at another M: nothing else in the folders tells."""
    plan, home = copied
    base = override(plan.grid.base, {"acquisition.candidate_batches": 2})
    sentences = [one for _, one in found(replace(plan, grid=replace(plan.grid, base=base)), home, tmp_path).values()]
    assert sum("the plan's cell is" in one for one in sentences) == 1
    assert sentences[0].startswith("strategy=rambo, seed 0: the plan's cell is ")
