"""Every accuracy worked out anew: what does not follow from the store is named."""

import json

import numpy as np
import pytest
from falsified import digested, falsify, rewrite

from ablations.deep.accuracies import recompute
from ablations.deep.trainings import read_trials
from rambo.store import Store


def recomputed(plan, home, tmp_path):
    return recompute(read_trials(plan, home, tmp_path), Store(home, compact=False))[0]


def flipped(bits, number=8):
    """The first `number` images answered the other way."""
    changed = np.unpackbits(np.frombuffer(bits, dtype=np.uint8))
    changed[:number] ^= 1
    return np.packbits(changed).tobytes()


def share(bits, number=100):
    return float(np.unpackbits(np.frombuffer(bits, dtype=np.uint8), count=number).mean())


def key_of(plan, home, tmp_path, cell, what):
    """Of the first training of `what` on seed 0."""
    trials = {folder: trial for folder, trial, _ in read_trials(plan, home, tmp_path)}
    [one] = [one for one in trials[plan.folders[cell, 0]].judged if one.what == what]
    return one.problem.key(one.specs[0])


def test_what_nobody_has_touched_agrees(finished, tmp_path):
    found = recomputed(*finished, tmp_path)
    assert found.differences == []
    assert (found.num_trials, found.num_accuracies) == (3, 18)
    assert (len(found.held), found.absent, found.without_bits) == (16, set(), set()), "S_0 is trained once for all"
    store = Store(finished[1], compact=False)
    assert found.held | found.planned == store.known_measurements([*found.held, *found.planned])
    assert len(found.planned - found.held) == 43
    assert found.text == (
        "18 accuracies of 3 trials were worked out anew from the bits of 16 trainings in the store; 43 more, that û or "
        "a choice rests on, were held to their bits."
    )


@pytest.mark.parametrize(
    "field",
    [
        "test_accuracy",
        "val_accuracy",
        "base_test_accuracy",
        "base_val_accuracy",
        "test_accuracy_all",
        "base_test_accuracy_all",
    ],
)
def test_a_falsified_accuracy_of_a_result_is_named(copied, tmp_path, field):
    plan, home = copied
    folder = plan.folders["strategy=random", 0]
    kept = json.loads(home.read(f"{folder}/result.json"))[field]
    falsify(home, folder, **{field: kept + 0.005})
    [sentence] = recomputed(plan, home, tmp_path).differences
    assert sentence.startswith(f"strategy=random, seed 0: {field} is {kept + 0.005!r}, the store's trainings on S_")


def test_falsified_images_of_a_result_are_named_even_if_they_are_as_many(copied, tmp_path):
    plan, home = copied
    folder = plan.folders["strategy=random", 0]
    words = json.loads(home.read(f"{folder}/result.json"))["test_correct"].split()
    falsify(home, folder, test_correct=" ".join(reversed(words)))
    assert recomputed(plan, home, tmp_path).differences == [
        "strategy=random, seed 0: test_correct is not what the store's trainings got right."
    ]


@pytest.mark.parametrize("name", ["val", "test"])
def test_a_falsified_store_is_named_however_far_the_forger_went(copied, tmp_path, name):
    plan, home = copied
    key = key_of(plan, home, tmp_path, "strategy=random", "S_1")

    def forged(change):
        rewrite(home, lambda rows: [change(row) if row["key"] == key else row for row in rows])
        return recomputed(plan, home, tmp_path).differences

    bits, accuracy = f"{name}_correct", f"{name}_accuracy"
    sentences = forged(lambda row: {**row, bits: flipped(row[bits])})
    assert f"store: the measurement {key} has a {accuracy} that its bits do not give." in sentences
    sentences = forged(lambda row: {**row, accuracy: share(row[bits])})
    assert f"store: the measurement {key} is not what its digest was taken of." in sentences
    sentences = forged(digested)
    assert not any(sentence.startswith("store:") for sentence in sentences), "now the store agrees with itself"
    assert any(sentence.startswith(f"strategy=random, seed 0: {accuracy} is ") for sentence in sentences)


def test_bits_of_another_number_of_images_are_named(copied, tmp_path):
    plan, home = copied
    key = key_of(plan, home, tmp_path, "strategy=random", "S_1")
    rewrite(home, lambda rows: [{**r, "test_correct": b"\xff"} if r["key"] == key else r for r in rows])
    sentences = recomputed(plan, home, tmp_path).differences
    assert f"store: the measurement {key} has a test_accuracy that its bits do not give." in sentences


def test_what_the_store_does_not_hold_is_counted_and_no_difference(copied, tmp_path):
    plan, home = copied
    gone = key_of(plan, home, tmp_path, "strategy=random", "S_1")
    old = key_of(plan, home, tmp_path, "strategy=rambo", "S_1")
    rewrite(home, lambda rows: [r for r in rows if r["key"] != gone])
    rewrite(home, lambda rows: [{**r, "test_correct": None} if r["key"] == old else r for r in rows])
    found = recomputed(plan, home, tmp_path)
    assert found.differences == []
    assert (found.num_accuracies, found.held & {gone, old}, found.absent) == (16, {old}, {gone})
    assert found.without_bits == {old}
    assert "1 more trainings are not kept there" in found.text
    assert "1 have no bits of test images" in found.text


def test_a_damaged_file_of_the_store_is_named(copied, tmp_path):
    plan, home = copied
    name = home.list("store/measurements")[0]
    content = bytearray(home.read(f"store/measurements/{name}"))
    content[200] ^= 0xFF  # of the keys
    home.write(f"store/measurements/{name}", bytes(content))
    sentences = recomputed(plan, home, tmp_path).differences
    assert any("cannot be read" in sentence and name in sentence for sentence in sentences)


def test_a_falsified_measurement_that_only_u_has_learned_from_is_named(copied, tmp_path):
    plan, home = copied
    trials = {folder: trial for folder, trial, _ in read_trials(plan, home, tmp_path)}
    [pairs] = [one for one in trials[plan.folders["strategy=rambo", 0]].planned if one.what == "offline pairs"]
    key = pairs.problem.key(pairs.specs[0])
    rewrite(home, lambda rows: [{**r, "val_accuracy": 0.5001} if r["key"] == key else r for r in rows])
    assert recomputed(plan, home, tmp_path).differences == [
        f"store: the measurement {key} is not what its digest was taken of.",
        f"store: the measurement {key} has a val_accuracy that its bits do not give.",
    ]
