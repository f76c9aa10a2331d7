import csv
import io
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from made import made_control, made_held_out, made_result

from rambo import result
from rambo.data.pool import reveal
from rambo.errors import InvalidInput
from rambo.home import Home
from rambo.result import (
    environment,
    held_out_csv,
    read_held_out,
    read_picks,
    read_result,
    result_json,
    selected_csv,
)
from rambo.strategies.request import Selection
from rambo.training.trainer import TRAINING_VERSION


def rows(content):
    return list(csv.reader(io.StringIO(content.decode())))


def test_a_result_reads_back_as_it_was_written(tmp_path):
    home = Home(tmp_path)
    assert read_result(home, "trials/none") is None
    for name, kept in (("learned", made_result(test_accuracy=1 / 3)), ("control", made_control(seed=4))):
        home.write(f"{name}/result.json", result_json(kept))
        assert read_result(home, name) == kept


@pytest.mark.parametrize("damage", ["empty", "cut", "list", "other", "null", "text"])
def test_a_damaged_result_is_one_sentence_whose_advice_works(tmp_path, damage):
    home, whole = Home(tmp_path), result_json(made_result(test_accuracy=0.5))
    other = {"null": b"null", "text": b'"half"'}.get(damage, b"0.5")
    damaged = {"empty": b"", "cut": whole[:-40], "list": b"[]", "other": b'{"accuracy": 1}'}
    home.write("t/result.json", damaged.get(damage, whole.replace(b'test_accuracy": 0.5', b'test_accuracy": ' + other)))
    with pytest.raises(InvalidInput) as caught:
        read_result(home, "t")
    assert str(caught.value).startswith(f"{tmp_path}/t/result.json must be whole and as this version writes it, got: ")
    assert str(caught.value).endswith("; remove it: the command that made it works it out again from the store.")
    home.remove("t/result.json")
    assert read_result(home, "t") is None


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"label_agreement": "half"}, "label_agreement is 'half', no float | None"),
        ({"seed": 1.5}, "seed is 1.5, no int"),
        ({"test_accuracy": True}, "test_accuracy is True, no number"),
        ({"training_seconds": {"f on S_0": None}}, "training_seconds is {'f on S_0': None}, no dict"),
        ({"saw_validation": 1}, "saw_validation is 1, no bool | None"),
    ],
)
def test_a_value_of_another_type_is_damage_too(tmp_path, changes, said):
    home = Home(tmp_path)
    content = json.loads(result_json(made_result(test_accuracy=1.0)))
    home.write("t/result.json", json.dumps({**content, "test_accuracy": 1}).encode())
    assert read_result(home, "t").test_accuracy == 1
    home.write("t/result.json", json.dumps({**content, **changes}).encode())
    with pytest.raises(InvalidInput, match="must be whole and as this version writes it, got: ") as caught:
        read_result(home, "t")
    assert said in str(caught.value)


def test_a_result_is_json_with_null_where_nothing_was_learned():
    read = json.loads(result_json(made_control()))
    assert (read["pair_accuracy"], read["pair_ceiling"], read["label_agreement"]) == (None, None, None)
    assert read["seconds"] == {"seed_set": 1.25, "utility_model": 2.0}


def test_picks_are_listed_in_order_with_the_labels_that_were_bought(prepared):
    picks = prepared.pool.unlabelled[[5, 2, 9]]
    after = reveal(prepared.pool, prepared.split, picks)
    scored = Selection(picks, np.array([0, 0, 1]), np.array([0.1, 1 / 3, np.nan]))
    header, *table = rows(selected_csv(scored, after))
    assert header == ["place", "index", "iteration", "label", "score"]
    assert [int(row[0]) for row in table] == [0, 1, 2]
    assert [int(row[1]) for row in table] == picks.tolist()
    assert [int(row[2]) for row in table] == [0, 0, 1]
    assert [int(row[3]) for row in table] == prepared.split.labels[picks].tolist()
    assert [float(row[4]) for row in table[:2]] == [0.1, 1 / 3], "to the bit"
    assert table[2][4] == ""


def test_several_rounds_have_a_column(prepared):
    picks = prepared.pool.unlabelled[[5, 2]]
    after = reveal(reveal(prepared.pool, prepared.split, picks[:1]), prepared.split, picks[1:])
    header, *table = rows(selected_csv(Selection(picks, np.array([0, 1]), np.full(2, np.nan)), after))
    assert header[-1] == "round"
    assert [row[-1] for row in table] == ["1", "2"]


def test_files_have_a_column_where_there_are_any(prepared):
    """In UTF-8, whatever bytes a name has."""
    picks = prepared.pool.unlabelled[[5, 2]]
    after = reveal(prepared.pool, prepared.split, picks)
    files = [f"caf\udce9/{index}, ü.png" for index in range(len(prepared.dataset.labels))]
    header, *table = rows(selected_csv(Selection.at_once(picks), after, files))
    assert header[-1] == "file"
    assert [row[-1] for row in table] == [f"caf\\udce9/{index}, ü.png" for index in picks]


def test_picks_and_held_out_sets_read_back_as_they_were_written(prepared, tmp_path):
    home, picks = Home(tmp_path), prepared.pool.unlabelled[[5, 2]]
    assert read_picks(home, "run") is None
    home.write("run/selected.csv", selected_csv(Selection.at_once(picks), prepared.pool))
    indices, labels = read_picks(home, "run")
    assert indices.tolist() == picks.tolist()
    assert labels.tolist() == prepared.pool.labels[picks].tolist()
    for ot in (True, False):
        kept, result = (
            made_held_out(ot=ot),
            made_result(repeat_agreement=0.82, num_ceiling_pairs=3, pair_accuracy=2 / 3),
        )
        home.write("run/result.json", result_json(result))
        home.write("run/held_out.csv", held_out_csv(kept))
        read = read_held_out(home, "run")
        for name, value in vars(kept).items():
            assert np.array_equal(getattr(read, name), value), name


def test_held_out_sets_have_a_row_each_to_the_bit():
    held_out = made_held_out()
    header, *table = rows(held_out_csv(replace(held_out, scores=held_out.scores / 3)))
    assert header == ["pair", "member", "score", "utility", "predicted_ot", "ot"]
    assert [(int(row[0]), int(row[1])) for row in table] == [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (2, 1)]
    columns = np.array([[float(value) for value in row[2:]] for row in table]).T.reshape(4, 3, 2)
    expected = (held_out.scores / 3, held_out.utility, held_out.predicted_ot, held_out.ot)
    assert np.array_equal(columns, np.array(expected))


def test_held_out_sets_have_no_distance_where_the_component_is_off():
    _, *table = rows(held_out_csv(made_held_out(ot=False)))
    assert {tuple(row[4:]) for row in table} == {("", "")}


def test_the_environment_names_what_a_result_was_worked_out_with():
    found = environment(torch.device("cpu"))
    assert (found["device"], found["training_version"]) == ("cpu", TRAINING_VERSION)
    assert torch.__version__.startswith(found["packages"]["torch"].split("+")[0])
    assert found["packages"]["numpy"] == np.__version__
    assert json.loads(json.dumps(found)) == found


def test_outside_a_checkout_the_commit_is_what_the_environment_says(tmp_path, monkeypatch):
    """As in a submitted job, whose code is a copy without its history."""
    monkeypatch.setattr(result, "__file__", str(tmp_path / "result.py"))
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    for said, expected in (("abc123", "abc123"), ("", None)):
        monkeypatch.setenv("RAMBO_COMMIT", said)
        assert result.commit.__wrapped__() == expected
