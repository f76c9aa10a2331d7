from dataclasses import replace

import pytest
import torch

from rambo.randomness import torch_generator
from rambo.utility.hypergradients import HYPERGRADIENTS, ConjugateGradient, Descent, reverse_mode


class Ridge:
    """Least squares with one log-L2 penalty for each of two groups of weights: everything has a closed form."""

    def __init__(self):
        generator = torch_generator(0)
        make = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)  # noqa: E731
        self.x, self.held_out = make(30, 6), make(20, 6)
        truth = make(6)
        self.y, self.target = self.x @ truth + make(30), self.held_out @ truth + make(20)
        self.groups = torch.tensor([0, 0, 0, 1, 1, 1])

    def inner_loss(self, weights, hyper):
        penalty = (hyper.exp()[self.groups] * weights.square()).sum() / 2
        return (self.x @ weights - self.y).square().mean() / 2 + penalty

    def outer_loss(self, weights):
        return (self.held_out @ weights - self.target).square().mean() / 2

    def hessian(self, hyper):
        return self.x.T @ self.x / 30 + torch.diag(hyper.exp()[self.groups])

    def optimum(self, hyper):
        return torch.linalg.solve(self.hessian(hyper), self.x.T @ self.y / 30)

    def exact(self, hyper):
        """dE/dλ_t = −e^{λ_t} ⟨w_t, [H⁻¹ ∇_w E]_t⟩."""
        weights = self.optimum(hyper).requires_grad_()
        (by_weights,) = torch.autograd.grad(self.outer_loss(weights), weights)
        product = weights.detach() * torch.linalg.solve(self.hessian(hyper), by_weights)
        return torch.stack([-hyper[t].exp() * product[self.groups == t].sum() for t in (0, 1)])


HYPER = torch.tensor([-1.0, 0.5], dtype=torch.float64)


LONG = Descent(num_steps=600, learning_rate=0.1)


CG = ConjugateGradient(damping=0.0, max_iterations=50, tolerance=1e-12)


def walk(method, num_steps=600, start=None, momentum=0.9):
    ridge = Ridge()
    weights = torch.zeros(6, dtype=torch.float64) if start is None else start
    descent = replace(LONG, num_steps=num_steps, momentum=momentum)
    return method(ridge, weights, torch.zeros_like(weights), HYPER, descent)


def test_the_closed_form_agrees_with_finite_differences():
    ridge, step = Ridge(), 1e-5
    for t in range(2):
        shift = torch.zeros(2, dtype=torch.float64)
        shift[t] = step
        ahead, behind = (ridge.outer_loss(ridge.optimum(HYPER + sign * shift)) for sign in (1, -1))
        assert ((ahead - behind) / (2 * step)).item() == pytest.approx(ridge.exact(HYPER)[t].item(), rel=1e-6)


@pytest.mark.parametrize("method", [reverse_mode, CG])
def test_both_hypergradients_agree_with_the_closed_form_at_the_optimum(method):
    torch.testing.assert_close(walk(method).hypergradient, Ridge().exact(HYPER), rtol=1e-6, atol=1e-9)


def test_truncation_converges_to_the_exact_hypergradient():
    exact, start = Ridge().exact(HYPER), Ridge().optimum(HYPER)
    steps = [walk(reverse_mode, number, start, momentum=0) for number in (5, 20, 80, 320)]
    errors = [(step.hypergradient - exact).norm().item() for step in steps]
    assert errors[0] > errors[1] > errors[2] > errors[3]
    assert errors[3] < 1e-6


@pytest.mark.parametrize("method", [reverse_mode, CG, *HYPERGRADIENTS.values()])
class TestHypergradientContract:
    def test_the_steps_are_those_of_torch_sgd(self, method):
        ridge, weights = Ridge(), torch.zeros(6, dtype=torch.float64, requires_grad=True)
        optimiser = torch.optim.SGD([weights], lr=0.1, momentum=0.9)
        losses = []
        for _ in range(7):
            loss = ridge.inner_loss(weights, HYPER)
            losses.append(loss.item())
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        step = walk(method, 7)
        torch.testing.assert_close(step.weights, weights.detach())
        assert step.inner_losses == pytest.approx(losses)
        assert step.outer_loss == pytest.approx(ridge.outer_loss(weights).item())

    def test_nothing_it_was_given_is_changed(self, method):
        weights, velocity, hyper = torch.ones(6).double(), torch.zeros(6).double(), HYPER.clone()
        method(Ridge(), weights, velocity, hyper, replace(LONG, num_steps=3))
        assert weights.tolist() == [1.0] * 6
        assert velocity.tolist() == [0.0] * 6
        assert torch.equal(hyper, HYPER)

    def test_a_long_gradient_is_shortened(self, method):
        far = torch.full((6,), 1e6, dtype=torch.float64)
        clipped = replace(LONG, num_steps=1, max_norm=1.0)
        step = method(Ridge(), far, torch.zeros_like(far), HYPER, clipped)
        assert (step.weights - far).norm().item() == pytest.approx(0.1)
