"""Uncertainty herding (Bae, Oliveira and Sutherland, 2025; arXiv 2412.20644): cover what f is unsure of.

Each pick is the candidate c of the largest

    gain(c) = Σ_x u(x) · max(0, k(x, c) − max_{l ∈ L} k(x, l)),    k(x, y) = exp(−‖x − y‖² / σ²),

x over the unlabelled images, L what is labelled or picked, u = 1 − margin of softmax(z/T). Features have length 1; σ is
the smallest positive distance between labelled images, so that coverage is fine where labels are many. T is found by
cross-validation on the labelled set.

The sum is the paper's where the pool has at most 5000 images. In larger ones it is estimated without bias: c's own term
as it is, the others by a uniform sample of 5000. (By a sample alone, candidates in it would win wherever σ is so small
that an image covers little but itself.) All images stay candidates. Gains only fall as L grows, so an old one bounds
the new one, and candidates that cannot have the largest are left alone.
"""

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.special import log_softmax, logsumexp
from torch import Tensor

from rambo.arrays import Features, Floats, Indices
from rambo.data.features import l2_normalise
from rambo.strategies.request import Request, Selection
from rambo.strategies.temperature import cross_validated_temperature
from rambo.training.trainer import single_thread

NUM_POINTS = 5000
"""Images that gains are summed over, at most."""

ELEMENTS = 2**22
"""Kernel values in memory at a time, but for one row: 32 MB in double precision."""

FIRST_LOOK = 32
"""Candidates whose gains are worked out first for a pick; twice as many each time that is not enough."""

SAME = 1e-5
"""Distance up to which features count as those of equal images, which rounding keeps a little apart."""


class Coverage:
    """How well n images are covered by those that are labelled or picked, and what each of them would add."""

    def __init__(
        self,
        features: Float[Tensor, "n d"],
        weights: Float[Tensor, " n"],
        labelled: Float[Tensor, "k d"],
        sample: Int[Tensor, " m"],
        *,
        radius: float,
    ) -> None:
        """Features have length 1; `weights` are u, `sample` different places among the n, `radius` is σ."""
        self._features, self._weights, self._radius = features, weights, radius
        self._by_labels = torch.exp(-_closest(features, labelled) / radius**2).float()
        self._points, self._point_weights = features[sample].double(), weights[sample]
        self._column = torch.full((len(features),), -1, device=features.device)
        self._column[sample] = torch.arange(len(sample), device=features.device)
        self._picked: list[int] = []
        self.of_sample = self._by_labels[sample]
        """(m,) max_{l ∈ L} k(x, l) of the sample."""
        self.most_at_once = max(1, ELEMENTS // len(sample))
        """Candidates whose gains fit into memory together."""

    def __len__(self) -> int:
        return len(self._features)

    def gains(self, candidates: Int[Tensor, " c"]) -> Float[Tensor, " c"]:
        """What each of `candidates`, places among the n, would add."""
        near, column = self._features[candidates].double(), self._column[candidates]
        added = (self._kernel(near, self._points) - self.of_sample).clamp_(min=0)
        inside = torch.nonzero(column >= 0)[:, 0]
        added[inside, column[inside]] = 0  # its own term is added below
        share = (len(self) - 1) / (added.shape[1] - (column >= 0).float()).clamp(min=1)
        own = self._weights[candidates] * (1 - self._of(candidates, near))
        return own + share * (added @ self._point_weights)

    def add(self, place: int) -> None:
        """Take one of the n into L."""
        self._picked.append(place)
        near = self._features[place : place + 1].double()
        self.of_sample = torch.maximum(self.of_sample, self._kernel(near, self._points)[0])

    def _of(self, candidates: Tensor, near: Tensor) -> Tensor:
        """(c,) max_{l ∈ L} k(x, l) of the candidates, whose features are `near`."""
        if not self._picked:
            return self._by_labels[candidates]
        by_picks = self._kernel(near, self._features[self._picked].double()).amax(dim=1)
        return torch.maximum(self._by_labels[candidates], by_picks)

    def _kernel(self, first: Tensor, second: Tensor) -> Tensor:
        """(n, m) k; the distances in double precision, since σ may be as small as single precision's errors."""
        return _squared_distances(first, second).div_(-(self._radius**2)).float().exp_()


def pick_by_gain(coverage: Coverage, budget: int) -> Indices:
    """(budget,) places, each of the largest gain beside those before; of equals the first."""
    everyone = torch.arange(len(coverage), device=coverage.of_sample.device)
    bounds = torch.cat([coverage.gains(part) for part in everyone.split(coverage.most_at_once)])
    picks: list[int] = []
    for _ in range(budget):
        picks.append(_largest(coverage, bounds))
        coverage.add(picks[-1])
        bounds[picks[-1]] = -torch.inf
    return np.array(picks)


def uncertainties(logits: Features, temperature: float) -> Floats:
    """(n,) 1 − margin of softmax(z/T), as shares of the largest: the order of gains has no unit.

    Worked out by logarithms, so that a classifier that is sure of everything is still surer of some images.

    >>> uncertainties(np.log(np.array([[0.5, 0.25, 0.25], [0.7, 0.1, 0.2]], dtype=np.float32)), 1.0).round(3).tolist()
    [1.0, 0.667]
    """
    ordered = np.sort(log_softmax(logits.astype(np.float64) / temperature, axis=1), axis=1)
    doubt = np.logaddexp(logsumexp(ordered[:, :-1], axis=1), ordered[:, -2])  # (1 − p1) + p2
    shares: Floats = np.exp(doubt - doubt.max())
    return shares


def smallest_distance(features: Float[Tensor, "k d"]) -> float:
    """σ: the smallest positive distance between two of the k; 1 where all are equal."""
    exact, smallest = features.double(), torch.inf
    for part in exact.split(max(1, ELEMENTS // len(exact))):
        squared = _squared_distances(part, exact)
        smallest = min(smallest, float(squared.masked_fill_(squared <= SAME**2, torch.inf).min()))
    return smallest**0.5 if smallest < torch.inf else 1.0


def select_by_herding(request: Request, generator: np.random.Generator) -> Selection:
    """B images in the order of their picks; the generator divides the labelled set into folds and draws the sample."""
    pool, unlabelled, device = request.pool, request.pool.unlabelled, request.classifier.device
    labels = pool.labels[pool.labelled]
    temperature = cross_validated_temperature(request.train, pool.labelled, labels, generator)
    weights = uncertainties(request.classifier.logits(unlabelled), temperature)
    sample = generator.choice(len(unlabelled), min(len(unlabelled), NUM_POINTS), replace=False)
    with single_thread(), torch.inference_mode():
        labelled, features = (_unit_features(request, images) for images in (pool.labelled, unlabelled))
        on_device = torch.from_numpy(weights).float().to(device), labelled, torch.from_numpy(sample).to(device)
        coverage = Coverage(features, *on_device, radius=smallest_distance(labelled))
        picks = pick_by_gain(coverage, request.budget)
    return Selection.at_once(unlabelled[picks])


def _largest(coverage: Coverage, bounds: Tensor) -> int:
    """The place of the largest gain; `bounds` (n,), which none exceeds, are drawn nearer where they must be."""
    known, num = bounds <= 0, FIRST_LOOK  # no gain is negative, and a picked image's bound is below all
    while not known[best := int(bounds.argmax())]:
        looked_at = bounds.masked_fill(known, -torch.inf).topk(min(num, len(known) - int(known.sum()))).indices
        bounds[looked_at] = coverage.gains(looked_at)
        known[looked_at] = True
        num = min(2 * num, coverage.most_at_once)
    return best


def _closest(features: Tensor, others: Tensor) -> Tensor:
    """(n,) squared distance of each to the closest of `others`."""
    exact = others.double()
    parts = features.split(max(1, ELEMENTS // len(others)))
    return torch.cat([_squared_distances(part.double(), exact).amin(dim=1) for part in parts])


def _squared_distances(first: Tensor, second: Tensor) -> Tensor:
    """(n, m)."""
    squared = torch.addmm(second.square().sum(dim=1), first, second.T, alpha=-2)
    return squared.add_(first.square().sum(dim=1)[:, None]).clamp_(min=0)


def _unit_features(request: Request, images: Indices) -> Tensor:
    return torch.from_numpy(l2_normalise(request.classifier.features(images))).to(request.classifier.device)
