"""Least confidence: the images whose likeliest class f gives the least probability (Lewis and Gale, 1994)."""

import numpy as np

from rambo.strategies.request import Request, Selection


def select_least_confidence(request: Request, generator: np.random.Generator) -> Selection:
    """The B images with the smallest top probability, ties by index; draws nothing."""
    unlabelled = request.pool.unlabelled
    confidence = request.classifier.probabilities(unlabelled).max(axis=1)
    return Selection.at_once(unlabelled[np.argsort(confidence, kind="stable")[: request.budget]])
