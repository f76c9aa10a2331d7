"""Which strategies are compared, where, and on which seeds."""

import numpy as np
import pytest

from ablations.comparison.views import caption

STRATEGIES, BUDGETS = "strategy=rambo,random,badge", "acquisition.budget=100,200,500"


def gained(cell, seed):
    return 0.5 + 0.01 * seed


def test_accuracies_stand_by_method_setting_and_seed(compared):
    assert compared.methods == ("rambo", "random", "badge")
    assert [one.budget for one in compared.settings] == [100, 200, 500]
    assert [one.num_labelled for one in compared.settings] == [300, 400, 700]
    assert compared.seeds == (0, 1, 2)
    assert compared.accuracy[2, 1] == pytest.approx([0.85, 0.851, 0.852])
    assert compared.saw == (True, False, False)
    assert compared.curves == {(): [0, 1, 2]}
    assert compared.data_sets == ("mnist",)


def test_a_level_that_all_strategies_read_is_a_setting_and_any_other_is_a_methods_own(make_compared):
    found = make_compared(
        gained, factors=("strategy=rambo,random", "utility_model.lambda_ot=0,1", "data.label_noise=0,0.2", BUDGETS)
    )
    assert found.methods == ("rambo λ_OT=0.0", "rambo λ_OT=1.0", "random")
    assert len(found.settings) == 6
    assert list(found.scenes.values()) == [[0, 1, 2], [3, 4, 5]]
    assert found.reference == 1, "the base has λ_OT = 1"


def test_what_a_strategy_fixes_is_not_in_its_name(make_compared):
    assert make_compared(gained, factors=("strategy=dulo,random", "switches.ot")).methods == ("dulo", "random")


def test_controls_are_compared_where_there_are_several_settings(make_compared):
    found = make_compared(gained, factors=("switches.ot", BUDGETS), controls=("random", "margin"))
    assert found.methods == ("rambo OT=on", "rambo OT=off", "random", "margin")
    assert found.reference == 0
    assert make_compared(gained, factors=("switches.ot",), controls=("random", "margin")) is None
    assert make_compared(gained, factors=("switches.ot", BUDGETS)) is None


def test_seeds_that_a_method_lacks_somewhere_are_left_out_for_all(make_compared):
    def holed(cell, seed):
        absent = {("badge", 200, 1): None, ("random", 500, 3): "It failed."}
        return absent.get((cell.level("strategy"), cell.level("acquisition.budget"), seed), gained(cell, seed))

    found = make_compared(holed, seeds=range(5))
    assert found.seeds == (0, 2, 4)
    assert found.absent_seeds == (1, 3)
    assert found.accuracy == pytest.approx(np.broadcast_to([0.5, 0.52, 0.54], (3, 3, 3)))


def test_a_method_without_any_result_is_left_out_and_named(make_compared):
    found = make_compared(lambda cell, seed: None if cell.level("strategy") == "badge" else gained(cell, seed))
    assert found.methods == ("rambo", "random")
    assert found.left_out == ("badge",)


@pytest.mark.parametrize("seeds", [[0], [0, 1]])
def test_fewer_than_two_shared_seeds_compare_nothing(make_compared, seeds):
    def one_short(cell, seed):
        return None if seed == 1 and cell.level("strategy") == "badge" else gained(cell, seed)

    assert make_compared(one_short, seeds=seeds) is None


def test_of_one_factor_at_a_time_only_what_all_have_is_compared(make_compared):
    found = make_compared(gained, factors=(STRATEGIES, BUDGETS), design="one-at-a-time")
    assert found.methods == ("rambo", "random", "badge")
    assert [one.budget for one in found.settings] == [500]
    assert found.curves == {}


def test_a_setting_that_no_method_has_a_result_in_ends_no_comparison(make_compared):
    found = make_compared(lambda cell, seed: None if cell.level("acquisition.budget") == 500 else gained(cell, seed))
    assert [one.budget for one in found.settings] == [100, 200]
    assert found.unshared == ((("acquisition.budget", 500),),)
    assert make_compared(lambda cell, seed: None) is None


def test_methods_that_are_the_same_in_effect_are_compared_once(make_compared):
    """Without OT, λ_OT changes nothing: all of these rest on the same trials."""
    found = make_compared(gained, factors=("strategy=rambo,random", "switches.ot", "utility_model.lambda_ot=0,1"))
    first = "rambo OT=on λ_OT=0.0"
    assert found.methods == (first, "rambo OT=on λ_OT=1.0", "random")
    assert found.equal == {"rambo OT=off λ_OT=0.0": first, "rambo OT=off λ_OT=1.0": first}
    assert found.reference == 1
    said = f"The same in effect, and compared once: rambo OT=off λ_OT=0.0 is {first}, rambo OT=off λ_OT=1.0 is {first}."
    assert said in caption(found)


def test_a_strategy_that_a_setting_makes_another_is_that_one(make_compared):
    """Margin by a scout, asked for by the setting, is the control of that name."""
    scouted = "acquisition.scout=seed_and_validation,seed"
    found = make_compared(gained, factors=("strategy=margin,scout_margin,random", scouted))
    assert found.methods == ("margin scout=seed_and_validation", "margin scout=seed", "random")
    assert found.equal == {"scout_margin": "margin scout=seed_and_validation"}
