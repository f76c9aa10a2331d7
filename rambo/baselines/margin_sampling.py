"""Margin sampling, and the control that shows what û adds to the margin filter."""

import numpy as np

from rambo.acquisition import Request, Selection, by_margin, greedy_margin


def select_margin(request: Request, generator: np.random.Generator) -> Selection:
    """The B images with the smallest margins (B.1); draws nothing."""
    return Selection.at_once(by_margin(request)[: request.budget])


def select_filtered_random(request: Request, generator: np.random.Generator) -> Selection:
    """Greedy-Margin with a random batch of the same M candidates in place of û's choice."""
    return greedy_margin(request, generator)
