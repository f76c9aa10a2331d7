"""Entropy sampling: the images that f spreads its probability over most evenly (Shannon, 1948); not in the paper."""

import numpy as np
from scipy.special import entr

from rambo.arrays import Features, Floats
from rambo.strategies.request import Request, Selection


def entropies(probabilities: Features) -> Floats:
    """(n,) −Σ_c p_c ln p_c of each row of `probabilities` (n, C), in nats; 0 · ln 0 is 0.

    >>> entropies(np.array([[0.5, 0.5], [1.0, 0.0]], dtype=np.float32)).round(4).tolist()
    [0.6931, 0.0]
    """
    found: Floats = entr(probabilities.astype(np.float64)).sum(axis=1)
    return found


def select_entropy(request: Request, generator: np.random.Generator) -> Selection:
    """The B images with the largest entropy, ties by index; draws nothing."""
    unlabelled = request.pool.unlabelled
    evenly = entropies(request.classifier.probabilities(unlabelled))
    return Selection.at_once(unlabelled[np.argsort(-evenly, kind="stable")[: request.budget]])
