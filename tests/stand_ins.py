"""Requests over made-up predictions, for strategies whose answer is known by hand."""

from typing import Any

import numpy as np
import torch

from rambo.data.pool import HIDDEN, Pool
from rambo.strategies.request import Request


class Told:
    """A committee that says what it is told to, image by image."""

    device = torch.device("cpu")

    def __init__(self, probabilities, features) -> None:
        self._probabilities = np.asarray(probabilities, dtype=np.float32)
        self._features = np.asarray(features, dtype=np.float32)

    def probabilities(self, indices):
        return self._probabilities[indices]

    def logits(self, indices):
        return np.log(np.maximum(self._probabilities[indices], 1e-30))

    def features(self, indices):
        return self._features[indices]

    def margins(self, indices):
        top = np.sort(self._probabilities[indices], axis=1)
        return top[:, -1] - top[:, -2]

    def likeliest(self, indices):
        return self._probabilities[indices].argmax(axis=1)


def committee_of(*, margins, features=None) -> Any:
    """Two classes, whose probabilities differ by `margins` (N,)."""
    margins = np.asarray(margins)
    probabilities = np.stack([(1 + margins) / 2, (1 - margins) / 2], axis=1)
    return Told(probabilities, probabilities if features is None else features)


def request_over(*, num_images: int, budget: int, margins, features=None, **other) -> Request:
    """`num_images` to choose from; before them stand three labelled images, after them two of S_val."""
    total = num_images + 5
    labels, rounds = np.full(total, HIDDEN), np.full(total, HIDDEN)
    labels[:3], rounds[:3] = [0, 1, 0], 0
    pool = Pool(
        np.zeros((total, 1, 2, 2), dtype=np.uint8),
        labels,
        rounds,
        np.arange(total - 2),
        np.arange(total - 2, total),
        2,
    )
    given = {"batch_size": 2, "num_candidates": 6, **other}
    return Request(pool, committee_of(margins=margins, features=features), budget, **given)
