import numpy as np
import pytest
import torch
from torch.nn import functional

from rambo.strategies.glister import Gradients, ValidationLoss, pick_by_gain, select_glister
from rambo.strategies.request import Request
from rambo.training.committee import Committee


class Layer:
    """A last layer with explicit weights, whose gradients PyTorch works out."""

    def __init__(self, weight, bias):
        self.parameters = [weight.detach().double().requires_grad_(), bias.detach().double().requires_grad_()]

    def logits(self, features):
        weight, bias = self.parameters
        return features.double() @ weight.T + bias

    def gradient(self, features, labels, reduction="mean"):
        """(C, d + 1)."""
        loss = functional.cross_entropy(self.logits(features), labels, reduction=reduction)
        weight, bias = torch.autograd.grad(loss, self.parameters)
        return torch.cat([weight, bias[:, None]], dim=1)

    def moved(self, step):
        weight, bias = self.parameters
        return Layer(weight + step[:, :-1], bias + step[:, -1])

    def loss(self, features, labels):
        return float(functional.cross_entropy(self.logits(features), labels).detach())


class Case:
    """A last layer, candidates labelled by it, and validation images with labels of their own."""

    def __init__(self, seed=0, num_candidates=12, num_validation=9, scale=1.0):
        generator = torch.Generator().manual_seed(seed)

        def normal(*shape):
            return torch.randn(*shape, generator=generator, dtype=torch.float64) * scale

        self.layer = Layer(normal(4, 3), normal(4))
        self.features, self.validation = normal(num_candidates, 3), normal(num_validation, 3)
        self.labels = self.layer.logits(self.features).argmax(dim=1)
        self.validation_labels = torch.randint(0, 4, (num_validation,), generator=generator)

    @property
    def candidates(self):
        return Gradients.of(self.features, self.layer.logits(self.features).detach(), self.labels)

    def loss(self, rate):
        logits = self.layer.logits(self.validation).detach()
        return ValidationLoss(self.validation, logits, self.validation_labels, rate=rate)

    def explicit(self):
        """(n, C, d + 1) gradients of the candidates one by one."""
        pairs = zip(self.features, self.labels, strict=True)
        return torch.stack([self.layer.gradient(one[None], label[None]) for one, label in pairs])


def greedily(layer, gradients, features, labels, budget, rate):
    """Places by the largest ⟨g, ∇L⟩ of a layer that really moves."""
    picks = []
    for _ in range(budget):
        gains = (gradients * layer.gradient(features, labels)).sum(dim=(1, 2))
        gains[picks] = -torch.inf
        picks.append(int(gains.argmax()))
        layer = layer.moved(-rate * gradients[picks[-1]])
    return picks


def test_factors_multiply_out_to_the_gradients_of_each_image():
    case = Case()
    told = torch.stack([case.candidates.one(place) for place in range(12)])
    assert torch.allclose(told, case.explicit())
    assert torch.allclose(case.candidates.total(), case.explicit().sum(dim=0))


def test_the_first_gain_is_the_first_order_fall_of_the_loss_along_the_candidate_s_step():
    case, rate, small = Case(), 0.1, 1e-6
    gains = rate * case.candidates.along(case.loss(rate).gradient())
    for gain, gradient in zip(gains, case.explicit(), strict=True):
        there, back = (
            case.layer.moved(-sign * small * rate * gradient).loss(case.validation, case.validation_labels)
            for sign in (1, -1)
        )
        assert float(gain) == pytest.approx((back - there) / (2 * small), rel=1e-6)


def test_a_step_moves_the_validation_loss_as_it_moves_the_layer():
    case, rate = Case(), 0.7
    step, loss = case.explicit()[3] + case.explicit()[5], case.loss(rate)
    loss.step(step)
    moved = case.layer.moved(-rate * step)
    assert torch.allclose(loss.gradient(), moved.gradient(case.validation, case.validation_labels))
    assert not torch.allclose(loss.gradient(), case.layer.gradient(case.validation, case.validation_labels))


@pytest.mark.parametrize("seed", range(5))
def test_picks_are_those_of_a_layer_that_really_moves(seed):
    case, rate = Case(seed), 0.5
    picks = pick_by_gain(case.candidates, case.loss(rate), 12)
    expected = greedily(case.layer, case.explicit(), case.validation, case.validation_labels, 12, rate)
    assert picks.tolist() == expected
    still = case.candidates.along(case.loss(rate).gradient()).argsort(descending=True, stable=True)
    assert picks.tolist() != still.tolist(), "gains are worked out anew after each pick"


@pytest.mark.parametrize("seed", range(5))
def test_at_a_vanishing_rate_the_ranking_is_static(seed):
    case = Case(seed)
    picks = pick_by_gain(case.candidates, case.loss(1e-12), 12)
    gains = case.candidates.along(case.loss(1e-12).gradient())
    assert picks.tolist() == gains.argsort(descending=True, stable=True).tolist()


def test_the_candidate_whose_step_raises_the_loss_most_comes_last_and_the_one_that_lowers_it_most_first():
    """g = −∇L_val raises it more than any other gradient of that length, g = ∇L_val lowers it more."""
    case = Case(num_validation=1)
    [error] = case.layer.logits(case.validation).detach().softmax(dim=1)
    error = error - functional.one_hot(case.validation_labels[0], 4)
    errors = torch.stack([-error, *torch.eye(4, dtype=torch.float64)[[0, 3]] * error.norm() / 2, error])
    features = case.validation.repeat(4, 1)
    candidates = Gradients(errors, features)
    assert torch.allclose(candidates.one(0), -case.layer.gradient(case.validation, case.validation_labels))
    picks = pick_by_gain(candidates, case.loss(1e-9), 4)
    assert (picks[0], picks[-1]) == (3, 0)
    losses = [
        case.layer.moved(-1e-4 * candidates.one(place)).loss(case.validation, case.validation_labels)
        for place in picks.tolist()
    ]
    assert losses == sorted(losses)


def test_a_classifier_that_is_sure_of_everything_has_no_preference():
    case = Case(scale=100.0)
    picks = pick_by_gain(Gradients(torch.zeros(12, 4).double(), case.features), case.loss(0.1), 12)
    assert picks.tolist() == list(range(12))


def test_equal_images_are_picked_once_each():
    case = Case()
    twice = torch.arange(12).repeat(2)
    candidates = Gradients(case.candidates.errors[twice], case.features[twice])
    assert sorted(pick_by_gain(candidates, case.loss(0.5), 24).tolist()) == list(range(24))


def test_what_is_asked_of_f_and_of_the_labels(prepared, classifier):
    """S_0 with its true labels, the pool with f's guesses, S_val with the labels that are granted, at f's rate."""
    pool, model, rate = prepared.pool, classifier.model, 0.01
    validation = pool.labels[pool.validation]
    request = Request(
        pool=pool.without_validation_labels(),
        scout=Committee((classifier.predictor,)),
        budget=6,
        batch_size=2,
        num_candidates=6,
        granted={"validation_labels": validation, "learning_rate": rate},
    )
    picks = select_glister(request, np.random.default_rng(0))

    def features(images):
        return torch.from_numpy(classifier.features(images))

    layer = Layer(model.head.weight, model.head.bias)
    known = torch.from_numpy(pool.labels[pool.labelled])
    start = layer.moved(-rate * layer.gradient(features(pool.labelled), known, "sum"))
    guesses = layer.logits(features(pool.unlabelled)).argmax(dim=1)
    pairs = zip(features(pool.unlabelled), guesses, strict=True)
    gradients = torch.stack([layer.gradient(one[None], guess[None]) for one, guess in pairs])
    expected = greedily(start, gradients, features(pool.validation), torch.from_numpy(validation), 6, rate)
    assert picks.indices.tolist() == pool.unlabelled[expected].tolist()
