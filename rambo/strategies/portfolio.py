"""Portfolio (in no paper): candidate batches come from several strategies, and û or another scorer chooses among them.

Each strategy proposes more than one batch because each batch is picked from a random half of what is left.
"""

from dataclasses import replace

import numpy as np

from rambo.arrays import Indices
from rambo.strategies.facts import FACTS
from rambo.strategies.greedy import FirstBatch, select_greedily
from rambo.strategies.request import Request, Selection, load_select

HALF = 0.5
"""Share of what is left that one batch is picked from."""


class Portfolio:
    """A `rambo.strategies.greedy.Proposer`: M/b batches, in turn from each strategy of the portfolio."""

    def __init__(self, request: Request) -> None:
        self._request, self._pool, self.reachable = request, request.pool, request.pool.unlabelled
        self._strategies = [load_select(FACTS[name]) for name in request.portfolio]

    def propose(self, generator: np.random.Generator) -> Indices:
        """At least one batch of each strategy, in random order."""
        left, size = self._pool.unlabelled, self._request.batch_size
        count = max(len(self._strategies), self._request.num_candidates // size)
        some = max(size, int(HALF * len(left)))
        batches = []
        for number in range(count):
            within = np.sort(generator.choice(left, some, replace=False))
            select = self._strategies[number % len(self._strategies)]
            batches.append(select(self._asked(within), generator).indices)
        return np.stack([batches[place] for place in generator.permutation(count)])

    def take(self, batch: Indices) -> Indices:
        """`batch` as it was picked, whose images count as labelled from now on, though no label is known."""
        rounds = self._pool.rounds.copy()
        rounds[batch] = 0
        self._pool = replace(self._pool, rounds=rounds)
        return batch

    def _asked(self, within: Indices) -> Request:
        members = np.sort(np.concatenate([self._pool.labelled, within]))
        pool = replace(self._pool, members=members)
        return replace(self._request, pool=pool, budget=self._request.batch_size, granted={})


def select_from_portfolio(request: Request, generator: np.random.Generator) -> Selection:
    """B/b batches, each the one that û likes best."""
    proposer = Portfolio(request)
    scorer = request.utility(request.pool.labelled, proposer.reachable)
    return select_greedily(proposer, scorer, request.budget // request.batch_size, generator)


def select_any_of_portfolio(request: Request, generator: np.random.Generator) -> Selection:
    """B/b batches, each any one of the candidates: the control that shows what û adds to the portfolio."""
    return select_greedily(Portfolio(request), FirstBatch(), request.budget // request.batch_size, generator)
