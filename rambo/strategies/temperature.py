"""Temperature scaling (Guo et al., 2017): the T > 0 at which softmax(z/T) is honest about images f has not seen.

T minimises the mean negative log-likelihood of held-out labels. Those are of the labelled set, by cross-validation: no
other label is spent.
"""

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from rambo.arrays import Features, Indices, Labels
from rambo.strategies.request import Train

NUM_FOLDS = 5
"""Trainings of f, each on four fifths."""

COLDEST, HOTTEST = 0.05, 20.0
"""Bounds of T: where f is right about all that is held out the likelihood rises for ever as T falls."""


def cross_validated_temperature(
    train: Train, indices: Indices, labels: Labels, generator: np.random.Generator
) -> float:
    """T of f on images (n,) with labels (n,); 1 where n = 1, which leaves nothing to train on."""
    if len(indices) < 2:
        return 1.0
    return fit_temperature(held_out_logits(train, indices, labels, generator), labels)


def held_out_logits(train: Train, indices: Indices, labels: Labels, generator: np.random.Generator) -> Features:
    """(n, classes) logits of each image by an f that was trained without its fold, which `generator` draws."""
    order = generator.permutation(len(indices))
    parts = []
    for fold in np.array_split(order, min(NUM_FOLDS, len(order))):
        rest = np.setdiff1d(order, fold)
        parts.append(train(indices[rest], labels[rest], 0).logits(indices[fold]))
    logits: Features = np.concatenate(parts)[np.argsort(order)]
    return logits


def fit_temperature(logits: Features, labels: Labels) -> float:
    """The T of the largest likelihood of `labels` (n,) under `logits` (n, classes), between 0.05 and 20.

    The loss is convex in 1/T, so a search over log T finds its one minimum.
    """
    exact, rows = logits.astype(np.float64), np.arange(len(labels))

    def loss(log_temperature: float) -> float:
        return -float(log_softmax(exact / np.exp(log_temperature), axis=1)[rows, labels].mean())

    found = minimize_scalar(loss, bounds=(np.log(COLDEST), np.log(HOTTEST)), method="bounded")
    return float(np.exp(found.x))
