"""Stages 0 and 1: learn û from the labels at hand (Algorithm 1, lines 3-14), and say how well it orders unseen sets."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from rambo.arrays import Floats, Members
from rambo.ceiling import agreement_ceiling
from rambo.config import Config
from rambo.progress import Progress
from rambo.randomness import derive
from rambo.tracker import JsonLinesTracker
from rambo.training.trainer import single_thread
from rambo.utility.bilevel import FitProgress, FitResult, FitState, fit_utility_model
from rambo.utility.deep_sets import SetUtilityModel
from rambo.utility.latent_ot import set_distances
from rambo.utility.pairs import UtilityPairs
from rambo.utility.samples import Growth, SamplePlan, interpolate, num_measured, order_agreement

OFFLINE = "offline"
"""The stage of û_0, whose fit is the same whatever is switched."""

NO_DISTANCE = 1e-9
"""A mean OT distance up to this, in units of the median feature cost, is what rounding leaves of 0: it is no unit."""


@dataclass(frozen=True, eq=False)
class Evidence:
    """How the truth about sets is asked for; whoever builds it decides how it is measured."""

    utility: Callable[[Members, int, str], Floats]
    """(…, k) members, training repeat, what for -> (…) accuracies on S_val."""
    ot: Callable[[Members], Floats] | None
    """(…, k) members -> (…) distances to S_val, or None where the component is off."""


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Long pairs û never saw: what it says of them and what was measured."""

    scores: Floats
    """(n, 2) û."""
    utility: Floats
    """(n, 2) measured accuracies on S_val."""
    predicted_ot: Floats | None
    """(n, 2) in the unit of the targets, or None where the component is off."""
    ot: Floats | None
    """(n, 2) in the same units."""
    pair_accuracy: float
    """Share of pairs that û orders as measured."""
    pair_ceiling: float
    """Upper bound of what any order could reach against measurements as noisy as these."""
    repeat_agreement: float
    """Share of the repeated pairs that both measurements order alike, which the bound comes from."""
    num_ceiling_pairs: int
    """Pairs that were measured twice."""


@dataclass(frozen=True, eq=False)
class LearnedUtility:
    """û with the evidence of how it was learned."""

    model: SetUtilityModel
    label_agreement: float | None
    """Share of audited pairs that Eq. 4 orders as training does; None where nothing was audited."""
    held_out: HeldOut


@dataclass(frozen=True, eq=False)
class LearnerState:
    """What a learner goes on from beside û, after the pairs of a whole plan."""

    utility: Floats | None
    """(n, 2) labels of D, whose members are the plan's; None before the first pretraining iteration."""
    ot: Floats | None
    """(n, 2) OT targets of D."""
    log_penalties: tuple[float, ...] | None
    ot_unit: float | None
    iterations: int


class UtilityLearner:
    """û as it is fitted stage by stage, the accumulated pairs D, and the unit of the OT targets."""

    model: SetUtilityModel
    _evidence: Evidence
    _inputs: Tensor

    def __init__(self, config: Config, *, tracker: JsonLinesTracker, progress: Progress) -> None:
        self._config, self._tracker, self._progress = config, tracker, progress
        self.fits: list[FitResult] = []
        """û_0 first, then one a pretraining iteration."""
        self._pairs: UtilityPairs | None = None
        self._state: FitState | None = None
        self._ot_unit: float | None = None
        self._iterations = 0

    def learn(self, plan: SamplePlan, evidence: Evidence, inputs: Tensor) -> LearnedUtility:
        """û fitted to offline pairs, then along the growing sets; `inputs` (k, …) are the seed images as û takes them.

        The model goes on to learn where this learner is told of more labels.
        """
        self._evidence = evidence
        self._begin(inputs)
        self.pretrain_offline(plan)
        agreements = [self.iterate(plan, iteration) for iteration in range(len(plan.pretraining))]
        audited = [value for value in agreements if value is not None]
        return LearnedUtility(
            model=self.model,
            label_agreement=float(np.mean(audited)) if audited else None,
            held_out=self.judge(plan),
        )

    @property
    def state(self) -> LearnerState:
        """What `resume` takes back."""
        pairs, state = self._pairs, self._state
        return LearnerState(
            utility=None if pairs is None else pairs.utility,
            ot=None if pairs is None else pairs.ot,
            log_penalties=None if state is None else state.log_penalties,
            ot_unit=self._ot_unit,
            iterations=self._iterations,
        )

    def resume(self, plan: SamplePlan, inputs: Tensor, weights: Mapping[str, Tensor], state: LearnerState) -> None:
        """Stand where `learn` with the same plan and inputs has ended, as `weights` and `state` tell."""
        self._begin(inputs)
        self.model.load_state_dict(dict(weights))
        if state.utility is not None:
            self._pairs = UtilityPairs(np.concatenate(plan.pretraining), state.utility, state.ot)
        self._state = None if state.log_penalties is None else FitState(state.log_penalties)
        self._ot_unit, self._iterations = state.ot_unit, state.iterations

    def _begin(self, inputs: Tensor) -> None:
        """With û at its initial weights."""
        config, shape = self._config, tuple(inputs.shape[1:])
        self._inputs = inputs
        self.model = SetUtilityModel(shape, config.utility_model, config.switches, config.seed).to(inputs.device)

    def grow(self, growth: Growth, evidence: Evidence, inputs: Tensor) -> None:
        """Stage 1 goes on along `growth`: D is kept, and what it says of the first images holds among all (k', …)."""
        self._evidence, self._inputs = evidence, inputs
        if self._pairs is not None:
            self._pairs = self._pairs.among(len(inputs))
        for iteration in range(len(growth.pretraining)):
            self.iterate(growth, iteration)

    def pretrain_offline(self, plan: SamplePlan) -> None:
        """Stage 0: û_0, one level, on measured pairs. They stay out of D: E must be judged on pairs û has not seen.

        Deviation[offline-data]: the paper's "offline dataset" is not named; here its sets are subsets of S_0, so that
        no label beyond k is spent.
        """
        if len(plan.offline) == 0:
            self.model.calibrate(self._inputs)
            return
        utility = self._evidence.utility(plan.offline, 0, "offline pairs")
        pairs = UtilityPairs(plan.offline, utility, self._ot_targets(plan.offline))
        self._fit(pairs, OFFLINE, bilevel=False)

    def iterate(self, plan: SamplePlan | Growth, iteration: int) -> float | None:
        """Stage 1, one iteration: new pairs into D, û fitted to all of D; how often Eq. 4 agreed with training."""
        self._iterations += 1
        members = plan.pretraining[iteration]
        accuracies = self._evidence.utility(plan.chain[iteration : iteration + 2], 0, "growing sets")
        interpolated = self._interpolate(plan, iteration, (float(accuracies[0]), float(accuracies[1])))
        trained, agreement = self._audit(members, interpolated)
        fresh = UtilityPairs(members, self._labels(interpolated, trained), self._ot_targets(members))
        self._pairs = fresh if self._pairs is None else self._pairs.extend(fresh)
        self._fit(self._pairs, f"pretraining {self._iterations}", bilevel=self._config.switches.bilevel)
        return agreement

    def judge(self, plan: SamplePlan) -> HeldOut:
        """û against measurements on the held-out pairs, and the measurements against themselves."""
        utility = self._evidence.utility(plan.held_out, 0, "held-out pairs")
        again = plan.held_out[: self._config.evaluation.num_ceiling_pairs]
        repeat = order_agreement(utility[: len(again)], self._evidence.utility(again, 1, "ceiling"))
        rows = self._rows(plan.held_out)
        with single_thread():
            features = self.model.image_features(self._inputs)
            scores = _pairwise(self.model.score_sets(features, rows))
            ot = self._ot_targets(plan.held_out)
            predicted = None if ot is None else _pairwise(self.model.predict_ot(features, rows))
        return HeldOut(
            scores=scores,
            utility=utility,
            predicted_ot=predicted,
            ot=ot,
            pair_accuracy=order_agreement(scores, utility),
            pair_ceiling=agreement_ceiling(repeat),
            repeat_agreement=repeat,
            num_ceiling_pairs=len(again),
        )

    def _interpolate(self, plan: SamplePlan | Growth, iteration: int, accuracies: tuple[float, float]) -> Floats:
        """(n, 2) labels of Eq. 4 by how far û as it stands sees each set from the two labelled sets."""
        ends, sets = plan.chain[iteration : iteration + 2], _flat(plan.pretraining[iteration])
        with single_thread():
            distances = self._distances(sets, ends).reshape(-1, 2, 2)
        return interpolate(distances[:, :, 0], distances[:, :, 1], accuracies)

    def _distances(self, sets: Members, ends: Members) -> Floats:
        """(s, 2) distances of `sets` to the two `ends`, Euclidean ones between set embeddings (A.3) by default.

        Deviation[embedding-distance]: footnote 1 has the OT distance in û's latent space, A.3 this one.
        """
        features = self.model.image_features(self._inputs)
        if self._config.utility_model.latent_ot:
            return set_distances(features.cpu().numpy(), sets, ends)
        embedded = self.model.embed_sets(features, self._rows(np.concatenate([ends, sets]))).double()
        distances: Floats = torch.cdist(embedded[2:], embedded[:2]).cpu().numpy()
        return distances

    def _audit(self, members: Members, interpolated: Floats) -> tuple[Floats, float | None]:
        """Measured labels of the first pairs, and how often Eq. 4 orders those alike."""
        count = num_measured(self._config, len(members))
        if count == 0:
            return interpolated[:0], None
        trained = self._evidence.utility(members[:count], 0, "audited pairs")
        return trained, order_agreement(interpolated[:count], trained)

    def _labels(self, interpolated: Floats, trained: Floats) -> Floats:
        if self._config.utility.label == "interpolated":
            return interpolated
        return np.concatenate([trained, interpolated[len(trained) :]])

    def _ot_targets(self, members: Members) -> Floats | None:
        """(n, 2) distances in units of the mean over the first pairs seen, or raw where asked for.

        Deviation[ot-unit]: raw ones would drown λ_OT, whose axis in units of the mean is therefore not the paper's.
        """
        if self._evidence.ot is None:
            return None
        raw = self._evidence.ot(members)
        if self._config.utility_model.ot_unit == "raw":
            return raw
        if self._ot_unit is None:
            mean = float(raw.mean())
            self._ot_unit = mean if mean > NO_DISTANCE else 1.0
        return raw / self._ot_unit

    def _fit(self, pairs: UtilityPairs, stage: str, *, bilevel: bool) -> None:
        rounds, done = self._config.utility_model.num_outer_steps, 0
        with single_thread(), self._progress.task(f"fitting û, {stage}", rounds) as advance:

            def count(fit: FitProgress) -> None:
                nonlocal done
                advance(max(0, fit.step - done))  # a fit that begins anew begins at its first round
                done = max(done, fit.step)

            result = fit_utility_model(
                self.model,
                self._inputs,
                pairs if self._config.switches.ranknet else _standardised(pairs),
                seed=derive(self._config.seed, "fit", stage),
                bilevel=bilevel,
                one_level="adam" if stage == OFFLINE else self._config.utility_model.one_level,
                state=self._state,
                on_step=count,
            )
        self._state = result.state
        self.fits.append(result)
        _log_fit(result, stage, self._tracker)

    def _rows(self, members: Members) -> Tensor:
        return torch.from_numpy(_flat(members)).to(self._inputs.device)


def _standardised(pairs: UtilityPairs) -> UtilityPairs:
    """The pairs of one fit with utilities of variance 1, for the squared error that replaces RankNet.

    Deviation[regression-unit]: only the order of û's scores is used, so their unit is free. In raw accuracies the
    squared error of learning nothing is less than what dropout in φ makes of any score at first, and the sets of one
    iteration differ by a tenth of what separates them from the last fit's: fits ended with dead units and one constant
    score.
    """
    return replace(pairs, utility=pairs.utility / max(float(pairs.utility.std()), 1e-9))


def _flat(members: Members) -> Members:
    return members.reshape(-1, members.shape[-1])


def _pairwise(values: Tensor) -> Floats:
    paired: Floats = values.double().cpu().numpy().reshape(-1, 2)
    return paired


def _log_fit(result: FitResult, stage: str, tracker: JsonLinesTracker) -> None:
    """L after each step; E and λ after each round of inner steps; how often the fit began anew."""
    for step, loss in enumerate(result.inner_losses, start=1):
        tracker.log(stage, step, {"inner_loss": float(loss)})
    inner_steps = len(result.inner_losses) // max(len(result.outer_losses), 1)
    for turn, (loss, penalties) in enumerate(zip(result.outer_losses, result.log_penalties, strict=True), start=1):
        named = {f"lambda/{name}": float(value) for name, value in zip(result.penalised, penalties, strict=True)}
        tracker.log(stage, turn * inner_steps, {"outer_loss": float(loss), **named})
    if result.num_repeats:
        tracker.log(stage, len(result.inner_losses), {"repeats": float(result.num_repeats)})
    if len(result.outer_losses):
        tracker.log(stage, len(result.inner_losses), {"skipped_hypergradients": float(result.num_skipped)})
