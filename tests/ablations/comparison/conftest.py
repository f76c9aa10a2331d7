"""Studies of strategies whose accuracies are known."""

import pytest

from ablations.comparison.compared import compare
from ablations.factors import parse_factor

STRATEGIES, BUDGETS = "strategy=rambo,random,badge", "acquisition.budget=100,200,500"

GAINS = {"rambo": 0.02, "random": 0.0, "badge": 0.03}


def gained(cell, seed):
    """A gain of the strategy, one of the budget, and a seed's part that all share."""
    budget = cell.level("acquisition.budget") or 500
    name = cell.control or cell.level("strategy") or "rambo"
    return round(0.8 + GAINS.get(name, 0.01) + budget / 10000 + 0.001 * seed, 4)


@pytest.fixture(scope="session")
def make_compared(make_study):
    """What a study of `accuracy` compares, of strategies over budgets unless told otherwise."""

    def make(accuracy=gained, factors=(STRATEGIES, BUDGETS), controls=(), **changes):
        return compare(make_study(accuracy, factors=list(map(parse_factor, factors)), controls=controls, **changes))

    return make


@pytest.fixture(scope="session")
def compared(make_compared):
    return make_compared(seeds=range(3))
