"""Each name of the paper is the grid that its words describe."""

from itertools import product

import pytest

from ablations.factors import SWITCHES, make_grid
from ablations.paper.recipes import RECIPES, names, recipe, studies
from rambo.errors import InvalidInput
from rambo.fields import override
from rambo.presets import preset
from rambo.strategies.facts import CONTROLS


def grid(name):
    chosen = RECIPES[name]
    base = override(preset(chosen.preset), chosen.fields)
    return make_grid(base, chosen.factors, controls=chosen.controls, seeds=range(10), design="factorial")


def levels(name, field):
    return next(factor.levels for factor in RECIPES[name].factors if factor.name == field)


def varies(name, field):
    return any(factor.name == field for factor in RECIPES[name].factors)


@pytest.mark.parametrize("name", ["table1", "table3", "table4", "table5"])
def test_the_ablation_tables_switch_three_components_off_and_on(name):
    studied = grid(name)
    base = studied.base
    assert base.data.num_seed_labels == {"table1": 3500, "table5": 3500}.get(name, 200)
    assert base.data.source == {"table3": "fashion_mnist", "table4": "mnist", "table5": "svhn"}.get(name, "cifar10")
    assert base.acquisition.budget == (500 if name in ("table3", "table4") else 5000)
    expected = [tuple(zip(SWITCHES, on, strict=True)) for on in product((True, False), repeat=3)]
    assert [cell.levels for cell in studied.studied] == expected
    assert [cell.name for cell in studied.controls] == list(CONTROLS)


def test_table6_crosses_budgets_and_lambda_ot():
    studied = grid("table6")
    assert studied.base.data.num_seed_labels == 2500
    swept = product((3000, 5000, 7000, 10000), (0.0, 0.01, 0.1, 1.0, 10.0, 100.0))
    expected = [(("acquisition.budget", b), ("utility_model.lambda_ot", value)) for b, value in swept]
    assert [cell.levels for cell in studied.studied] == expected
    assert [cell.name for cell in studied.controls] == [f"random B={b}" for b in (3000, 5000, 7000, 10000)]


@pytest.mark.parametrize("name", RECIPES)
def test_every_name_is_a_grid_that_can_be_and_says_of_what_data(name):
    studied, chosen = grid(name), RECIPES[name]
    assert studied.base.data.source == chosen.data
    assert studied.cells
    assert name.partition("-")[2] in ("", chosen.data)


def test_the_figures_have_the_paper_s_data_budgets_strategies_and_scenes():
    assert [RECIPES[f"fig2{panel}"].data for panel in "abcd"] == ["mnist", "fashion_mnist", "cifar10", "svhn"]
    assert levels("fig2a", "acquisition.budget") == (500, 700, 900, 1000)
    assert levels("fig2d", "acquisition.budget") == (5000, 7000, 9000, 10000)
    assert levels("fig2a", "strategy") == ("rambo", "dulo", "llal", "random")
    assert levels("fig7-mnist", "data.num_seed_labels") == (100, 200, 300)
    assert {"badge", "coreset", "glister", "margin"} < set(levels("fig7-svhn", "strategy"))
    noisy, thinned = grid("fig5-svhn").base.data, grid("fig6-mnist").base.data
    assert (noisy.label_noise, noisy.imbalance_fraction) == (0.2, 0.0)
    assert (thinned.label_noise, thinned.imbalance_classes, thinned.imbalance_fraction) == (0.0, 0.3, 0.2)
    assert grid("fig3b").base.data.label_noise == 0.2
    assert len(grid("fig8-mnist").cells) == 16


@pytest.mark.parametrize(
    "name", [name for name in RECIPES if name < "r" and "strategy" in dict(grid(name).cells[0].levels)]
)
def test_where_strategies_are_compared_the_labels_of_s_val_are_in_every_hand(name):
    """Some have learned from these: so has a margin, and f is trained on them too, with nothing bought as well."""
    studied = grid(name)
    assert studied.base.evaluation.with_validation
    assert {cell.name.split(" ")[0] for cell in studied.controls} == {"scout_margin"}
    assert len(studied.controls) * len(levels(name, "strategy")) == len(studied.studied)


def test_a_name_of_several_data_sets_is_a_study_each():
    assert list(studies("fig8")) == ["fig8-fashion_mnist", "fig8-mnist", "fig8-svhn"]
    assert list(studies("fig8-svhn")) == ["fig8-svhn"]
    assert list(studies("table4")) == ["table4"]
    assert "fig8" in names()
    assert "fig8-svhn" not in names()
    for wrong in ("fig9", "fig", "fig8-cifar10"):
        with pytest.raises(InvalidInput, match=rf"^--recipe must be one of table1, .*; got {wrong}\.$"):
            studies(wrong)
    with pytest.raises(InvalidInput, match="got fig8"):
        recipe("fig8")
