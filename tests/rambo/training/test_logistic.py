"""Logistic regression: scikit-learn finds the same minimum, and company changes nothing."""

import numpy as np
import pytest
import torch
from scipy.optimize import approx_fprime
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from rambo.training import logistic
from rambo.training.logistic import classes_of, minimise


@pytest.fixture(scope="module")
def digits():
    pixels, labels = load_digits(return_X_y=True)
    spread = pixels.std(axis=0)
    normalised = (pixels - pixels.mean(axis=0)) / np.where(spread > 0, spread, 1)
    return torch.from_numpy(normalised).float(), torch.from_numpy(labels).long()


def sets_of(sizes, most=400):
    generator = np.random.default_rng(0)
    return [torch.from_numpy(np.sort(generator.choice(most, size, replace=False))) for size in sizes]


def loss_of(weights, inputs, labels):
    """L by its definition, in double precision."""
    logits = np.c_[inputs, np.ones(len(inputs))] @ weights.reshape(labels.max() + 1, -1).T
    largest = logits.max(axis=1)
    likelihood = logits[np.arange(len(labels)), labels] - largest - np.log(np.exp(logits.T - largest).sum(axis=0))
    return (weights**2).sum() / 2 - likelihood.sum()


def test_the_minimum_is_that_of_scikit_learn_with_the_bias_as_a_weight(digits, monkeypatch):
    monkeypatch.setattr(logistic, "TOLERANCE", 1e-6)
    inputs, labels = digits
    [rows] = sets_of([150])
    [found] = minimise(inputs, labels, [rows], 10)
    with_one = np.c_[inputs[rows].double(), np.ones(150)]
    reference = LogisticRegression(fit_intercept=False, tol=1e-10, max_iter=10_000).fit(with_one, labels[rows])
    np.testing.assert_allclose(found, reference.coef_, atol=1e-3)


def test_the_search_ends_where_it_says(digits):
    """The gradient by finite differences of the loss as it is written, beside that at zero."""
    inputs, labels = (one[torch.arange(40)] for one in (digits[0][:, 20:25], digits[1] % 3))
    [found] = minimise(inputs, labels, [torch.arange(40)], 3)

    def slope(at):
        return np.linalg.norm(approx_fprime(at, lambda weights: loss_of(weights, inputs.numpy(), labels.numpy()), 1e-6))

    assert slope(found.double().numpy().ravel()) <= 2 * logistic.TOLERANCE * slope(np.zeros(18))


def test_company_and_order_change_no_bit(digits):
    inputs, labels = digits
    sets = sets_of([1, 7, 8, 60, 61, 64, 200, 200, 200, 9, 200])
    together = minimise(inputs, labels, sets, 10)
    backwards = minimise(inputs, labels, sets[::-1], 10).flip(0)
    alone = torch.cat([minimise(inputs, labels, [rows], 10) for rows in sets])
    elsewhere = torch.cat([minimise(inputs[rows], labels[rows], [torch.arange(len(rows))], 10) for rows in sets])
    assert torch.equal(together, alone)
    assert torch.equal(together, backwards)
    assert torch.equal(together, elsewhere)


@pytest.mark.parametrize("values", [1, 2**14])
def test_large_stacks_are_cut(digits, monkeypatch, values):
    sets = sets_of([50] * 9)
    expected = minimise(*digits, sets, 10)
    monkeypatch.setitem(logistic.STACKED_VALUES, "cpu", values)
    assert torch.equal(minimise(*digits, sets, 10), expected)


def test_a_class_that_is_not_there_is_finite_and_last(digits):
    inputs, labels = digits
    rows = torch.nonzero((labels != 7) & (labels != 2))[:80, 0]
    [found] = minimise(inputs, labels, [rows], 10)
    assert torch.isfinite(found).all()
    assert not np.isin([2, 7], classes_of(found, inputs[rows])).any()


def test_one_image_and_inputs_that_tell_nothing_are_no_trouble(digits):
    inputs, labels = digits
    nothing = torch.zeros(5, 3)
    [alone] = minimise(inputs, labels, [torch.tensor([4])], 10)
    [blank] = minimise(nothing, torch.tensor([0, 0, 0, 1, 1]), [torch.arange(5)], 2)
    assert classes_of(alone, inputs[4:5]).tolist() == labels[4:5].tolist()
    assert classes_of(blank, nothing).tolist() == [0] * 5
    assert (blank[:, :-1] == 0).all()


def test_labels_without_a_rule_and_unequal_inputs_end_too():
    generator = np.random.default_rng(0)
    inputs = torch.from_numpy(generator.standard_normal((500, 8)) * np.geomspace(1e-2, 1e2, 8)).float()
    labels = torch.from_numpy(generator.integers(0, 4, 500))
    assert torch.isfinite(minimise(inputs, labels, [torch.arange(500)], 4)).all()


def test_a_search_without_end_raises(digits, monkeypatch):
    monkeypatch.setattr(logistic, "MOST_STEPS", 2)
    with pytest.raises(ArithmeticError, match="must end within 2 Newton steps, got 1 that go on"):
        minimise(*digits, sets_of([100]), 10)


def test_classes_are_those_of_the_largest_logit():
    weights = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.5]])
    assert classes_of(weights, torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.75]])).tolist() == [0, 1, 1]
