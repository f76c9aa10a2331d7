"""LLAL, learning loss for active learning (Yoo and Kweon, 2019)."""

import numpy as np

from rambo.strategies.request import Request, Selection


def select_by_predicted_loss(request: Request, generator: np.random.Generator) -> Selection:
    """The B images of the whole pool with the largest predicted losses, ties by index; draws nothing."""
    unlabelled = request.pool.unlabelled
    order = np.argsort(-request.predicted_loss(unlabelled), kind="stable")
    return Selection.at_once(unlabelled[order[: request.budget]])
