"""Margin sampling (B.1)."""

import numpy as np

from rambo.strategies.request import Request, Selection, by_margin


def select_margin(request: Request, generator: np.random.Generator) -> Selection:
    """The B images with the smallest margins; draws nothing."""
    return Selection.at_once(by_margin(request)[: request.budget])
