"""T inner steps of SGD, and how E at their end changes with λ: dE/dλ by truncated reverse mode or implicitly.

Weights w (d,) and hyperparameters λ (p,) are flat vectors; nothing here knows of set models.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor


@runtime_checkable
class BilevelProblem(Protocol):
    """Two scalar losses of weights (d,) and hyperparameters (p,)."""

    def inner_loss(self, weights: Tensor, hyper: Tensor) -> Tensor:
        """L(w, λ), twice differentiable in w, once in λ; may draw new noise (dropout) at each call."""

    def outer_loss(self, weights: Tensor) -> Tensor:
        """E(w)."""


@dataclass(frozen=True, kw_only=True)
class Descent:
    """T inner steps of SGD: v ← momentum · v + g, w ← w − learning_rate · v, g = ∂L/∂w shortened to `max_norm`.

    The shortening factor counts as a constant in hypergradients.
    """

    num_steps: int
    learning_rate: float
    momentum: float = 0.9
    max_norm: float = math.inf


@dataclass(frozen=True)
class OuterStep:
    """Where T inner steps led: w and v (d,), L before each of them, E after the last, and dE/dλ (p,)."""

    weights: Tensor
    velocity: Tensor
    inner_losses: list[float]
    outer_loss: float
    hypergradient: Tensor


class Hypergradient(Protocol):
    """T inner steps from `weights` and `velocity` under λ = `hyper`, and the derivative of E at their end by λ."""

    def __call__(
        self, problem: BilevelProblem, weights: Tensor, velocity: Tensor, hyper: Tensor, descent: Descent
    ) -> OuterStep: ...


def reverse_mode(
    problem: BilevelProblem,
    weights: Float[Tensor, " d"],
    velocity: Float[Tensor, " d"],
    hyper: Float[Tensor, " p"],
    descent: Descent,
) -> OuterStep:
    """Truncated reverse mode (Franceschi et al., 2018): differentiates the T steps, takes their start as given.

    With r_t = dE/dv_t going back from the last step: dE/dλ = Σ_t (∂²L/∂λ∂w)ᵀ r_t, at one Hessian product a step.
    """
    walk = _Walk(problem, hyper, descent)
    weights, velocity = walk.descend(weights, velocity, create_graph=True)
    outer_loss, by_weights = value_and_gradient(problem.outer_loss, weights)
    by_velocity, hypergradient = torch.zeros_like(weights), torch.zeros_like(hyper)
    while walk.tape:  # popped, so that each step's graph is freed once it has been used
        start, gradient = walk.tape.pop()
        by_step = by_velocity - descent.learning_rate * by_weights
        through_weights, through_hyper = torch.autograd.grad(gradient, (start, walk.hyper), by_step)
        by_weights, by_velocity = by_weights + through_weights, descent.momentum * by_step
        hypergradient += through_hyper
    return OuterStep(weights, velocity, walk.losses, outer_loss, hypergradient)


@dataclass(frozen=True, kw_only=True)
class ConjugateGradient:
    """Implicit differentiation where the T steps end, as if that were a minimum of L.

    dE/dλ = −(∂²L/∂λ∂w)ᵀ (H + damping · I)⁻¹ ∂E/∂w with H = ∂²L/∂w². Conjugate gradients stop once the residual has
    fallen to `tolerance` of its first norm, after `max_iterations`, or where H + damping · I is not positive along a
    direction (L need not be convex), and what has been found by then is used.
    """

    damping: float = 0.01
    max_iterations: int = 10
    tolerance: float = 1e-6

    def __call__(
        self,
        problem: BilevelProblem,
        weights: Float[Tensor, " d"],
        velocity: Float[Tensor, " d"],
        hyper: Float[Tensor, " p"],
        descent: Descent,
    ) -> OuterStep:
        walk = _Walk(problem, hyper, descent)
        weights, velocity = walk.descend(weights, velocity, create_graph=False)
        outer_loss, by_weights = value_and_gradient(problem.outer_loss, weights)
        end, gradient = walk.gradient_at(weights, create_graph=True)

        def damped_hessian(direction: Tensor) -> Tensor:
            (product,) = torch.autograd.grad(gradient, end, direction, retain_graph=True)
            return product + self.damping * direction

        solution = self._solve(damped_hessian, by_weights)
        hypergradient = -torch.autograd.grad(gradient, walk.hyper, solution)[0]
        return OuterStep(weights, velocity, walk.losses[: descent.num_steps], outer_loss, hypergradient)

    def _solve(self, matrix: Callable[[Tensor], Tensor], right: Tensor) -> Tensor:
        solution, residual, direction = torch.zeros_like(right), right, right
        squared = right.dot(right)
        goal = self.tolerance**2 * squared
        for _ in range(self.max_iterations):
            product = matrix(direction)
            curvature = direction.dot(product)
            if squared <= goal or curvature <= 0:
                break
            step = squared / curvature
            solution, residual = solution + step * direction, residual - step * product
            squared, last = residual.dot(residual), squared
            direction = residual + squared / last * direction
        return solution


class _Walk:
    """The inner steps that both hypergradients take; `tape` has each step's weights and ∂L/∂w there."""

    def __init__(self, problem: BilevelProblem, hyper: Tensor, descent: Descent) -> None:
        self.problem, self.descent = problem, descent
        self.hyper = hyper.detach().requires_grad_()
        self.tape: list[tuple[Tensor, Tensor]] = []
        self.losses: list[float] = []

    def descend(self, weights: Tensor, velocity: Tensor, *, create_graph: bool) -> tuple[Tensor, Tensor]:
        for _ in range(self.descent.num_steps):
            start, gradient = self.gradient_at(weights, create_graph=create_graph)
            gradient = gradient * (self.descent.max_norm / gradient.detach().norm()).clamp(max=1)
            self.tape.append((start, gradient))
            velocity = self.descent.momentum * velocity + gradient.detach()
            weights = weights - self.descent.learning_rate * velocity
        return weights, velocity

    def gradient_at(self, weights: Tensor, *, create_graph: bool) -> tuple[Tensor, Tensor]:
        start = weights.detach().requires_grad_()
        loss = self.problem.inner_loss(start, self.hyper)
        self.losses.append(loss.item())
        return start, torch.autograd.grad(loss, start, create_graph=create_graph)[0]


def value_and_gradient(loss: Callable[[Tensor], Tensor], weights: Tensor) -> tuple[float, Tensor]:
    """The loss at `weights` (d,), and its derivative there."""
    weights = weights.detach().requires_grad_()
    value = loss(weights)
    return value.item(), torch.autograd.grad(value, weights)[0]


HYPERGRADIENTS: dict[str, Hypergradient] = {"reverse": reverse_mode, "cg": ConjugateGradient()}
