"""The effects of a study against other libraries, brute force, and simulations whose truth is known."""

from itertools import permutations, product
from math import factorial

import numpy as np
import pytest
import statsmodels.api as sm
from noisy_studies import by_name, noisy
from scipy import stats

from ablations.effects import contrasts, control_effects, level_effects, reference_cell, shapley_values
from ablations.factors import make_grid, parse_factor, switches
from rambo.fields import override
from rambo.inference import holm, sign_flip_p
from rambo.presets import paper_mnist

COMPONENTS = ("switches.bilevel", "switches.ot", "switches.ranknet")


def additive(bilevel=0.0, ot=0.0, ranknet=0.0, bilevel_ot=0.0):
    def accuracy(cell, seed):
        on = {name.removeprefix("switches."): bool(level) for name, level in cell.levels}
        level = bilevel * on["bilevel"] + ot * on["ot"] + ranknet * on["ranknet"] if on else 0.0
        return 0.7 + 0.01 * seed + level + (bilevel_ot * on["bilevel"] * on["ot"] if on else 0.0)

    return accuracy


def table(study, seed):
    """Accuracy by the set of components that are on."""
    cells = study.grid.studied
    return {
        frozenset(name for name, on in cell.levels if on): study.outcomes[cell.name, seed].test_accuracy
        for cell in cells
    }


def test_holm_keeps_the_familywise_error_over_seven_contrasts_of_equal_cells(make_study):
    study = make_study(noisy, controls=[])
    weights = np.array([[1 if level else -1 for _, level in cell.levels] for cell in study.grid.studied])
    subsets = [s for s in product((0, 1), repeat=3) if any(s)]
    signs = np.stack([np.prod(weights ** np.array(s), axis=1) for s in subsets], axis=1) / 4
    cells = np.random.default_rng(4).normal(0, 0.01, (1500, 8, 10))
    p = sign_flip_p(np.einsum("rcs,cj->rjs", cells, signs))
    assert min(holm(list(p[0]))) == pytest.approx(min(1, 7 * p[0].min()))
    rate = np.mean(7 * p.min(axis=1) <= 0.05)  # Holm rejects anything exactly then
    assert 0.02 < rate < 0.05 + 3 * np.sqrt(0.05 * 0.95 / 1500)


def test_known_effects_are_found_exactly(make_study):
    study = make_study(additive(bilevel=0.02, ot=-0.01, ranknet=0.03, bilevel_ot=0.008))
    means = {name: effect.estimate.mean for name, effect in by_name(contrasts(study)).items()}
    assert means == pytest.approx(
        {
            "bilevel": 0.02 + 0.004,  # half of the interaction, OT being on in half of the cells
            "OT": -0.01 + 0.004,
            "RankNet": 0.03,
            "bilevel × OT": 0.008,  # the difference of differences
            "bilevel × RankNet": 0,
            "OT × RankNet": 0,
            "bilevel × OT × RankNet": 0,
        }
    )
    shapley = {effect.name: effect.estimate.mean for effect in shapley_values(study)}
    assert shapley == pytest.approx({"bilevel": 0.024, "OT": -0.006, "RankNet": 0.03})


def test_what_rounding_leaves_of_no_effect_is_no_effect(make_study):
    study = make_study(additive(bilevel=0.0213, ranknet=0.0107))
    effect = by_name(contrasts(study))["OT × RankNet"]
    assert set(effect.values) == {0.0}
    assert effect.p_holm == 1
    assert effect.p_tost_holm == 1, "nor is it evidence of absence"
    assert not effect.is_equivalent
    assert by_name(contrasts(study))["bilevel"].p_holm == pytest.approx(7 * 2 / 2**10)


def test_contrasts_are_multiples_of_the_coefficients_of_least_squares_on_plus_and_minus_one(make_study):
    study = make_study(noisy)
    cells = study.grid.studied
    z = np.array([[1.0 if on else -1.0 for _, on in cell.levels] for cell in cells])
    columns = {"bilevel": z[:, 0], "OT": z[:, 1], "RankNet": z[:, 2], "bilevel × OT": z[:, 0] * z[:, 1]}
    columns |= {"bilevel × RankNet": z[:, 0] * z[:, 2], "OT × RankNet": z[:, 1] * z[:, 2]}
    columns |= {"bilevel × OT × RankNet": z.prod(axis=1)}
    design = sm.add_constant(np.stack(list(columns.values()), axis=1))
    found = by_name(contrasts(study))
    assert list(found) == list(columns)
    for place, seed in enumerate(study.grid.seeds):
        y = [study.outcomes[cell.name, seed].test_accuracy for cell in cells]
        coefficients = sm.OLS(y, design).fit().params[1:]
        scales = np.array([2, 2, 2, 4, 4, 4, 8])  # a difference, a difference of differences, and of those
        assert [effect.values[place] for effect in found.values()] == pytest.approx(scales * coefficients, abs=1e-11)


def test_a_main_effect_is_on_minus_off_seed_by_seed(make_study):
    study = make_study(noisy)
    on, off = (
        [
            np.mean([study.accuracies(cell)[seed] for cell in study.grid.studied if cell.level("switches.ot") is level])
            for seed in study.grid.seeds
        ]
        for level in (True, False)
    )
    effect = by_name(contrasts(study))["OT"]
    paired = stats.ttest_rel(on, off)
    assert effect.estimate.p_t == pytest.approx(paired.pvalue)
    assert (effect.estimate.low, effect.estimate.high) == pytest.approx(tuple(paired.confidence_interval(0.95)))
    flips = stats.permutation_test(
        (on, off), lambda x, y: np.mean(x) - np.mean(y), permutation_type="samples", n_resamples=np.inf
    )
    assert effect.estimate.p == pytest.approx(flips.pvalue)


def test_factors_without_switches_count_from_first_level_to_last(make_study):
    factors = [parse_factor("acquisition.budget=1000,250"), parse_factor("switches.ot")]
    study = make_study(lambda cell, seed: 0.5 + cell.level("acquisition.budget") / 10_000, factors=factors, controls=[])
    effect = contrasts(study)[0]
    assert effect.name == "B: 250 − 1000"
    assert effect.estimate.mean == pytest.approx(-0.075)
    assert shapley_values(study) == ()


@pytest.mark.parametrize("num_components", [1, 2, 3])
def test_shapley_values_are_the_mean_over_all_orders_of_switching_on(make_study, num_components):
    study = make_study(noisy, factors=switches()[:num_components], seeds=range(3))
    names = COMPONENTS[:num_components]
    for place, seed in enumerate(study.grid.seeds):
        v = table(study, seed)
        brute = dict.fromkeys(names, 0.0)
        for order in permutations(names):
            for position, name in enumerate(order):
                before = frozenset(order[:position])
                brute[name] += (v[before | {name}] - v[before]) / factorial(num_components)
        found = [effect.values[place] for effect in shapley_values(study)]
        assert found == pytest.approx(list(brute.values()), abs=1e-11)
        assert sum(found) == pytest.approx(v[frozenset(names)] - v[frozenset()], abs=1e-11)


def test_an_effect_uses_only_seeds_that_have_all_its_cells(make_study):
    hole = "bilevel=off OT=on RankNet=off"

    def accuracy(cell, seed):
        if cell.name == hole and seed == 2:
            return None
        if cell.name == "random" and seed in (0, 1):
            return "Out of memory."
        return noisy(cell, seed)

    study, whole = make_study(accuracy, seeds=range(6)), make_study(noisy, seeds=[0, 1, 3, 4, 5])
    for found, expected in zip(contrasts(study), contrasts(whole), strict=True):
        assert found.seeds == (0, 1, 3, 4, 5)
        assert found == expected
    assert [effect.seeds for effect in shapley_values(study)] == [(0, 1, 3, 4, 5)] * 3
    full = "bilevel=on OT=on RankNet=on"
    assert {effect.name: effect.seeds for effect in control_effects(study)} == {
        f"{full} − random": (2, 3, 4, 5),
        f"{full} − margin": tuple(range(6)),
        f"{full} − filtered_random": tuple(range(6)),
        f"{full} − scout_margin": tuple(range(6)),
        "filtered_random − random": (2, 3, 4, 5),
        "mean of 8 cells with û − filtered_random": (0, 1, 3, 4, 5),
    }


def test_an_effect_of_fewer_than_two_seeds_is_absent_and_not_counted(make_study):
    def accuracy(cell, seed):
        return None if cell.control == "random" and seed > 0 else noisy(cell, seed)

    found = control_effects(make_study(accuracy))
    effects = {effect.name.split(" − ")[1]: effect for effect in found if effect.name.startswith("bilevel=")}
    assert effects["random"].estimate is None
    assert effects["random"].p_holm is None
    assert not effects["random"].is_significant
    assert effects["margin"].num_tests == 4, "margin, filtered random, the scout's margin, and all cells with û"
    assert contrasts(make_study(noisy, seeds=[0]))[0].estimate is None


def test_levels_are_compared_with_the_base_averaged_over_the_other_factors(make_study):
    factors = [parse_factor("acquisition.candidate_batches=2,10,all"), parse_factor("switches.ot")]
    study = make_study(noisy, factors=factors, controls=[])
    effects = by_name(level_effects(study))
    assert list(effects) == ["M/b: 2 − 10", "M/b: all − 10", "OT"]
    mean = {
        (level, ot): [value for cell in study.grid.studied for value in _matching(study, cell, level, ot)]
        for level in (2, 10, "all")
        for ot in (True, False)
    }
    expected = np.mean([np.array(mean[2, ot]) - mean[10, ot] for ot in (True, False)], axis=0)
    assert effects["M/b: 2 − 10"].values == pytest.approx(expected, abs=1e-11)
    switched = np.mean([np.array(mean[m, True]) - mean[m, False] for m in (2, 10, "all")], axis=0)
    assert effects["OT"].values == pytest.approx(switched, abs=1e-11)
    assert [effect.num_tests for effect in effects.values()] == [3, 3, 3]
    assert contrasts(study) == ()


def _matching(study, cell, level, ot):
    if cell.level("acquisition.candidate_batches") == level and cell.level("switches.ot") is ot:
        return list(study.accuracies(cell).values())
    return []


def test_one_factor_at_a_time_is_compared_with_the_base_cell(make_study):
    factors = [parse_factor("acquisition.budget=250,1000"), *switches()[:2]]
    study = make_study(noisy, factors=factors, controls=[], design="one-at-a-time")
    base = reference_cell(study.grid)
    assert base.name == "B=500 bilevel=on OT=on"
    effects = by_name(level_effects(study))
    assert list(effects) == ["B: 250 − 500", "B: 1000 − 500", "bilevel", "OT"]
    cells = {cell.name: np.array(list(study.accuracies(cell).values())) for cell in study.grid.cells}
    less = cells["B=250 bilevel=on OT=on"] - cells[base.name]
    assert effects["B: 250 − 500"].values == pytest.approx(less, abs=1e-11)
    added = cells[base.name] - cells["B=500 bilevel=on OT=off"]
    assert effects["OT"].values == pytest.approx(added, abs=1e-11)
    assert shapley_values(study) == ()


def test_the_reference_is_everything_on_else_the_base_else_the_first_cell():
    base = override(paper_mnist(), {"switches.ot": False})
    budget = parse_factor("acquisition.budget=250,1000")
    all_on = make_grid(base, switches(), controls=[], seeds=[0], design="factorial")
    assert reference_cell(all_on).name == "bilevel=on OT=on RankNet=on"
    mixed = [parse_factor("acquisition.budget=250,500"), parse_factor("switches.ot")]
    assert reference_cell(make_grid(base, mixed, controls=[], seeds=[0], design="factorial")).name == "B=500 OT=off"
    assert reference_cell(make_grid(base, [budget], controls=[], seeds=[0], design="factorial")).name == "B=250"


def test_controls_are_compared_at_their_own_levels(make_study):
    factors = [parse_factor("acquisition.budget=250,500"), parse_factor("switches.ot")]
    study = make_study(noisy, factors=factors, controls=["random", "margin"])
    assert [effect.name for effect in control_effects(study)] == [
        "B=250 OT=on − random B=250",
        "B=500 OT=on − random B=500",
        "B=250 OT=on − margin B=250",
        "B=500 OT=on − margin B=500",
    ]


def test_whose_gain_it_is_is_tested(make_study):
    """The filter adds .02 over random, û .003 over the filter in half of its cells: each is a difference of its own."""

    def accuracy(cell, seed):
        base = {"random": 0.90, "margin": 0.92, "filtered_random": 0.92}.get(cell.control, 0.92)
        return base + 0.003 * bool(cell.level("switches.ranknet")) + 0.0001 * (seed % 3)

    found = by_name(control_effects(make_study(accuracy)))
    assert found["filtered_random − random"].estimate.mean == pytest.approx(0.02)
    assert found["mean of 8 cells with û − filtered_random"].estimate.mean == pytest.approx(0.0015)
    without = make_study(accuracy, controls=["random", "margin"])
    assert [effect.name.split(" − ")[1] for effect in control_effects(without)] == ["random", "margin"]


def test_an_interaction_is_a_difference_between_effects_and_says_between_what(make_study):
    study = make_study(noisy)
    found = by_name(contrasts(study))
    names = [f"bilevel={b} OT={o} RankNet={r}" for b in ("on", "off") for o in ("on", "off") for r in ("on", "off")]
    for place, seed in enumerate(study.grid.seeds):
        y = {name: study.outcomes[name, seed].test_accuracy for name in names}
        effect_of_ot = {
            (b, r): y[f"bilevel={b} OT=on RankNet={r}"] - y[f"bilevel={b} OT=off RankNet={r}"]
            for b in ("on", "off")
            for r in ("on", "off")
        }
        between = [effect_of_ot[b, "on"] - effect_of_ot[b, "off"] for b in ("on", "off")]
        assert found["OT × RankNet"].values[place] == pytest.approx(sum(between) / 2, abs=1e-11)
        assert found["bilevel × OT × RankNet"].values[place] == pytest.approx(between[0] - between[1], abs=1e-11)
    assert (found["OT × RankNet"].subject, found["OT × RankNet"].among) == ("RankNet", ("OT off and on",))
    assert found["bilevel × OT × RankNet"].among == ("bilevel off and on", "OT off and on")
    assert found["OT"].among == ()


def test_shapley_values_of_three_are_main_effects_and_a_twelfth_of_the_three_way_interaction(make_study):
    study = make_study(noisy)
    found = by_name(contrasts(study))
    for effect in shapley_values(study):
        three = np.array(found["bilevel × OT × RankNet"].values)
        expected = np.array(found[effect.name].values) + three / 12
        assert effect.values == pytest.approx(expected, abs=1e-11)
