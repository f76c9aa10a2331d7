"""What can be compared, what is summarised, and what so many seeds can show."""

import re
from dataclasses import replace

import numpy as np
import pytest
from noisy_studies import by_name, noisy
from scipy import stats

from ablations.effects import contrasts
from ablations.factors import parse_factor
from ablations.statistics import analyse, check_comparable, power_text, precision_text, seeds_text, summarise
from rambo.errors import InvalidInput
from rambo.inference import attainable, difference_power, sign_flip_p


def test_summaries_have_no_error_from_one_value_and_nothing_from_none():
    several = summarise([0.5, None, 0.7, 0.9])
    assert (several.mean, several.se, several.n) == pytest.approx((0.7, stats.sem([0.5, 0.7, 0.9]), 3))
    assert (summarise([0.5]).mean, summarise([0.5]).se) == (0.5, None)
    assert (summarise([]).mean, summarise([]).n) == (None, 0)


def test_validation_accuracy_is_analysed_by_name(make_study, make_outcome):
    def accuracy(cell, seed):
        return make_outcome(0.9, val_accuracy=0.8 + 0.05 * bool(cell.level("switches.ot")))

    study = make_study(accuracy, controls=[])
    assert by_name(contrasts(study, "val_accuracy"))["OT"].estimate.mean == pytest.approx(0.05)
    assert by_name(analyse(study).contrasts)["OT"].estimate.mean == 0


def test_unequal_seeds_are_refused_unless_allowed_and_then_marked(make_study):
    study = make_study(lambda cell, seed: None if (cell.control, seed) == ("margin", 4) else noisy(cell, seed))
    with pytest.raises(InvalidInput, match="must have the same seeds in all cells, got seeds 0–9 in 11 cells; seeds 0"):
        analyse(study)
    [mark] = analyse(study, allow_mixed=True).marks
    assert mark.endswith("seeds 0–9 in 11 cells; seeds 0–3, 5–9 in 1 cell.")


def test_failed_trials_are_marked_and_no_reason_to_refuse(make_study):
    def accuracy(cell, seed):
        return "The fit collapsed." if (cell.control, seed) == ("margin", 4) else noisy(cell, seed)

    study = make_study(accuracy)
    [mark] = analyse(study).marks
    assert mark.endswith("seeds 0–9 in 11 cells; seeds 0–3, 5–9 in 1 cell.")
    assert analyse(study) == analyse(study, allow_mixed=True)
    waiting = make_study(lambda cell, seed: None if (cell.control, seed) == ("random", 0) else accuracy(cell, seed))
    with pytest.raises(InvalidInput, match="run what is missing, or pass --allow-mixed"):
        analyse(waiting)
    assert "but has none" in check_comparable(make_study(lambda cell, seed: "The fit collapsed."))[0]


def test_a_retuned_study_of_another_training_version_than_its_fixed_one_is_refused(make_study, make_outcome):
    fixed = make_study(lambda cell, seed: make_outcome(0.9, training_version=1))
    retuned = replace(make_study(lambda cell, seed: make_outcome(0.9, training_version=2)), fixed=fixed)
    with pytest.raises(InvalidInput, match="version 1 in 120 trials; version 2 in 120 trials; run it with --rerun-out"):
        analyse(retuned)


def test_mixed_training_versions_are_refused_unless_allowed_and_then_marked(make_study, make_outcome):
    study = make_study(lambda cell, seed: make_outcome(noisy(cell, seed), training_version=1 + (seed > 7)))
    with pytest.raises(InvalidInput, match="one training version, got version 1 in 96 trials; version 2 in 24 trials;"):
        check_comparable(study)
    [mark] = check_comparable(study, allow_mixed=True)
    assert "version 2 in 24 trials" in mark


def test_whole_seeds_to_come_are_no_reason_to_refuse_but_no_result_is(make_study):
    assert check_comparable(make_study(lambda cell, seed: noisy(cell, seed) if seed < 3 else None)) == []
    with pytest.raises(InvalidInput, match="must have a finished trial, got none"):
        check_comparable(make_study(lambda cell, seed: None))


@pytest.mark.parametrize("margin", [0.0, -0.1, 30.0])
def test_the_margin_is_a_difference_in_accuracy(make_study, margin):
    with pytest.raises(InvalidInput, match="margin must be a difference in accuracy between 0 and 1"):
        analyse(make_study(noisy), margin=margin)


def test_five_seeds_cannot_be_significant_and_ten_find_large_effects_among_seven():
    assert attainable(5, 1).smallest_p == 0.0625 == float(sign_flip_p(np.ones(5)))
    assert not attainable(5, 1).can_reject
    assert attainable(6, 1).can_reject
    assert not attainable(8, 7).can_reject
    assert attainable(9, 7).can_reject
    assert attainable(10, 7).detectable_sd == pytest.approx(1.405, abs=1e-3)
    assert ".0625, so nothing can be significant at p < .05; that takes 6 seeds." in power_text(attainable(5, 1))
    assert ".00195, .0137 after Holm over 7 tests, so effects can be" in power_text(attainable(10, 7))
    assert "nothing can be tested" in power_text(attainable(1, 7))


def test_power_is_not_promised_where_nothing_can_be_significant():
    said = power_text(attainable(8, 7))
    assert "nothing can be significant at p < .05; that takes 9 seeds." in said
    assert "80 %" not in said


def test_power_in_points_follows_how_much_differences_vary(make_study):
    analysis = analyse(make_study(noisy))
    said = precision_text(analysis.compared, analysis.powers[-1], 0.003)
    spreads = [np.std(effect.values, ddof=1) for effect in analysis.tested]
    found = 100 * analysis.powers[-1].detectable_sd
    assert f"deviations of {100 * min(spreads):.2f} to {100 * max(spreads):.2f} points. So 10 seeds" in said
    assert f"an effect of {found * min(spreads):.2f} to {found * max(spreads):.2f} points with 80 % power" in said
    few, many = map(int, re.search(r"80 % power takes (\d+) to (\d+) seeds for an effect", said).groups())
    for needed, spread in ((few, min(spreads)), (many, max(spreads))):
        with_them, without = (difference_power(n, 0.003 / spread, 0.05 / 7) for n in (needed, needed - 1))
        assert with_them >= 0.8 > without or needed == 9


def test_power_in_points_takes_three_seeds_and_differences_that_vary(make_study):
    two, same = analyse(make_study(noisy, seeds=range(2))), analyse(make_study(lambda cell, seed: 0.9))
    for analysis in (two, same):
        assert precision_text(analysis.compared, analysis.powers[-1], 0.003) is None
    pilot = precision_text(analyse(make_study(noisy, seeds=range(4))).compared, attainable(20, 7), 0.003)
    assert "points, by the 4 that have run. So 20 seeds find" in pilot


def test_the_seeds_that_tests_have_decide_what_can_be_significant(make_study):
    """Ten seeds, of which one cell of eight lacks two: its own level has eight, all others have ten."""
    factors = [parse_factor("acquisition.candidate_batches=1,2,3,4,5,6,7,10")]

    def accuracy(cell, seed):
        return "It failed." if cell.level(factors[0].name) == 2 and seed > 7 else noisy(cell, seed)

    analysis = analyse(make_study(accuracy, factors=factors, controls=[]), allow_mixed=True)
    assert [(power.num_seeds, power.num_tests) for power in analysis.powers] == [(8, 7), (10, 7)]
    assert [power.can_reject for power in analysis.powers] == [False, True]
    whole = analyse(make_study(noisy, factors=factors, controls=[]))
    assert [(power.num_seeds, power.num_tests) for power in whole.powers] == [(10, 7)]


def test_seeds_are_written_as_ranges():
    assert seeds_text([3, 0, 1]) == "0–1, 3"
    assert seeds_text([7]) == "7"
