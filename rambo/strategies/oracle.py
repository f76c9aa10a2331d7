"""Oracles: Algorithm 2 with measured utilities in place of û's scores, for study only."""

import numpy as np

from rambo.strategies.greedy import MarginFilter, Proposer, select_greedily
from rambo.strategies.portfolio import Portfolio
from rambo.strategies.request import Request, Selection


def select_by_measuring(request: Request, generator: np.random.Generator) -> Selection:
    """B/b batches, each the one of the same M candidates that f learns most from."""
    return _select_among(MarginFilter(request), request, generator)


def select_from_portfolio_by_measuring(request: Request, generator: np.random.Generator) -> Selection:
    """The same among the candidates of a portfolio."""
    return _select_among(Portfolio(request), request, generator)


def _select_among(proposer: Proposer, request: Request, generator: np.random.Generator) -> Selection:
    scorer = request.measured(request.pool.labelled, proposer.reachable)
    return select_greedily(proposer, scorer, request.budget // request.batch_size, generator)
