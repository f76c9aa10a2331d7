import numpy as np
import pytest

from rambo.strategies.temperature import (
    COLDEST,
    HOTTEST,
    NUM_FOLDS,
    cross_validated_temperature,
    fit_temperature,
    held_out_logits,
)


def generator(seed=0):
    return np.random.default_rng(seed)


def honest(num=6000, seed=0):
    """Logits (num, 4), and labels drawn from their softmax."""
    logits = generator(seed).normal(size=(num, 4)) * 2
    noise = generator(seed + 1).gumbel(size=logits.shape)
    return logits.astype(np.float32), (logits + noise).argmax(axis=1)


def negative_log_likelihood(logits, labels, temperature):
    odds = np.exp(logits.astype(np.float64) / temperature)
    return -np.mean(np.log(odds[np.arange(len(labels)), labels] / odds.sum(axis=1)))


@pytest.mark.parametrize("factor", [0.4, 1.0, 3.0])
def test_the_factor_by_which_f_is_too_sure_of_itself_is_found(factor):
    logits, labels = honest()
    assert fit_temperature(logits * np.float32(factor), labels) == pytest.approx(factor, rel=0.07)


def test_no_other_temperature_is_likelier():
    logits, labels = honest(num=50)
    found = fit_temperature(logits, labels)
    grid = np.geomspace(COLDEST, HOTTEST, 2000)
    best = min(negative_log_likelihood(logits, labels, one) for one in grid)
    assert negative_log_likelihood(logits, labels, found) <= best + 1e-6


def test_who_is_always_right_is_cold_and_who_is_always_wrong_hot():
    logits, _ = honest(num=50)
    assert fit_temperature(logits, logits.argmax(axis=1)) < 1.1 * COLDEST
    assert fit_temperature(logits, logits.argmin(axis=1)) > 0.9 * HOTTEST


class Learner:
    """A way to train f that notes what it is asked; logits of image i are row i of a table."""

    def __init__(self, table):
        self.table, self.asked = table, []

    def __call__(self, indices, labels, repeat):
        self.asked.append((indices, labels, repeat, []))
        return self

    def logits(self, indices):
        self.asked[-1][3].append(indices)
        return self.table[indices]


@pytest.mark.parametrize("num", [2, 3, 17, 60])
def test_each_image_is_judged_once_by_an_f_that_has_learned_all_but_its_fold(num):
    indices, table = np.arange(num) * 3 + 1, honest(num=200)[0]
    train = Learner(table)
    logits = held_out_logits(train, indices, indices + 1000, generator())
    assert np.array_equal(logits, table[indices]), "in the order of the images"
    assert len(train.asked) == min(num, NUM_FOLDS)
    judged = []
    for learned, labels, repeat, [fold] in train.asked:
        assert sorted([*learned, *fold]) == indices.tolist()
        assert (labels == learned + 1000).all()
        assert repeat == 0
        judged += fold.tolist()
    assert sorted(judged) == indices.tolist()


def test_folds_come_from_the_generator():
    def folds(seed):
        train = Learner(honest(num=60)[0])
        held_out_logits(train, np.arange(60), np.zeros(60, dtype=np.int64), generator(seed))
        return [one[3][0].tolist() for one in train.asked]

    assert folds(1) == folds(1) != folds(2)


def test_an_overconfident_f_is_found_by_what_it_says_of_images_it_has_not_seen():
    logits, labels = honest(num=2000)
    train = Learner(logits * np.float32(5))
    assert cross_validated_temperature(train, np.arange(2000), labels, generator()) == pytest.approx(5, rel=0.15)


def test_a_single_label_leaves_f_as_it_is():
    assert cross_validated_temperature(Learner(honest(num=9)[0]), np.array([4]), np.array([1]), generator()) == 1.0
