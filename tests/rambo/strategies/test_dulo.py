import numpy as np
import pytest
from stand_ins import request_over

from rambo.strategies.dulo import RandomBlocks, select_by_blocks


def generator(seed=0):
    return np.random.default_rng(seed)


def asked(num_images=400, budget=40, size=10, **other):
    return request_over(
        num_images=num_images, budget=budget, batch_size=size, margins=np.zeros(num_images + 5), **other
    )


def test_blocks_are_different_unlabelled_images_of_the_whole_pool():
    request, draw, met = asked(num_candidates=10), generator(), set()
    proposer, left = RandomBlocks(request), set(request.pool.unlabelled)
    assert set(proposer.reachable) == left
    for _ in range(4):
        blocks = proposer.propose(draw)
        assert blocks.shape == (24, 10)
        assert len(set(blocks.ravel())) == blocks.size
        assert set(blocks.ravel()) <= left
        met |= set(blocks.ravel())
        left -= set(proposer.take(blocks[0]))
    assert len(met) > 350, "each step draws anew"


@pytest.mark.parametrize(
    ("epsilon", "num_blocks"),
    [(0.1, 24), (0.5, 7), (0.01, 40), (0.999, 1)],
    ids=["⌈10 ln 10⌉", "⌈10 ln 2⌉", "all 40, not ⌈10 ln 100⌉", "one at least"],
)
def test_a_step_looks_at_as_many_blocks_as_stochastic_greedy_search(epsilon, num_blocks):
    """N = 400 and B = 40 in blocks of 10."""
    assert RandomBlocks(asked(block_epsilon=epsilon)).propose(generator()).shape == (num_blocks, 10)


def test_what_is_left_bounds_the_blocks():
    proposer = RandomBlocks(asked(num_images=45))
    for left in (4, 3, 2, 1):
        blocks = proposer.propose(generator())
        assert blocks.shape == (min(left, 3), 10), "⌈45/40 ln 10⌉ = 3"
        proposer.take(blocks[0])


def test_every_image_can_be_in_a_block():
    proposer, met = RandomBlocks(asked(num_images=85, block_epsilon=0.5)), set()
    for seed in range(60):
        met |= set(proposer.propose(generator(seed)).ravel())
    assert met == set(proposer.reachable)


class Sums:
    """û that likes large indices; it notes what it is made for and what is added."""

    def __init__(self, labelled, reachable):
        self.labelled, self.reachable, self.added = labelled, reachable, []

    def scores(self, batches):
        return batches.sum(axis=1).astype(np.float64)

    def add(self, batch):
        self.added.append(batch.tolist())


def test_each_block_is_the_best_of_those_drawn():
    made = []

    def scorer(labelled, reachable):
        made.append(Sums(labelled, reachable))
        return made[0]

    request = asked(granted={"utility": scorer}, block_epsilon=0.2)
    picks = select_by_blocks(request, generator(5))
    assert made[0].labelled.tolist() == request.pool.labelled.tolist()
    assert made[0].reachable.tolist() == request.pool.unlabelled.tolist()
    assert np.array_equal(picks.indices.reshape(4, 10), made[0].added)
    draw, left = generator(5), request.pool.unlabelled
    for number, block in enumerate(picks.indices.reshape(4, 10)):
        drawn = draw.permutation(left)[:170].reshape(17, 10)  # ⌈10 ln 5⌉
        assert block.tolist() == max(drawn.tolist(), key=sum)
        assert (picks.scores[picks.iterations == number] == block.sum()).all()
        left = left[~np.isin(left, block)]
