"""Table 2 from kept bits: no trial, no set twice, and the whole S_val gives the measured accuracy."""

import csv
import re

import numpy as np
import pytest
from tiny_experiment import TINY_FLAGS

from ablations.__main__ import main
from ablations.paper.validation_sizes import utility_by_size
from rambo.errors import InvalidInput
from rambo.home import Home
from rambo.measurement import Measurement
from rambo.store import Store


def measurement(bits):
    return Measurement(float(np.mean(bits)), 0.5, np.packbits(bits).tobytes(), 1, 0.1, "cpu")


def test_smaller_sizes_are_nested_subsets_and_the_whole_is_the_accuracy():
    bits = np.random.default_rng(0).random((7, 20)) < 0.6
    found = utility_by_size([measurement(row) for row in bits], 20, (1, 19, 20), seed=3)
    assert found[2] == pytest.approx(bits.mean())
    one = found[0]
    left = 20 * found[2] - 19 * found[1]
    columns = bits.mean(axis=0)
    assert np.isclose(columns, one).any(), "a single image's share"
    assert np.isclose(columns, left).any(), "that of the image which comes last"
    with pytest.raises(InvalidInput, match=r"^\|S_val\| must be at most 20 here, got 21\.$"):
        utility_by_size([measurement(bits[0])], 20, (21,), seed=3)


def test_the_command_measures_what_is_missing_once_and_makes_no_trial(tmp_path, capsys):
    home = f"--home={tmp_path}"
    command = ["run", "--recipe=table2", "--source", "mnist=digits", *TINY_FLAGS, "--seeds=0,1", "--device=cpu", home]
    main([*command, "--plan"])
    assert "24 sets of 2 seeds; 24 trainings are missing" in capsys.readouterr().out
    main(command)
    table, store = tmp_path / "paper/table2/table.csv", Store(Home(tmp_path))
    rows = list(csv.DictReader(table.read_text().splitlines()))
    assert [(row["data"], row["num_validation"], row["n"]) for row in rows] == [
        ("mnist", n, "2") for n in ("50", "100")
    ]
    trained = (tmp_path / "store/ledger.jsonl").read_bytes()
    keys = [line.split('"')[3] for line in trained.decode().splitlines()]
    kept = store.measurements(keys)
    assert len(kept) == 24
    assert float(rows[1]["mean"]) == pytest.approx(np.mean([one.val_accuracy for one in kept.values()]))
    before, note = table.read_bytes(), (tmp_path / "paper/table2/table.md").read_text()
    assert "each of 12 random subsets" in note
    assert re.search(r"MNIST: digits-[0-9a-f]{12}, k = 60, smallnet, seeds 0–1\.", note)
    main(command)
    assert (table.read_bytes(), (tmp_path / "store/ledger.jsonl").read_bytes()) == (before, trained)
    assert not (tmp_path / "trials").exists()
    assert "24 sets of 2 seeds" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--data.source=digits"], r"^--data\.source must be for one data set, got table2;"),
        (["--source", "digits"], "^--source must name data sets of table2, cifar10, "),
        (["--source", "mnist=digits", "--data.num_validation=20"], "^data.num_validation must be at least 50 here"),
        (
            ["--source", "mnist=digits", "--max-trainings=3", "--controls=none"],
            "^--recipe table2 must stand without --controls, --max-trainings: it has no trials",
        ),
        (["--source", "mnist=digits", "--strategy=margin", "--plan"], "learns û, got --strategy margin and --offline"),
        (["--source", "mnist=digits", "--offline.num_pairs=0"], "got --strategy rambo and --offline.num_pairs 0;"),
        (["--source", "mnist=digits", "--seeds="], "^Seeds must be whole numbers"),
    ],
)
def test_what_does_not_fit_is_refused(words, sentence, tmp_path):
    with pytest.raises(InvalidInput, match=sentence):
        main(["run", "--recipe=table2", *TINY_FLAGS, "--seeds=0", *words, "--device=cpu", f"--home={tmp_path}"])
    assert not (tmp_path / "store").exists()
