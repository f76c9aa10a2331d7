"""What a study says of its cells: their accuracies by seed, over one search or several, and who saw labels of S_val."""

from dataclasses import replace

import pytest
from own_strategy import EXAMPLE

from ablations.factors import parse_factor, switches
from ablations.report import render
from ablations.study import Study
from ablations.tables import cell_table
from rambo.ceiling import pooled_ceiling


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


def test_whether_ours_saw_labels_of_s_val_is_known_before_they_run(make_study):
    factors = [parse_factor("strategy=rambo,margin")]
    study = make_study(lambda cell, seed: None, factors=factors, controls=["scout_margin"])
    saw = {cell.name: study.saw_validation(cell) for cell in study.grid.cells}
    assert saw == {"strategy=rambo": True, "strategy=margin": False, "scout_margin": True}


def test_of_the_user_s_own_their_results_say_so_where_their_modules_are_gone(make_study, make_outcome, modules):
    def accuracy(cell, seed):
        saw = {"strategy=gone:pick": False, "strategy=gone:peek": True}.get(cell.name)
        return None if cell.name == "strategy=gone:later" else make_outcome(0.9 + seed / 100, saw_validation=saw)

    path = modules.write(EXAMPLE + "\n\npeek = later = pick\n", "gone")
    factors = [parse_factor("strategy=margin,gone:pick,gone:peek,gone:later")]
    study = make_study(accuracy, factors=factors, controls=[], seeds=range(3))
    path.unlink()
    modules.forget()
    cells = {cell.level("strategy"): study.saw_validation(cell) for cell in study.grid.cells}
    assert cells == {"margin": False, "gone:pick": False, "gone:peek": True, "gone:later": None}
    assert [row[-1] for row in cell_table(study).studied] == ["–", "–", "✓", ""]
    assert b"gone:later" in render(study, allow_mixed=True)["table.csv"]


def test_a_cell_s_ceiling_is_that_of_its_own_trials_together(make_study, make_outcome):
    def accuracy(cell, seed):
        if cell.control is not None:
            return make_outcome(0.9, control=True)
        agreement = 0.55 + 0.1 * (seed % 2) + 0.2 * bool(cell.level("switches.ot"))
        return make_outcome(0.9, pair_ceiling=0.7, repeat_agreement=agreement, num_ceiling_pairs=32)

    study = make_study(accuracy, seeds=range(4))
    with_ot, without = study.grid.studied[0], study.grid.studied[2]
    mine = [study.outcomes[with_ot.name, seed] for seed in range(4)]
    assert study.ceiling(with_ot) == pooled_ceiling(mine)
    assert study.ceiling(with_ot).bound > study.ceiling(without).bound
    assert study.ceiling(study.grid.controls[0]) is None


def test_accuracies_and_what_is_missing_follow_the_grid_s_order(make_study):
    study = make_study(
        lambda cell, seed: None if (cell.name, seed) == ("margin", 1) else 0.9 + seed / 100, seeds=(2, 1)
    )
    margin = next(cell for cell in study.grid.controls if cell.name == "margin")
    assert study.accuracies(margin) == {2: 0.92}
    assert list(study.accuracies(study.grid.studied[0])) == [2, 1]
    assert study.missing == [(margin, 1)]
    assert Study("none", study.grid, {}, {}).ceiling(margin) is None
