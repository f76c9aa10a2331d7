"""Sets trained anew."""

import json

import numpy as np
import pytest
import torch
from falsified import digested, falsify, rewrite

from ablations.deep.retraining import retrain, stated_error
from ablations.deep.trainings import read_trials
from rambo.errors import InvalidInput
from rambo.progress import Progress
from rambo.store import Store

CPU, EVERY = torch.device("cpu"), 10_000


def retrained(plan, home, tmp_path, number, seed=0):
    trials = [trial for _, trial, _ in read_trials(plan, home, tmp_path)]
    store = Store(home, compact=False)
    return retrain(trials, store, number, CPU, seed=seed, progress=Progress(quiet=True))


def forged(row):
    """A set of the store that agrees with itself, and is a little better than it was."""
    bits = np.unpackbits(np.frombuffer(row["val_correct"], dtype=np.uint8), count=100)
    wrong = np.flatnonzero(bits == 0)[:30]
    bits[wrong] = 1
    return digested({**row, "val_correct": np.packbits(bits).tobytes(), "val_accuracy": float(bits.mean())})


def made_on(home, rounding):
    rewrite(home, lambda rows: [{**row, "rounding": rounding} for row in rows])


def test_sets_are_drawn_by_the_seed_and_are_the_same_bit_by_bit(finished, tmp_path):
    plan, home = finished
    found = retrained(plan, home, tmp_path, 3)
    assert (found.differences, found.num_exact, found.num_near) == ((), 3, 0)
    assert found.num_sets == len(Store(home).measurements(list(all_keys(home))))
    assert found.text == f"3 of the {found.num_sets} sets in the store were trained anew; 3 bit by bit."


def all_keys(home):
    store = Store(home, compact=False)
    store.known_measurements([])
    return store._measurements._index


def test_a_store_that_agrees_with_itself_is_caught_by_training_anew(copied, tmp_path):
    """No accuracy rests on most of these sets, so nothing else could tell."""
    plan, home = copied
    rewrite(home, lambda rows: list(map(forged, rows)))
    found = retrained(plan, home, tmp_path, 3)
    assert len(found.differences) == 3
    assert all("answers validation images otherwise than a training anew" in one for one in found.differences)
    assert retrained(plan, home, tmp_path, 3) == found, "the same seed draws the same sets"
    assert retrained(plan, home, tmp_path, 3, seed=1) != found


def test_another_cpu_or_version_of_torch_is_given_the_stated_error(copied, tmp_path):
    plan, home = copied
    made_on(home, "torch 1.0, AVX512, another CPU")
    found = retrained(plan, home, tmp_path, 2)
    assert (found.differences, found.num_exact, found.num_near) == ((), 0, 2)
    assert "within 4 standard errors of a difference" in found.text
    rewrite(home, lambda rows: list(map(forged, rows)))
    [first, _] = retrained(plan, home, tmp_path, 2).differences
    assert "more than" in first
    assert "has a val_accuracy of" in first


def test_a_record_older_than_what_tells_its_cpu_may_agree_to_the_bit_and_need_not(copied, tmp_path):
    plan, home = copied
    made_on(home, None)
    found = retrained(plan, home, tmp_path, 2)
    assert (found.differences, found.num_exact, found.num_near) == ((), 2, 0)
    rewrite(home, lambda rows: [digested({**row, "epochs": row["epochs"] + 1}) for row in rows])
    found = retrained(plan, home, tmp_path, 2)
    assert (found.differences, found.num_exact, found.num_near) == ((), 0, 2)


def test_the_stated_error_is_that_of_two_independent_judgements():
    """Simulated: both judge 300 other images, each right in 80 %."""
    draws = np.random.default_rng(0).binomial(300, 0.8, (2, 20_000)) / 300
    assert stated_error(0.8, 300) == pytest.approx(4 * (draws[0] - draws[1]).std(), rel=0.02)
    assert stated_error(1.0, 100) > 0


def test_more_than_there_are_are_all_of_them_and_none_is_refused(copied, tmp_path):
    plan, home = copied
    with pytest.raises(InvalidInput, match="--retrain must be at least 1, got 0"):
        retrained(plan, home, tmp_path, 0)
    rewrite(home, lambda rows: rows[:2])
    assert retrained(plan, home, tmp_path, EVERY).num_exact == 2 + 6, "the latter from results"


def test_sets_that_the_store_has_lost_are_held_to_what_results_tell(copied, tmp_path):
    """A forger who falsifies a result takes its trainings out of the store."""
    plan, home = copied
    rewrite(home, lambda rows: rows[:0])
    found = retrained(plan, home, tmp_path, EVERY)
    assert (found.differences, found.num_sets, found.num_told, found.num_exact) == ((), 6, 6, 6)
    assert found.text.startswith("6 of the 6 sets in the store or, 6 of them, in results alone were trained anew")
    folder = plan.folders["strategy=random", 0]
    words = json.loads(home.read(f"{folder}/result.json"))["test_correct"].split()
    falsify(home, folder, test_correct=" ".join(reversed(words)))
    differences = retrained(plan, home, tmp_path, EVERY).differences
    assert len(differences) == 2
    assert all(one.startswith("strategy=random, seed 0: what the result tells of the training ") for one in differences)
    assert all(one.endswith("answers test images otherwise than a training anew.") for one in differences)
    for one in set(plan.folders.values()):
        falsify(home, one, test_correct=None)
    assert retrained(plan, home, tmp_path, 5).text.startswith("No set of the study is in the store or told of")
