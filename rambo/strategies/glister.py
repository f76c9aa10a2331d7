"""GLISTER-online (Killamsetty et al., 2021; B.1): the images whose gradient steps lower the loss on S_val most.

Notation: h (d) features, z (C) logits, p = softmax(z), η the rate that f is trained with. An image's gradient of the
cross-entropy by the last layer [W, b] is g = q ⊗ [h, 1] with q = p − onehot(y). Labels y are true on S_0 and S_val; in
the pool argmax p stands in for them. L_val is the mean loss on S_val.

Only the last layer moves, by plain gradient steps: one over the sum of S_0's gradients, then one for each pick. To
first order a step along −g_e lowers L_val by η⟨g_e, ∇L_val⟩: the candidate with the largest is picked, and the one
whose step raises L_val most comes last. A step along −q ⊗ [h, 1] moves the logits of S_val by −η (h_val·h + 1) q, so
features and logits are all that is needed, and with g kept in its two factors a pick costs O(N C d). Gradients of
candidates stay those of f. Several f count as one last layer over their features side by side.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from rambo.arrays import Features, Indices, Labels
from rambo.strategies.request import Request, Selection
from rambo.training.trainer import single_thread


@dataclass(frozen=True, eq=False)
class Gradients:
    """Gradients of n images' losses by the last layer, as factors: g = q ⊗ [h, 1]."""

    errors: Float[Tensor, "n classes"]
    """q."""
    features: Float[Tensor, "n d"]
    """h."""

    @classmethod
    def of(
        cls, features: Float[Tensor, "n d"], logits: Float[Tensor, "n classes"], labels: Int[Tensor, " n"]
    ) -> "Gradients":
        """Those of the cross-entropy of `logits` with `labels`."""
        return cls(logits.softmax(dim=1) - functional.one_hot(labels, logits.shape[1]), features)

    def total(self) -> Float[Tensor, "classes d_and_1"]:
        """Their sum, explicitly."""
        return torch.cat([self.errors.T @ self.features, self.errors.sum(dim=0)[:, None]], dim=1)

    def one(self, place: int) -> Float[Tensor, "classes d_and_1"]:
        """That of one image, explicitly."""
        return Gradients(self.errors[place : place + 1], self.features[place : place + 1]).total()

    def along(self, direction: Float[Tensor, "classes d_and_1"]) -> Float[Tensor, " n"]:
        """The inner product of each with `direction`."""
        return (self.errors * _apply(direction, self.features)).sum(dim=1)


class ValidationLoss:
    """L_val as the last layer moves."""

    def __init__(
        self,
        features: Float[Tensor, "v d"],
        logits: Float[Tensor, "v classes"],
        labels: Int[Tensor, " v"],
        *,
        rate: float,
    ) -> None:
        """`rate` is η."""
        self._features, self._logits, self._labels, self._rate = features, logits, labels, rate

    def gradient(self) -> Float[Tensor, "classes d_and_1"]:
        """∇L_val by the last layer as it stands."""
        return Gradients.of(self._features, self._logits, self._labels).total() / len(self._labels)

    def step(self, gradient: Float[Tensor, "classes d_and_1"]) -> None:
        """Move the last layer by −η `gradient`."""
        self._logits = self._logits - self._rate * _apply(gradient, self._features)


def pick_by_gain(candidates: Gradients, loss: ValidationLoss, budget: int) -> Indices:
    """(budget,) places among the candidates, each the one with the largest ⟨g, ∇L_val⟩ after the steps of those before.

    Of equals the first is picked.
    """
    picks: list[int] = []
    for _ in range(budget):
        gains = candidates.along(loss.gradient())
        gains[picks] = -torch.inf
        picks.append(int(gains.argmax()))
        loss.step(candidates.one(picks[-1]))
    return np.array(picks)


def select_glister(request: Request, generator: np.random.Generator) -> Selection:
    """B images in the order of their picks; draws nothing."""
    pool, unlabelled = request.pool, request.pool.unlabelled
    with single_thread(), torch.inference_mode():
        features, logits = _outputs(request, pool.validation)
        loss = ValidationLoss(features, logits, _on(request, request.validation_labels), rate=request.learning_rate)
        loss.step(Gradients.of(*_outputs(request, pool.labelled), _on(request, pool.labels[pool.labelled])).total())
        features, logits = _outputs(request, unlabelled)
        picks = pick_by_gain(Gradients.of(features, logits, logits.argmax(dim=1)), loss, request.budget)
    return Selection.at_once(unlabelled[picks])


def _apply(layer: Tensor, features: Tensor) -> Tensor:
    """(n, C) outputs of a last layer [W, b]; the column of ones is never written out."""
    return torch.addmm(layer[:, -1], features, layer[:, :-1].T)


def _outputs(request: Request, images: Indices) -> tuple[Tensor, Tensor]:
    """Features and logits."""
    return _on(request, request.classifier.features(images)), _on(request, request.classifier.logits(images))


def _on(request: Request, array: Features | Labels) -> Tensor:
    return torch.from_numpy(array).to(request.classifier.device)
