"""BADGE (B.1; Ash et al., 2020): images whose gradients would be large and differ, by the seeding of k-means++.

An image's gradient embedding is that of the loss by f's last layer, without bias, were f's own prediction ŷ the label:
g = q ⊗ h with q = onehot(ŷ) − p, (C,), and h the penultimate features, (d,); its sign does not matter. Distances need
the two factors alone, so the (n, C·d) matrix of all g is never formed.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from rambo.arrays import Floats, Indices, Members
from rambo.strategies.request import Request, Selection
from rambo.training.trainer import single_thread


def select_badge(request: Request, generator: np.random.Generator) -> Selection:
    """B images, drawn one after the other; what is labelled plays no part."""
    classifier, unlabelled = request.classifier, request.pool.unlabelled
    probabilities, features = (
        torch.from_numpy(predict(unlabelled)).to(classifier.device, torch.float64)  # D² is a difference of large sums
        for predict in (classifier.probabilities, classifier.features)
    )
    with single_thread():
        picks = pick_spread(GradientEmbeddings.of(probabilities, features), request.budget, generator)
    return Selection.at_once(unlabelled[picks])


@dataclass(frozen=True, eq=False)
class GradientEmbeddings:
    """g_i = q_i ⊗ h_i of n images by its factors."""

    errors: Float[Tensor, "n classes"]
    """q."""
    features: Float[Tensor, "n d"]
    """h."""

    @classmethod
    def of(cls, probabilities: Float[Tensor, "n classes"], features: Float[Tensor, "n d"]) -> "GradientEmbeddings":
        """Those of f's predictions."""
        predicted = functional.one_hot(probabilities.argmax(dim=1), probabilities.shape[1])
        return cls(predicted - probabilities, features)

    @cached_property
    def squared_norms(self) -> Float[Tensor, " n"]:
        """|g|² = |q|² |h|²."""
        return torch.linalg.vecdot(self.errors, self.errors) * torch.linalg.vecdot(self.features, self.features)

    def squared_distances(self, centre: int) -> Float[Tensor, " n"]:
        """|g_i − g_centre|² = |q_i|² |h_i|² + |q|² |h|² − 2 (q_i · q) (h_i · h); at least 0, also once rounded."""
        products = (self.errors @ self.errors[centre]) * (self.features @ self.features[centre])
        return (self.squared_norms + self.squared_norms[centre] - 2 * products).clamp_(min=0)


def pick_spread(embeddings: GradientEmbeddings, num_picks: int, generator: np.random.Generator) -> Indices:
    """(num_picks,) different rows: the largest norm, then with probability ∝ D², D to the nearest row picked so far.

    Draws are made on the CPU, so that every device picks alike but for rounding.
    """
    norms = embeddings.squared_norms.cpu().numpy()
    weights = np.where(norms == norms.max(), norms, 0)
    nearest = torch.full_like(embeddings.squared_norms, torch.inf)
    left = np.ones(len(norms), dtype=np.bool_)
    picks = []
    for _ in range(num_picks):
        pick = draw(weights, left, generator)
        nearest = torch.minimum(nearest, embeddings.squared_distances(pick))
        nearest[pick] = 0
        weights, left[pick] = nearest.cpu().numpy(), False
        picks.append(pick)
    return np.array(picks, dtype=np.int64)


def draw(weights: Floats, left: Members, generator: np.random.Generator) -> int:
    """A position with probability in proportion to `weights` (n,) ≥ 0; where all are 0, any that is `left` (n,).

    >>> draw(np.array([0.0, 3.0, 0.0]), np.array([True, True, False]), np.random.default_rng(0))
    1
    """
    cumulative = np.cumsum(weights if weights.any() else left, dtype=np.float64)
    return int(np.searchsorted(cumulative, generator.random() * cumulative[-1], side="right"))
