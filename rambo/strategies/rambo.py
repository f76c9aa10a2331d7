"""RAMBO: of each iteration's candidate batches the one with the largest û(S_j ∪ batch) (Algorithm 2)."""

import numpy as np

from rambo.strategies.greedy import MarginFilter, select_greedily
from rambo.strategies.request import Request, Selection


def select_by_utility(request: Request, generator: np.random.Generator) -> Selection:
    """B/b batches, each the one that û likes best beside what is labelled and picked so far."""
    proposer = MarginFilter(request)
    scorer = request.utility(request.pool.labelled, proposer.reachable)
    return select_greedily(proposer, scorer, request.budget // request.batch_size, generator)
