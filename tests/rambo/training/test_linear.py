"""The linear classifier in an experiment: many sets at once are measured as each alone."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from rambo.data.pool import HIDDEN
from rambo.errors import InvalidInput
from rambo.sections import Training
from rambo.training import linear
from rambo.training.linear import LinearTrainer
from rambo.training.measuring import trained
from rambo.training.trainer import SetSpec, Trainer

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def problem(prepared):
    return replace(prepared.problem(prepared.pool), classifier="linear")


@pytest.fixture(scope="module")
def specs(prepared):
    generator, seed_set = np.random.default_rng(0), prepared.split.seed_set
    return [SetSpec(generator.choice(seed_set, size, replace=False), size) for size in [5, 60, 30, 31, 30, 12, 30]]


def digests(measured):
    return [(spec, one.digest, one.test_correct) for spec, one in measured]


def test_sets_are_measured_as_each_alone_whatever_is_taken_up_together(problem, specs, monkeypatch):
    trainer = Trainer(problem, CPU)
    alone = digests((spec, trainer.train(spec)) for spec in specs)
    for number in (1, 3, 128):
        monkeypatch.setattr(linear, "TAKEN_AT_ONCE", number)
        assert digests(LinearTrainer(problem, CPU).train(specs)) == alone
    assert digests(trained(problem, specs, CPU)) == alone


def test_number_of_threads_seed_and_training_settings_change_nothing(problem, specs):
    before = torch.get_num_threads()
    expected = digests(LinearTrainer(problem, CPU).train(specs))
    torch.set_num_threads(2)
    try:
        other = replace(problem, training=Training(learning_rate=1.0, batch_size=3, max_epochs=1))
        reseeded = [SetSpec(spec.indices, 99) for spec in specs]
        again = digests(LinearTrainer(other, CPU).train(reseeded))
    finally:
        torch.set_num_threads(before)
    assert [rest for _, *rest in again] == [rest for _, *rest in expected]
    assert [other.key(spec) for spec in specs] == [problem.key(spec) for spec in specs]
    assert other.key(reseeded[0]) != problem.key(specs[0]), "keys hold the seed all the same"


def test_accuracies_are_those_of_scikit_learn(problem, specs):
    """Of the same objective within an image of a hundred, which the tolerances leave; with a free bias in the mean."""

    def rows(indices):
        return np.c_[problem.tensor(indices, CPU).flatten(1).numpy(), np.ones(len(indices))]

    def scores(model, width):
        test, truth = rows(problem.test)[:, :width], problem.labels[problem.test]
        learned = ((rows(spec.indices)[:, :width], problem.labels[spec.indices]) for spec in specs)
        return [model.fit(*one).score(test, truth) for one in learned]

    found = [one.test_accuracy for _, one in LinearTrainer(problem, CPU).train(specs)]
    assert found == pytest.approx(scores(LogisticRegression(fit_intercept=False), 65), abs=0.011)
    assert np.mean(found) == pytest.approx(np.mean(scores(LogisticRegression(), 64)), abs=0.011)


def test_a_fitted_one_predicts_as_it_was_measured_and_comes_back_from_its_weights(problem, specs):
    fitted = Trainer(problem, CPU).fit(specs[1])
    predicted = fitted.logits(problem.test).argmax(axis=1) == problem.labels[problem.test]
    assert predicted.mean() == fitted.measurement.test_accuracy
    assert np.array_equal(fitted.features(problem.test), problem.tensor(problem.test, CPU).flatten(1))
    assert fitted.measurement.epochs == 1


def test_a_hidden_label_is_refused(problem, prepared):
    hidden = SetSpec(prepared.pool.unlabelled[:3], 0)
    assert (problem.labels[hidden.indices] == HIDDEN).all()
    with pytest.raises(InvalidInput, match="must be labelled, got a hidden label"):
        list(LinearTrainer(problem, CPU).train([hidden]))
