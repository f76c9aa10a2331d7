"""What a study says of a cell."""

from ablations.study import Study
from rambo.ceiling import pooled_ceiling


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
