"""CoreSet (B.1; Sener and Savarese, 2018): greedy k-centre on f's penultimate features, around all that is labelled.

The largest distance of an image to its nearest labelled one is then at most twice what B labels can bring it to
(Gonzalez, 1985): more images than that, pairwise farther apart, would need a label each.
"""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from rambo.arrays import Indices
from rambo.strategies.request import Request, Selection
from rambo.training.trainer import single_thread

BLOCK = 2**22
"""Distances held at a time while the pool is compared with the labelled set: 16 MiB."""


def select_coreset(request: Request, generator: np.random.Generator) -> Selection:
    """B images, each the farthest from all that are labelled or picked by then; draws nothing."""
    classifier, unlabelled = request.classifier, request.pool.unlabelled
    points, centres = (
        torch.from_numpy(classifier.features(images)).to(classifier.device)
        for images in (unlabelled, request.pool.labelled)
    )
    with single_thread():
        picks = pick_farthest(points, centres, request.budget)
    return Selection.at_once(unlabelled[picks])


def pick_farthest(points: Float[Tensor, "n d"], centres: Float[Tensor, "m d"], num_picks: int) -> Indices:
    """(num_picks,) different rows of `points`, m ≥ 1, in order: farthest first; of equals the first.

    >>> pick_farthest(torch.tensor([[1.0], [2.0], [9.0]]), torch.tensor([[0.0]]), 2).tolist()
    [2, 1]
    """
    nearest = distance_to_nearest(points, centres)
    picks = []
    for _ in range(num_picks):
        pick = int(nearest.argmax())
        nearest = torch.minimum(nearest, distance_to_nearest(points, points[pick, None]))
        nearest[pick] = -torch.inf  # a copy of it, at distance 0, is still to be had
        picks.append(pick)
    return np.array(picks, dtype=np.int64)


def distance_to_nearest(points: Float[Tensor, "n d"], centres: Float[Tensor, "m d"]) -> Float[Tensor, " n"]:
    """Euclidean distance of each of `points` to the nearest of m ≥ 1 `centres`; of equal rows exactly 0."""
    # differences, not a product of matrices, whose rounding would push copies apart
    return torch.cat(
        [
            torch.cdist(part, centres, compute_mode="donot_use_mm_for_euclid_dist").amin(dim=1)
            for part in points.split(max(1, BLOCK // len(centres)))
        ]
    )
