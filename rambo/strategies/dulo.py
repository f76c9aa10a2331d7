"""DULO (Wang et al. 2023): û by regression, made large block by block over the whole pool by stochastic greedy search.

Its û is RAMBO's with every component off, learned from the same utility samples.
"""

import math

import numpy as np

from rambo.arrays import Indices
from rambo.strategies.greedy import select_greedily
from rambo.strategies.request import Request, Selection


class RandomBlocks:
    """Random blocks of b images of the whole pool: what stochastic greedy search looks at in one step.

    Mirzasoleiman et al. (2015) choose k of n elements one by one, each as the best of (n/k)·ln(1/ε) random ones. Here
    an element is a block, so n = N/b and k = B/b for N unlabelled images: ⌈(N/B)·ln(1/ε)⌉ blocks, or as many as what is
    left can be divided into. Blocks of one step have no image in common; the next step divides anew.
    Deviation[block-size]: §5.2 gives neither the size of a block nor ε.
    """

    def __init__(self, request: Request) -> None:
        self.reachable = self._left = request.pool.unlabelled
        self._size = request.batch_size
        self._num_blocks = math.ceil(len(self.reachable) / request.budget * math.log(1 / request.block_epsilon))

    def propose(self, generator: np.random.Generator) -> Indices:
        """(m, b) blocks."""
        num_blocks = min(self._num_blocks, len(self._left) // self._size)
        return generator.permutation(self._left)[: num_blocks * self._size].reshape(num_blocks, self._size)

    def take(self, batch: Indices) -> Indices:
        """`batch` as it was drawn."""
        self._left = self._left[~np.isin(self._left, batch)]
        return batch


def select_by_blocks(request: Request, generator: np.random.Generator) -> Selection:
    """B/b blocks, each the one of a step's that û likes best beside what is labelled and picked so far."""
    proposer = RandomBlocks(request)
    scorer = request.utility(request.pool.labelled, proposer.reachable)
    return select_greedily(proposer, scorer, request.budget // request.batch_size, generator)
