from dataclasses import replace

import numpy as np
import pytest
from stand_ins import committee_of, request_over

from rambo.data.pool import HIDDEN
from rambo.strategies.imagined import imagine, part_sizes, select_in_parts
from rambo.strategies.margin_sampling import select_margin
from rambo.strategies.request import Selection


@pytest.fixture
def request_():
    """Twelve images to choose from, by index the harder the larger; three labelled, two in S_val."""
    return request_over(num_images=12, budget=6, margins=np.linspace(1, 0, 17))


def test_parts_are_as_equal_as_they_can_be_and_make_up_the_budget(request_):
    assert part_sizes(request_, 4) == [2, 2, 1, 1]
    assert part_sizes(request_, 1) == [6]
    assert part_sizes(request_, 100) == [1] * 6
    assert part_sizes(replace(request_, batch_size=2, in_batches=True), 2) == [4, 2]


def test_each_part_is_scored_by_who_has_learned_from_the_guesses_before(request_):
    """The refitted classifier turns the order round, so the second part is at the other end."""
    seen = []

    def refit(pool):
        seen.append((pool.labels.copy(), pool.rounds.copy()))
        return committee_of(margins=np.linspace(0, 1, 17))

    def guess(indices):
        return np.asarray(indices) % 2

    picks = select_in_parts(select_margin, request_, np.random.default_rng(0), num_parts=2, guess=guess, refit=refit)
    everyone = request_.pool.unlabelled
    assert picks.indices.tolist() == [*everyone[::-1][:3], *everyone[:3]]
    assert picks.iterations.tolist() == [0, 0, 0, 1, 1, 1]
    [(labels, rounds)] = seen
    assert labels[picks.indices[:3]].tolist() == (picks.indices[:3] % 2).tolist()
    assert (rounds[picks.indices[:3]] == 1).all()
    assert (labels[picks.indices[3:]] == HIDDEN).all(), "what is left has no label, guessed or true"


def test_the_pool_that_was_handed_over_is_left_as_it_was(request_):
    before = request_.pool.labels.copy()
    imagined = imagine(request_.pool, request_.pool.unlabelled[:2], np.array([1, 0]))
    assert np.array_equal(request_.pool.labels, before)
    assert set(imagined.labelled) == {*request_.pool.labelled, *request_.pool.unlabelled[:2]}


def test_selections_are_counted_through():
    parts = [
        Selection(np.array([4, 5]), np.array([0, 1]), np.array([0.5, 0.6])),
        Selection(np.array([7]), np.array([0]), np.array([0.7])),
    ]
    joined = Selection.one_after_another(parts)
    assert joined.indices.tolist() == [4, 5, 7]
    assert joined.iterations.tolist() == [0, 1, 2]
    assert joined.scores.tolist() == [0.5, 0.6, 0.7]
