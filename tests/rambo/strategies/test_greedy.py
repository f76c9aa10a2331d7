from dataclasses import replace

import numpy as np

from rambo.strategies.greedy import FirstBatch, MarginFilter, select_greedily
from rambo.strategies.request import by_margin


class Listed:
    """Proposes the same batches again and again, less those that are taken."""

    def __init__(self, *batches):
        self.reachable = np.unique(np.array(batches))
        self.left = [list(batch) for batch in batches]

    def propose(self, generator):
        return np.array(self.left)

    def take(self, batch):
        self.left.remove(batch.tolist())
        return batch[::-1]


class Known:
    """Scores by a table; what was added counts for nothing, and is noted."""

    def __init__(self, values):
        self.values, self.added = values, []

    def scores(self, batches):
        return np.array([self.values[tuple(batch)] for batch in batches], dtype=np.float64)

    def add(self, batch):
        self.added.append(batch.tolist())


def generator():
    return np.random.default_rng(0)


def test_the_best_batch_is_picked_each_time_and_the_first_of_equals():
    values = {(1, 2): 0.5, (3, 4): 0.9, (5, 6): 0.5, (7, 8): 0.1}
    scorer = Known(values)
    picks = select_greedily(Listed(*values), scorer, 3, generator())
    assert picks.indices.tolist() == [4, 3, 2, 1, 6, 5], "in the proposer's order"
    assert picks.iterations.tolist() == [0, 0, 1, 1, 2, 2]
    assert picks.scores.tolist() == [0.9, 0.9, 0.5, 0.5, 0.5, 0.5]
    assert scorer.added == [[4, 3], [2, 1], [6, 5]]


def test_without_scores_the_first_batch_is_picked():
    picks = select_greedily(Listed((5, 6), (1, 2), (3, 4)), FirstBatch(), 2, generator())
    assert picks.indices.tolist() == [6, 5, 2, 1]
    assert np.isnan(picks.scores).all()


def test_candidates_are_the_smallest_margins_of_what_is_left(request_for_forty):
    proposer, left = MarginFilter(request_for_forty), by_margin(request_for_forty).tolist()
    for _ in range(4):
        batches = proposer.propose(generator())
        assert batches.shape == (3, 10)
        assert set(batches.ravel()) == set(left[:30])
        taken = proposer.take(batches[1])
        assert taken.tolist() == [index for index in left if index in set(batches[1])], "listed by margin"
        left = [index for index in left if index not in set(taken)]


def test_nothing_beyond_the_reachable_is_ever_proposed(request_for_forty):
    """û's features are worked out for these alone: M, and b more with each batch that is taken."""
    proposer = MarginFilter(request_for_forty)
    reachable, draw = set(proposer.reachable), np.random.default_rng(1)
    assert len(reachable) == 30 + 40 - 10
    proposed = set()
    for _ in range(4):
        batches = proposer.propose(draw)
        proposed |= set(batches.ravel())
        proposer.take(batches[0])
    assert proposed == reachable


def test_where_fewer_are_left_than_candidates_whole_batches_remain(request_for_forty):
    available = len(request_for_forty.pool.unlabelled)
    proposer = MarginFilter(replace(request_for_forty, num_candidates=available))
    assert proposer.propose(generator()).shape == (available // 10, 10)
    proposer.take(proposer.propose(generator())[0])
    assert proposer.propose(generator()).shape == (available // 10 - 1, 10)


def test_a_filter_of_one_batch_leaves_nothing_to_choose(request_for_forty):
    narrow = replace(request_for_forty, num_candidates=10)
    picks = select_greedily(MarginFilter(narrow), FirstBatch(), 4, generator())
    assert picks.indices.tolist() == by_margin(narrow)[:40].tolist()


def test_fewer_candidates_than_a_batch_are_a_batch(request_for_forty):
    least = replace(request_for_forty, num_candidates=3)
    picks = select_greedily(MarginFilter(least), FirstBatch(), 4, generator())
    assert picks.indices.tolist() == by_margin(least)[:40].tolist()
