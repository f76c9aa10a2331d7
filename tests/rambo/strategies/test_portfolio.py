from dataclasses import replace

import numpy as np
import pytest
from stand_ins import request_over

from rambo.strategies.portfolio import Portfolio, select_any_of_portfolio, select_from_portfolio


@pytest.fixture
def request_():
    rng = np.random.default_rng(0)
    return request_over(
        num_images=60,
        budget=9,
        margins=rng.random(65),
        features=rng.standard_normal((65, 4)),
        batch_size=3,
        num_candidates=18,
        in_batches=True,
        portfolio=("margin", "random"),
    )


def test_each_strategy_proposes_its_share(request_):
    """Of six batches three are the smallest margins of some half of what is left."""
    batches = Portfolio(request_).propose(np.random.default_rng(0))
    assert batches.shape == (6, 3)
    assert all(len(set(batch)) == 3 for batch in batches.tolist())
    margins = request_.classifier.margins(request_.pool.unlabelled)
    rank = dict(zip(request_.pool.unlabelled, np.argsort(np.argsort(margins)), strict=True))
    small = sum(max(rank[image] for image in batch) < 25 for batch in batches)
    assert small >= 3


def test_each_batch_comes_from_a_random_half(request_):
    """So one deterministic strategy proposes many batches, and the smallest margin of all is in half of them."""
    generator, seen = np.random.default_rng(5), []
    portfolio = Portfolio(replace(request_, portfolio=("margin",)))
    for _ in range(60):
        seen += portfolio.propose(generator).tolist()
    smallest = request_.pool.unlabelled[request_.classifier.margins(request_.pool.unlabelled).argmin()]
    assert len({frozenset(batch) for batch in seen[:6]}) > 3
    assert 0.4 < np.mean([smallest in batch for batch in seen]) < 0.6


def test_what_was_taken_is_proposed_no_more(request_):
    portfolio, generator = Portfolio(request_), np.random.default_rng(1)
    taken = set()
    for _ in range(10):
        batch = portfolio.take(portfolio.propose(generator)[0])
        assert not taken & set(batch.tolist())
        taken |= set(batch.tolist())


def test_the_whole_pool_can_be_taken(request_):
    portfolio, generator, taken = Portfolio(request_), np.random.default_rng(2), []
    for _ in range(20):
        taken += portfolio.take(portfolio.propose(generator)[0]).tolist()
    assert sorted(taken) == request_.pool.unlabelled.tolist()


def test_a_portfolio_of_one_strategy_and_the_whole_pool_left_is_that_strategy(request_, monkeypatch):
    monkeypatch.setattr("rambo.strategies.portfolio.HALF", 1.0)
    picks = select_any_of_portfolio(replace(request_, portfolio=("margin",)), np.random.default_rng(3))
    order = request_.pool.unlabelled[np.argsort(request_.classifier.margins(request_.pool.unlabelled), kind="stable")]
    assert picks.indices.tolist() == order[:9].tolist()


def test_the_scorer_decides_among_the_candidates(request_):
    class LargestIndex:
        def scores(self, batches):
            return batches.sum(axis=1).astype(float)

        def add(self, batch):
            pass

    granted = {"utility": lambda labelled, reachable: LargestIndex()}
    picks = select_from_portfolio(replace(request_, granted=granted), np.random.default_rng(4))
    any_ = select_any_of_portfolio(request_, np.random.default_rng(4))
    assert picks.indices[:3].sum() >= any_.indices[:3].sum()
    assert picks.scores[0] == picks.indices[:3].sum()
