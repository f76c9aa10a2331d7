"""A study's cells by seed: what one search gave, and the mean of several where all of them are there."""

from dataclasses import replace

import pytest

from ablations.factors import switches


def twice(study):
    """Its first cell searched twice; the second search has no outcome yet."""
    first, *others = study.grid.cells
    cell = replace(first, tuned=(("acquisition.batch_size", 25),), again=((("acquisition.batch_size", 100),),))
    return replace(study, grid=replace(study.grid, cells=(cell, *others))), cell


def test_a_cell_is_the_mean_of_its_searches_where_all_are_there(make_study, make_outcome):
    plain = make_study(lambda cell, seed: 0.9 + 0.01 * seed, factors=switches()[1:2], seeds=range(3))
    study, cell = twice(plain)
    assert study.accuracies(cell) == {}
    assert study.missing == [(cell.variants[1], seed) for seed in range(3)]
    second = {(cell.variants[1].name, seed): make_outcome(0.8) for seed in (0, 2)}
    study = replace(study, outcomes={**study.outcomes, **second})
    assert study.accuracies(cell) == {0: pytest.approx(0.85), 2: pytest.approx(0.86)}
    assert study.accuracies(cell.variants[0]) == {0: 0.9, 1: 0.91, 2: 0.92}
    assert study.accuracies(cell.variants[1]) == {0: 0.8, 2: 0.8}
    assert [outcome.test_accuracy for outcome in study.outcomes_of(cell, 1)] == [0.91]
    assert study.missing == [(cell.variants[1], 1)]


def test_what_a_strategy_has_not_is_none_of_several_searches_too(make_study, make_outcome):
    plain = make_study(lambda cell, seed: make_outcome(0.9, control=True), factors=switches()[1:2], seeds=range(2))
    study, cell = twice(plain)
    second = {(cell.variants[1].name, seed): make_outcome(0.8, control=True) for seed in range(2)}
    study = replace(study, outcomes={**study.outcomes, **second})
    assert study.accuracies(cell, "pair_accuracy") == {0: None, 1: None}
    assert study.accuracies(cell.variants[0], "pair_accuracy") == {0: None, 1: None}
