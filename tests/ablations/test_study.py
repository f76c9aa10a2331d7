"""What a study says of its cells."""

from own_strategy import EXAMPLE

from ablations.factors import parse_factor
from ablations.report import render
from ablations.tables import cell_table


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
