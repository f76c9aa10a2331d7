"""Fitting û: on one level, or with its regulariser learned on a second one (§4.2.1).

    min_λ E(w(λ))  subject to  w(λ) = argmin_w L(w, λ),  L = total loss on D_tr + Ω_λ(w),  E = total loss on D_val

    Ω_λ(w) = ½ Σ_t exp(λ_t) ‖w_t‖², one λ_t for each weight tensor of û, none for biases

D_tr holds the shorter half of the pairs, D_val the longer: λ is chosen for sets longer than those that w was fitted to.
Weights w (d,) and log penalties λ (p,) are flat vectors throughout.

Deviation[steps]: B.7 trains "each batch for 20 epochs"; a fit is 20 rounds of T = 10 steps on all its pairs at once.
Deviation[warm-start]: w and λ go on from the last iteration's fit, where the paper says neither.
Deviation[penalties]: §4.2.1 leaves Ω_λ open; here each weight tensor has one penalty e^λ on its squares, biases none.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor
from torch.func import functional_call
from torch.nn.utils import clip_grad_norm_, parameters_to_vector, vector_to_parameters

from rambo.arrays import Floats
from rambo.errors import FitCollapsed, require
from rambo.randomness import numpy_generator, torch_generator
from rambo.sections import UtilityModel
from rambo.utility.deep_sets import Masks, SetBatch, SetUtilityModel, TrainingForm
from rambo.utility.hypergradients import HYPERGRADIENTS, Descent, OuterStep, value_and_gradient
from rambo.utility.losses import total_loss
from rambo.utility.pairs import UtilityPairs, split_by_size

FIRST_LOG_PENALTY = math.log(1e-3)
"""λ before the first bilevel fit."""
LEAST_LOG_PENALTY = -12.0
"""λ is kept above this, and below `_largest_log_penalty`."""
WIDE_LOG_PENALTY = 4.0
"""The upper end of λ where `utility_model.penalty_cap` is wide."""

REPEATS, SLOWDOWN = 3, 4.0
"""A fit that ends with one score for all sets begins anew so often, at a learning rate so many times smaller each time.
Deviation[begin-anew]: at λ_OT ≥ 10 the distance that û does not know yet sends steps so far that units of φ die in most
fits."""


OneLevel = Literal["adam", "adam_penalised", "sgd_half"]
"""As `utility_model.one_level`."""


@dataclass(frozen=True)
class FitState:
    """What a bilevel fit hands on beside the weights of û: λ, one value for each of its weight tensors."""

    log_penalties: tuple[float, ...]


@dataclass(frozen=True)
class FitProgress:
    """After `step` of `num_steps` rounds of T steps: the last L, and E if there is one."""

    step: int
    num_steps: int
    inner_loss: float
    outer_loss: float | None


@dataclass(frozen=True)
class FitResult:
    """How a fit went.

    `inner_losses` (steps,) L before each step; `outer_losses` (rounds,) E after each round of T steps; `log_penalties`
    (rounds, p) λ after each round, for the weight tensors named in `penalised`; `num_skipped` rounds that left λ alone
    because dE/dλ was not finite. A one-level fit has no E and no λ, and hands on the state that it was given.
    `num_repeats`: how often it collapsed and began anew; all else is of the last time.
    """

    inner_losses: Floats
    outer_losses: Floats
    log_penalties: Floats
    penalised: tuple[str, ...]
    num_skipped: int
    state: FitState | None
    num_repeats: int = 0


def fit_utility_model(
    model: SetUtilityModel,
    seed_inputs: Float[Tensor, "k ..."],
    pairs: UtilityPairs,
    *,
    seed: int,
    bilevel: bool,
    one_level: OneLevel = "adam",
    state: FitState | None = None,
    on_step: Callable[[FitProgress], None] = lambda progress: None,
) -> FitResult:
    """Fit `model`, from the weights it has, to pairs of subsets of the k images of S_0, and calibrate it.

    One level (`bilevel` False): as `one_level` says, Adam on all pairs by default. Bilevel: SGD on the shorter half of
    the pairs, under the λ that E on the longer half chooses meanwhile. A fit that ties most pairs is repeated with a
    smaller learning rate, `REPEATS` times; raises `FitCollapsed` if the last does so too.
    """
    require(len(pairs) >= 1, "A fit of the utility model needs at least 1 pair, got 0.")
    halved = bilevel or one_level == "sgd_half"
    shorter, longer = split_by_size(pairs, numpy_generator(seed, "split")) if halved else (pairs, pairs)
    inner, outer = _PairBatch.of(shorter, seed_inputs), _PairBatch.of(longer, seed_inputs)
    start = parameters_to_vector(TrainingForm(model).parameters()).detach().clone()
    for repeat in range(REPEATS + 1):
        form = TrainingForm(model)
        vector_to_parameters(start.clone(), form.parameters())
        problem = _SetProblem(form, inner, outer, torch_generator(seed, "dropout"), slowdown=SLOWDOWN**repeat)
        result = (_fit_bilevel if bilevel else ONE_LEVEL[one_level])(problem, state, on_step)
        model.eval().calibrate(seed_inputs)
        try:
            _check_spread(model, seed_inputs, pairs)
        except FitCollapsed:
            if repeat == REPEATS:
                raise
        else:
            break
    return replace(result, num_repeats=repeat)


@dataclass(frozen=True)
class _PairBatch:
    """n pairs as tensors: the batch of their 2n sets, utility (n, 2), ot (n, 2) or None."""

    sets: SetBatch
    utility: Tensor
    ot: Tensor | None

    @classmethod
    def of(cls, pairs: UtilityPairs, seed_inputs: Tensor) -> "_PairBatch":
        def tensor(values: NDArray[Any]) -> Tensor:
            return torch.from_numpy(values).to(seed_inputs.device)

        sets = SetBatch.of(seed_inputs, tensor(pairs.members).flatten(0, 1))
        return cls(sets, tensor(pairs.utility), None if pairs.ot is None else tensor(pairs.ot))


class _SetProblem:
    """The `BilevelProblem` of a set model and two lots of pairs, with learning rates divided by `slowdown`."""

    def __init__(
        self,
        form: TrainingForm,
        inner: _PairBatch,
        outer: _PairBatch,
        generator: torch.Generator,
        *,
        slowdown: float = 1.0,
    ) -> None:
        self.form, self.inner, self.outer, self.generator = form, inner, outer, generator
        given, self.switches = form.model.settings, form.model.switches
        rates = given.learning_rate / slowdown, given.inner_learning_rate / slowdown
        self.settings = replace(given, learning_rate=rates[0], inner_learning_rate=rates[1])
        self.shapes = {name: parameter.shape for name, parameter in form.named_parameters()}
        self.penalised = tuple(name for name, shape in self.shapes.items() if len(shape) > 1)

    def weights(self) -> Tensor:
        """(d,) a copy of the model's weights."""
        return parameters_to_vector(self.form.parameters()).detach()

    def keep(self, weights: Tensor) -> None:
        """Put `weights` (d,) into the model."""
        vector_to_parameters(weights, self.form.parameters())

    def inner_loss(self, weights: Tensor, hyper: Tensor) -> Tensor:
        parts = self._parts(weights)
        squares = torch.stack([parts[name].square().sum() for name in self.penalised])
        return self.noisy_loss(weights) + hyper.exp().dot(squares) / 2

    def noisy_loss(self, weights: Tensor) -> Tensor:
        """L without Ω, under new dropout masks."""
        num_images = len(self.inner.sets.seen) + len(self.inner.sets.rest)
        return self._loss(weights, self.inner, self.form.model.draw_masks(num_images, self.generator))

    def outer_loss(self, weights: Tensor) -> Tensor:
        return self._loss(weights, self.outer, ())

    def _loss(self, weights: Tensor, pairs: _PairBatch, masks: Masks) -> Tensor:
        outputs = functional_call(self.form, self._parts(weights), (pairs.sets, masks))
        score, ot = outputs.score.view(-1, 2), None if outputs.ot is None else outputs.ot.view(-1, 2)
        return total_loss(score, pairs.utility, ot, pairs.ot, settings=self.settings, switches=self.switches)

    def _parts(self, weights: Tensor) -> dict[str, Tensor]:
        parts = weights.split([shape.numel() for shape in self.shapes.values()])
        return {name: part.view(shape) for (name, shape), part in zip(self.shapes.items(), parts, strict=True)}


OnStep = Callable[[FitProgress], None]


def _fit_by_adam(problem: _SetProblem, state: FitState | None, on_step: OnStep) -> FitResult:
    weights = problem.weights()
    optimiser = torch.optim.Adam([weights], lr=problem.settings.learning_rate)

    def step() -> float:
        loss, weights.grad = value_and_gradient(problem.noisy_loss, weights)
        optimiser.step()
        return loss

    return _stepped(problem, state, on_step, step, weights)


def _fit_by_penalised_adam(problem: _SetProblem, state: FitState | None, on_step: OnStep) -> FitResult:
    """Under Ω at the λ that bilevel fits begin with."""
    weights = problem.weights()
    penalties = weights.new_full((len(problem.penalised),), FIRST_LOG_PENALTY)
    optimiser = torch.optim.Adam([weights], lr=problem.settings.learning_rate)

    def step() -> float:
        loss, weights.grad = value_and_gradient(lambda at: problem.inner_loss(at, penalties), weights)
        optimiser.step()
        return loss

    return _stepped(problem, state, on_step, step, weights)


def _fit_by_sgd(problem: _SetProblem, state: FitState | None, on_step: OnStep) -> FitResult:
    """The inner steps of a bilevel fit, on the pairs that it takes them on, without Ω."""
    descent, weights = _descent(problem.settings), problem.weights()
    velocity = torch.zeros_like(weights)

    def step() -> float:
        loss, gradient = value_and_gradient(problem.noisy_loss, weights)
        velocity.mul_(descent.momentum).add_(gradient * (descent.max_norm / gradient.norm()).clamp(max=1))
        weights.sub_(descent.learning_rate * velocity)
        return loss

    return _stepped(problem, state, on_step, step, weights)


def _stepped(
    problem: _SetProblem, state: FitState | None, on_step: OnStep, step: Callable[[], float], weights: Tensor
) -> FitResult:
    """As many steps as a bilevel fit takes, each of which changes `weights` and returns L before."""
    settings, losses = problem.settings, []
    for number in range(1, settings.num_outer_steps + 1):
        losses += [step() for _ in range(settings.num_inner_steps)]
        on_step(FitProgress(number, settings.num_outer_steps, losses[-1], None))
    problem.keep(weights)
    no_penalties = np.empty((0, len(problem.penalised)))
    return FitResult(np.array(losses), np.empty(0), no_penalties, problem.penalised, 0, state)


ONE_LEVEL: dict[OneLevel, Callable[[_SetProblem, FitState | None, OnStep], FitResult]] = {
    "adam": _fit_by_adam,
    "adam_penalised": _fit_by_penalised_adam,
    "sgd_half": _fit_by_sgd,
}


def _descent(settings: UtilityModel) -> Descent:
    """The inner steps between two updates of λ.

    Deviation[clipped-gradient]: û_0 is sure of itself where new pairs contradict it: unclipped SGD left float32 within
    20 steps, and at a norm of 1 one fit in four killed φ's ReLUs for nearly all images, so that all pairs tied.
    """
    return Descent(
        num_steps=settings.num_inner_steps,
        learning_rate=settings.inner_learning_rate,
        max_norm=settings.inner_gradient_norm,
    )


def _fit_bilevel(problem: _SetProblem, state: FitState | None, on_step: OnStep) -> FitResult:
    settings, descent, weights = problem.settings, _descent(problem.settings), problem.weights()
    velocity = torch.zeros_like(weights)
    first, largest = weights.new_tensor(_first_penalties(problem, state)), _largest_log_penalty(settings, descent)
    penalties = _LogPenalties(first, settings.outer_learning_rate, largest)
    steps: list[OuterStep] = []
    for number in range(1, settings.num_outer_steps + 1):
        steps.append(HYPERGRADIENTS[settings.hypergradient](problem, weights, velocity, penalties.value, descent))
        weights, velocity = steps[-1].weights, steps[-1].velocity
        penalties.update(steps[-1].hypergradient)
        on_step(FitProgress(number, settings.num_outer_steps, steps[-1].inner_losses[-1], steps[-1].outer_loss))
    problem.keep(weights)
    return FitResult(
        np.concatenate([step.inner_losses for step in steps]),
        np.array([step.outer_loss for step in steps]),
        np.array(penalties.trajectory),
        problem.penalised,
        penalties.num_skipped,
        FitState(tuple(penalties.trajectory[-1])),
    )


def _first_penalties(problem: _SetProblem, state: FitState | None) -> tuple[float, ...]:
    if state is None:
        return (FIRST_LOG_PENALTY,) * len(problem.penalised)
    require(
        len(state.log_penalties) == len(problem.penalised),
        f"A fit's state must have {len(problem.penalised)} penalties for this model, got {len(state.log_penalties)}.",
    )
    return state.log_penalties


def _largest_log_penalty(settings: UtilityModel, descent: Descent) -> float:
    """The λ at which Ω alone shrinks a weight by a factor e in one fit: e^λ · N · η / (1 − μ) = 1 over its N steps.

    Deviation[penalty-cap]: the paper bounds no λ. Labels by Eq. 4 can carry no signal at all. The best û on longer
    pairs is then a constant, and with a bound of 4 in place of this one λ rose until every ReLU of φ was dead, in each
    of three seeds: one score for all sets, for good.
    """
    if settings.penalty_cap == "wide":
        return WIDE_LOG_PENALTY
    num_steps = settings.num_outer_steps * settings.num_inner_steps
    return math.log((1 - descent.momentum) / (descent.learning_rate * num_steps))


class _LogPenalties:
    """λ under Adam, with dE/dλ clipped to norm 1; passes over what is not finite."""

    def __init__(self, value: Tensor, learning_rate: float, largest: float) -> None:
        self.value, self.largest = value, largest
        self.optimiser = torch.optim.Adam([value], lr=learning_rate)
        self.trajectory: list[list[float]] = []
        self.num_skipped = 0

    def update(self, gradient: Tensor) -> None:
        if gradient.isfinite().all():
            self.value.grad = gradient
            clip_grad_norm_([self.value], 1.0)
            self.optimiser.step()
            self.value.clamp_(LEAST_LOG_PENALTY, self.largest)
        else:
            self.num_skipped += 1
        self.trajectory.append(self.value.tolist())


def _check_spread(model: SetUtilityModel, seed_inputs: Tensor, pairs: UtilityPairs) -> None:
    members = torch.from_numpy(pairs.members).to(seed_inputs.device).flatten(0, 1)
    scores = model.score_sets(model.image_features(seed_inputs), members).view(-1, 2)
    differ = _differ(seed_inputs, members)
    if not differ.any():
        raise FitCollapsed(
            f"The {len(scores)} pairs of sets that a utility model is fitted to must show different images, got copies "
            "of the same in both sets of each; no setting of utility_model helps: take other data, or a strategy "
            "without a utility model."
        )
    # Within pairs: with φ dead for all but a few images, all pairs can tie while one set stands apart from the rest.
    difference = (scores[:, 0] - scores[:, 1])[differ].abs().median().item()
    noise = 100 * torch.finfo(scores.dtype).eps * max(1.0, scores.abs().max().item())
    if not difference > noise:  # a NaN tells nothing apart either
        raise FitCollapsed(
            f"The scores of a fitted utility model must differ within most of its {int(differ.sum())} pairs by more "
            f"than rounding ({noise:.1e}), got a median difference of {difference:.1e}; lower "
            "utility_model.inner_learning_rate or utility_model.learning_rate."
        )


def _differ(seed_inputs: Tensor, members: Tensor) -> Tensor:
    """(n,) whether the sets of each pair, rows of `members` (2n, k) one after the other, are not of equal images."""
    _, kinds = torch.unique(seed_inputs.flatten(1), dim=0, return_inverse=True)
    counts = members.double() @ torch.nn.functional.one_hot(kinds).double()
    return (counts[0::2] != counts[1::2]).any(dim=1)
