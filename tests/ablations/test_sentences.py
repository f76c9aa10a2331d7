"""What a study shows, in words: clear effects, absent ones, and what is missing."""

import re

from gaining_studies import holed, noisy, rows

from ablations.records import cells_csv
from ablations.sentences import effect_sentence, provenance, sentences
from ablations.statistics import analyse
from ablations.tables import latex
from rambo.formats import p_value, points


def test_every_commit_and_version_is_listed(make_study, make_outcome):
    commits = {0: "b" * 7, 1: "a" * 7, 2: None}
    study = make_study(lambda cell, seed: make_outcome(0.9, commit=commits[seed]), seeds=range(3))
    assert "Commits: aaaaaaa, bbbbbbb, unknown." in provenance(study)
    assert "% Commits: aaaaaaa, bbbbbbb, unknown." in latex(analyse(study)).decode()
    assert {row["commits"] for row in rows(cells_csv(study))} == {"aaaaaaa bbbbbbb unknown"}


def test_numbers_are_written_as_papers_write_them():
    assert [p_value(p) for p in (0.0001, 0.0042, 0.05, 0.99999, None)] == ["< .001", ".004", ".050", "1", ""]
    assert [points(x) for x in (0.0042, -0.0142, 0.00001, -0.00001)] == ["+0.42", "−1.42", "0.00", "0.00"]


def exactly(differences):
    """Accuracies whose RankNet contrast is `differences`, seed by seed, and nothing else differs."""

    def accuracy(cell, seed):
        return 0.9 + differences[seed] * bool(cell.level("switches.ranknet"))

    return accuracy


def test_a_clear_effect_is_stated(make_study):
    differences = [0.004, 0.005, 0.003, 0.006, 0.004, 0.005, 0.003, 0.004, 0.006, 0.005]
    analysis = analyse(make_study(exactly(differences), controls=[]))
    assert effect_sentence(analysis.contrasts[2], analysis) == (
        "RankNet changes test accuracy by +0.45 points (95 % interval 0.37 to 0.53, sign-flip p = .002, .014 "
        "after Holm over 7 contrasts, 10 seeds)."
    )


def test_an_absent_effect_is_bounded_and_an_unclear_one_left_open(make_study):
    small = [0.0004, -0.0005, 0.0003, -0.0002, 0.0001, 0, 0.0002, -0.0001, 0.0003, -0.0004]
    analysis = analyse(make_study(exactly(small), controls=[]))
    sentence = effect_sentence(analysis.contrasts[2], analysis)
    assert "RankNet is estimated to change test accuracy by +0.00" not in sentence
    assert "It changes test accuracy by less than 0.3 points either way (TOST p < .001, < .001 after Holm" in sentence
    large = [10 * value for value in small]
    analysis = analyse(make_study(exactly(large), controls=[], seeds=range(10)), margin=0.001)
    assert "Whether it matters at the scale of 0.1 points remains open" in effect_sentence(
        analysis.contrasts[2], analysis
    )


def test_shapley_values_failures_and_missing_cells_are_told(make_study):
    said = sentences(analyse(make_study(holed), allow_mixed=True))
    [shapley] = [line for line in said if "exact Shapley values" in line]
    assert re.search(r"give bilevel \+0\.\d\d ± 0\.\d\d, OT .*, RankNet \+\d\.\d\d ± .*9 seeds\)", shapley)
    assert "Shapley values are undefined where a cell is missing: seed 3." in said
    assert "2 of 120 trials have no result; effects that need one leave out its seed." in said
    assert "Missing, seed 5: margin." in said
    reason = "The classifier's loss was not a number & more."
    assert f"Failed: bilevel=on OT=on RankNet=on, seed 3: {reason}" in said


def test_failed_trials_are_also_scored_as_random_s(make_study):
    def accuracy(cell, seed):
        if cell.control == "random":
            return 0.8
        return "It failed." if (cell.name, seed) == ("bilevel=on OT=on RankNet=on", 3) else 0.9

    said = sentences(analyse(make_study(accuracy, seeds=range(4))))
    assert (
        "With seed 3, which failed, scored as random's, bilevel=on OT=on RankNet=on has a mean test accuracy of "
        "87.50 ± 2.50 % (4 seeds) in place of 90.00 ± 0.00 (3)."
    ) in said
    none = sentences(analyse(make_study(accuracy, controls=["margin"], seeds=range(4))))
    assert not any("which failed" in line for line in none), "without random there is nothing to score them as"


def test_one_seed_tests_nothing_and_says_so(make_study):
    said = sentences(analyse(make_study(noisy, seeds=[0])))
    assert any(line.startswith("Nothing can be said of what fewer than two seeds") for line in said)
    assert "nothing can be tested" in said[-1]
    assert not any("p =" in line for line in said)


def interacting(cell, seed):
    """RankNet adds .4 points with bilevel and takes .4 without; the same on validation accuracy, which is higher."""
    sign = 1 if cell.level("switches.bilevel") else -1
    return 0.9 + (sign * 0.004 + 0.0001 * (seed % 4)) * bool(cell.level("switches.ranknet"))


def test_interactions_are_told_as_differences_between_effects(make_study):
    analysis = analyse(make_study(interacting, controls=[]))
    found = {effect.name: effect_sentence(effect, analysis) for effect in analysis.contrasts}
    assert found["bilevel × RankNet"].startswith(
        "RankNet's effect on test accuracy differs by +0.80 points between bilevel off and on, the same on every seed"
    )
    assert found["bilevel × OT × RankNet"].startswith(
        "How RankNet's effect on test accuracy differs between OT off and on is estimated to differ by 0.00 points "
        "between bilevel off and on"
    )
    untold = found["bilevel × OT × RankNet"]
    assert untold.endswith("Without variation over seeds neither an interval nor an absence can be told.")
    assert "95 % interval" not in untold


def test_what_is_shown_by_the_other_metric_is_told_and_what_is_not_is_named(make_study):
    study = make_study(interacting, controls=[])
    said = sentences(analyse(study), analyse(study, "val_accuracy"))
    [validation] = [
        line for line in said if line.startswith("RankNet's effect on validation accuracy differs by +0.80")
    ]
    assert "after Holm over 7 contrasts" in validation
    unclear = make_study(noisy, seeds=range(5))
    said = sentences(analyse(unclear), analyse(unclear, "val_accuracy"))
    [rest] = [line for line in said if line.startswith("On validation accuracy neither a difference nor its absence")]
    assert "bilevel × OT" in rest


def test_families_and_what_holds_for_them_are_named(make_study):
    [line] = [line for line in sentences(analyse(make_study(noisy))) if line.startswith("Families: ")]
    assert line.startswith("Families: 7 contrasts and 6 comparisons with controls.")
    assert "one by one, unadjusted" in line
    assert "exact if differences are symmetric" in line
