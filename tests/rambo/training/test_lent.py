import numpy as np
import pytest
import torch

from rambo.data.pool import HIDDEN
from rambo.home import Home
from rambo.progress import Progress
from rambo.randomness import derive
from rambo.store import Store
from rambo.training.lent import Measuring, Training
from rambo.training.measuring import Measurer
from rambo.training.trainer import SetSpec, Trainer
from rambo.utility.samples import train_seed

CPU = torch.device("cpu")


@pytest.fixture
def measurer(tmp_path):
    return Measurer(Store(Home(tmp_path)), CPU, Progress(quiet=True))


@pytest.fixture
def problem(prepared):
    return prepared.problem(prepared.pool)


def test_training_on_the_true_labels_is_the_training_there_is(prepared, problem, measurer):
    seed_set = prepared.split.seed_set
    lent = Training(problem, measurer, lambda repeat: train_seed(0, repeat))
    given = lent(seed_set, problem.labels[seed_set], 1)
    mine = Trainer(problem, CPU).fit(SetSpec(seed_set, train_seed(0, 1)))
    some = prepared.pool.unlabelled[:20]
    assert np.array_equal(given.probabilities(some), mine.probabilities(some))
    assert measurer.num_trainings == 1


def test_guessed_labels_are_what_it_trains_on(prepared, problem, measurer):
    images = prepared.pool.unlabelled[:60]
    lent = Training(problem, measurer, lambda repeat: train_seed(0, repeat))
    always_three = lent(images, np.full(60, 3), 0)
    assert (always_three.probabilities(prepared.pool.unlabelled[60:80]).argmax(axis=1) == 3).all()


def test_candidates_are_judged_by_seeds_of_their_own_and_means(prepared, problem, measurer):
    split = prepared.split
    batch = prepared.pool.unlabelled[:20]
    sets = [split.seed_set, np.concatenate([split.seed_set, batch])]
    measuring = Measuring(problem, measurer, lambda images, generator: split.labels[images], 5, 2)
    told = problem.labels.copy()
    told[batch] = split.labels[batch]
    from dataclasses import replace

    trainer = Trainer(replace(problem, labels=told), CPU)
    expected = [
        np.mean([trainer.train(SetSpec(images, derive(5, "oracle", repeat))).val_accuracy for repeat in range(2)])
        for images in sets
    ]
    assert measuring(sets).tolist() == pytest.approx(expected, abs=1e-12)


def test_labels_are_drawn_only_of_what_has_none(prepared, problem, measurer):
    asked = []

    def draw(images, generator):
        asked.append((images.tolist(), generator.random()))
        return np.zeros(len(images), dtype=np.int64)

    batch = prepared.pool.unlabelled[:3]
    measuring = Measuring(problem, measurer, draw, 5, 2)
    measuring([np.concatenate([prepared.split.seed_set, batch])])
    measuring([np.concatenate([prepared.split.seed_set, batch])])
    assert [images for images, _ in asked] == [batch.tolist()] * 4
    assert asked[0][1] != asked[1][1], "each repeat has labels of its own"
    assert asked[:2] == asked[2:], "and the same whoever asks"
    assert (problem.labels[batch] == HIDDEN).all()
