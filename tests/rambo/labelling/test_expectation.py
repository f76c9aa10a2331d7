"""Strategies compared on labels at hand: folds, sizes, and what can be told."""

import numpy as np
import pytest
from scipy.stats import t

from rambo.data.dataset import Dataset
from rambo.errors import InvalidInput
from rambo.labelling.expectation import Expectation, planned
from rambo.labelling.own_pool import configuration


def pool(num_labelled=120, num=150, classes=3):
    labels = np.full(num, -1)
    labels[:num_labelled] = np.arange(num_labelled) % classes
    images = np.random.default_rng(0).integers(0, 256, (num, 1, 8, 8), dtype=np.uint8)
    return Dataset("own", images, labels, tuple("abc"[:classes]), np.empty(0, dtype=np.int64))


def expectation(accuracy):
    accuracy = np.array(accuracy)
    return Expectation(tuple("xyz"[: len(accuracy)]), accuracy, np.full(accuracy.shape[1], 0.5), 30, 20, 100)


def test_every_labelled_image_is_tested_on_once_and_no_other_is_there():
    dataset = pool()
    folds = planned(dataset, configuration(dataset, None, {}, 24), ["random", "margin", "rambo"])
    assert [len(fold) for fold in folds] == 5 * [3]
    tested = [fold[0].split.test for fold in folds]
    assert np.array_equal(np.sort(np.concatenate(tested)), np.arange(120))
    for fold in folds:
        assert len({one.split.seed_set.tobytes() for one in fold}) == 1, "strategies are compared from one start"
        assert all(one.dataset.is_labelled for one in fold)
        assert fold[0].config.acquisition.budget < len(fold[0].pool.unlabelled)
    assert len({fold[0].dataset.fingerprint for fold in folds}) == 5


def test_a_strategy_of_one_s_own_is_compared_and_one_that_must_know_the_labels_is_not(modules):
    modules.write("def pick(request):\n    return request.pool.unlabelled[: request.budget]\n")
    config = configuration(pool(), None, {}, 24)
    folds = planned(pool(), config, ["random", "mine:pick"])
    assert [one.config.strategy for one in folds[0]] == ["random", "mine:pick"]
    with pytest.raises(InvalidInput, match=r"--compare must name strategies among .*module:function, got oracle\."):
        planned(pool(), config, ["random", "oracle"])


def test_too_few_labels_and_strategies_that_are_none_are_refused():
    few = pool(30)
    with pytest.raises(InvalidInput, match=r"--compare must have at least 40 labelled images, got 30"):
        planned(few, configuration(few, None, {}, 6), ["random", "margin"])
    with pytest.raises(InvalidInput, match=r"--compare must name two or more different strategies"):
        planned(pool(), configuration(pool(), None, {}, 24), ["random"])


def test_intervals_are_students_widened_for_overlapping_folds():
    found = expectation([[0.8, 0.9, 0.8, 0.9, 0.85], [0.7, 0.8, 0.75, 0.8, 0.8]])
    difference = np.array([-0.1, -0.1, -0.05, -0.1, -0.05])
    reach = t.ppf(0.975, 4) * difference.std(ddof=1) * np.sqrt(1 / 5 + 1 / 4)
    text = found.table().rows[1]
    assert text[0] == "y"
    low, high = text[3].replace("−", "-").split(" to ")
    assert float(low) == pytest.approx(100 * (difference.mean() - reach), abs=0.006)
    assert float(high) == pytest.approx(100 * (difference.mean() + reach), abs=0.006)


def test_what_cannot_be_told_is_said():
    clear = expectation([[0.9] * 5, [0.7, 0.71, 0.7, 0.69, 0.7]])
    assert (
        clear.sentence() == "x does best here, +40.00 points above buying nothing, and better than each of the others."
    )
    alike = expectation([[0.9, 0.7, 0.9, 0.7, 0.8], [0.7, 0.9, 0.7, 0.9, 0.79]])
    assert alike.sentence().startswith("Which is best cannot be told from 100 labels. x does best here")
    mixed = expectation([[0.9, 0.7, 0.9, 0.7, 0.8], [0.7, 0.9, 0.7, 0.9, 0.79], [0.3, 0.1, 0.3, 0.1, 0.2]])
    assert mixed.sentence().endswith("that it is better than y cannot be told from 100 labels.")
