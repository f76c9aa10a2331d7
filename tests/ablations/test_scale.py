"""Studies at small scale: what shrinks, what stays, and that they can be."""

import pytest

from ablations.factors import Factor, make_grid, switches
from ablations.paper.recipes import RECIPES
from ablations.scale import named, scaled
from rambo.errors import InvalidInput
from rambo.fields import flatten, override
from rambo.presets import PRESETS, preset


def grid(base: str, *factors: Factor, controls=("random",)):
    return make_grid(preset(base), factors or switches(), controls=controls, seeds=(0, 1), design="factorial")


def test_counts_keep_their_proportions_and_everything_else_stays():
    before = grid("paper_mnist", Factor("acquisition.budget", (500, 700, 900, 1000)))
    found = scaled(before, "small")
    assert found.grid.factors == (Factor("acquisition.budget", (200, 280, 360, 400)),)
    assert found.grid.seeds == before.seeds
    then, now = flatten(before.base), flatten(found.grid.base)
    different = {name for name in then if then[name] != now[name]}
    assert different == set(found.changed) - {"acquisition.budget"} | {"acquisition.budget"} & different
    assert (now["data.num_seed_labels"], now["acquisition.batch_size"], now["data.num_validation"]) == (80, 20, 200)
    assert {"strategy", "training.max_epochs", "utility_model.lambda_ot", "classifier.name"} & different == set()
    assert [(cell.control, len(cell.levels)) for cell in found.grid.controls] == 4 * [("random", 1)]


def test_what_is_small_already_stays_as_it_is():
    before = grid("quickstart")
    found = scaled(before, "small")
    assert found.grid == before
    assert found.sentence() == "It is small already: k = 100."


def test_levels_that_become_equal_are_one():
    found = scaled(grid("paper_mnist", Factor("offline.num_pairs", (100, 500)), *switches()), "small").grid
    assert found.base.offline.num_pairs == 50
    assert [factor.name for factor in found.factors] == [factor.name for factor in switches()]


def test_a_factor_of_switches_keeps_every_cell_and_a_base_far_from_the_levels_is_scaled_too():
    base = override(preset("paper_cifar10"), {"acquisition.budget": 7000})
    before = make_grid(base, switches(), controls=(), seeds=(0,), design="factorial")
    found = scaled(before, "small").grid
    assert [cell.name for cell in found.cells] == [cell.name for cell in before.cells]
    assert (found.base.acquisition.budget, found.base.classifier.name) == (280, "lenet5")


@pytest.mark.parametrize("name", [*PRESETS, *RECIPES])
def test_every_preset_and_every_recipe_can_be_small(name):
    chosen = RECIPES.get(name)
    base = override(preset(chosen.preset), chosen.fields) if chosen else preset(name)
    before = make_grid(base, chosen.factors if chosen else switches(), controls=(), seeds=(0,), design="factorial")
    found = scaled(before, "small").grid
    assert len(found.cells) == len(before.cells)
    for cell in found.cells:
        found.check(cell)
        config = found.config(cell, 0)
        assert config.data.num_seed_labels <= 220, "5500, the largest k, by 25"
        assert config.num_start_labels >= 20, "two labels a class, or no chain can begin"


def test_it_is_said_what_changes_and_names_tell_the_scales_apart():
    found = scaled(grid("paper_mnist", Factor("acquisition.budget", (500, 1000))), "small")
    assert "B 500, 1000 -> 200, 400" in found.sentence()
    assert "k 200 -> 80" in found.sentence()
    assert (named("spring", "small"), named("spring", "full")) == ("spring-small", "spring")


def test_another_scale_is_refused():
    with pytest.raises(InvalidInput, match=r"--scale must be one of full, small, got tiny\.$"):
        scaled(grid("quickstart"), "tiny")
