"""Filtered random (in no paper): the control that shows what û adds to the margin filter."""

import numpy as np

from rambo.strategies.greedy import FirstBatch, MarginFilter, select_greedily
from rambo.strategies.request import Request, Selection


def select_filtered_random(request: Request, generator: np.random.Generator) -> Selection:
    """Algorithm 2 with a random batch of the same M candidates in place of û's choice."""
    return select_greedily(MarginFilter(request), FirstBatch(), request.budget // request.batch_size, generator)
