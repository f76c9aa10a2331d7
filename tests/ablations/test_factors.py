import pytest
from own_strategy import EXAMPLE

from ablations.factors import Factor, make_grid, parse_factor, switches
from rambo.errors import InvalidInput
from rambo.fields import flatten
from rambo.presets import preset, quickstart
from rambo.strategies.facts import CONTROLS


def grid(factors, controls=(), seeds=(0, 1), design="factorial", base=None):
    return make_grid(base or quickstart(), factors, controls=controls, seeds=seeds, design=design)


def test_the_default_is_the_paper_s_eight_cells_in_the_order_of_its_tables():
    cells = grid(switches()).cells
    assert len(cells) == 8
    assert cells[0].name == "bilevel=on OT=on RankNet=on"
    assert cells[1].name == "bilevel=on OT=on RankNet=off"
    assert cells[-1].name == "bilevel=off OT=off RankNet=off"


def test_every_cell_has_every_seed_and_differs_in_its_factors_alone():
    studied = grid(switches(), seeds=(3, 5))
    trials = list(studied.trials())
    assert len(trials) == len({(cell.name, seed) for cell, seed, _ in trials}) == 16
    base = flatten(quickstart())
    for cell, seed, config in trials:
        changed = {name: value for name, value in flatten(config).items() if value != base[name]}
        assert changed == {
            name: level for name, level in {**dict(cell.levels), "seed": seed}.items() if level != base[name]
        }


def test_controls_come_at_the_levels_that_change_them():
    factors = [
        parse_factor("acquisition.budget=50,100"),
        parse_factor("acquisition.candidate_batches=2,all"),
        parse_factor("switches.ot"),
    ]
    names = {control: [c.name for c in grid(factors, [control]).controls] for control in CONTROLS}
    assert names["random"] == ["random B=50", "random B=100"]
    assert names["margin"] == ["margin B=50", "margin B=100"]
    assert len(names["filtered_random"]) == 4
    assert [cell.name for cell in grid(switches(), CONTROLS).controls] == list(CONTROLS)


def test_factors_that_fit_together_but_not_with_the_base_have_their_controls():
    factors = [parse_factor("acquisition.budget=600,900"), parse_factor("acquisition.batch_size=60,100")]
    cells = grid(factors, CONTROLS, base=preset("paper_mnist")).controls
    names = {control: [cell.name for cell in cells if cell.control == control] for control in CONTROLS}
    assert names["random"] == ["random B=600", "random B=900"]
    assert names["filtered_random"] == [f"filtered_random B={budget} b={b}" for budget in (600, 900) for b in (60, 100)]


def test_data_is_a_factor_of_every_control():
    cells = grid([parse_factor("data.num_seed_labels=80,100")], ["random"]).controls
    assert [cell.name for cell in cells] == ["random k=80", "random k=100"]


def test_a_strategy_that_is_a_level_is_no_control_as_well():
    studied = grid([parse_factor("strategy=rambo,margin")], ["random", "margin"])
    assert [cell.name for cell in studied.cells] == ["strategy=rambo", "strategy=margin", "random"]


def test_one_at_a_time_changes_one_factor_of_the_base():
    factors = [parse_factor("utility_model.lambda_ot=0,1,10"), parse_factor("switches.bilevel")]
    cells = grid(factors, design="one-at-a-time").cells
    assert [dict(cell.levels) for cell in cells] == [
        {"utility_model.lambda_ot": 1.0, "switches.bilevel": True},
        {"utility_model.lambda_ot": 0.0, "switches.bilevel": True},
        {"utility_model.lambda_ot": 10.0, "switches.bilevel": True},
        {"utility_model.lambda_ot": 1.0, "switches.bilevel": False},
    ]


@pytest.mark.parametrize(
    ("text", "levels"),
    [
        ("switches.ot", (False, True)),
        ("switches.ot=on,off", (False, True)),
        ("utility.label=interpolated,trained", ("interpolated", "trained")),
        ("acquisition.candidate_batches=2,5,all", (2, 5, "all")),
        ("utility_model.lambda_ot=0,.01,100", (0.0, 0.01, 100.0)),
    ],
)
def test_factors_are_read_as_their_fields_are(text, levels):
    assert parse_factor(text).levels == levels


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("switches.otter=on,off", "A field must be one of"),
        ("acquisition.budget=500,lots", "acquisition.budget must be int, got 'lots'"),
        ("acquisition.budget=500", "must have at least two different levels, got 500"),
        ("acquisition.budget=500,500", "must have at least two different levels"),
        ("acquisition.budget", "acquisition.budget must be int"),
    ],
)
def test_a_factor_that_cannot_be_is_refused_in_one_sentence(text, sentence):
    with pytest.raises(InvalidInput, match=sentence):
        parse_factor(text)


@pytest.mark.parametrize(
    ("factors", "controls", "seeds", "sentence"),
    [
        (["switches.ot", "switches.ot"], [], [0], "must name another field"),
        (["switches.ot"], ["best"], [0], "--controls must be among random"),
        (["switches.ot"], [], [], "must name at least one seed"),
        (["seed=1,2"], [], [0], "use --seeds"),
        (["acquisition.budget=100,130"], [], [0], "The cell B=130 cannot be: acquisition.batch_size"),
    ],
)
def test_a_grid_that_cannot_be_is_refused_in_one_sentence(factors, controls, seeds, sentence):
    with pytest.raises(InvalidInput, match=sentence):
        grid([parse_factor(text) for text in factors], controls, seeds)


def test_labels_are_short_and_fall_back_on_the_field():
    assert Factor("acquisition.candidate_batches", (2, 5)).label == "M/b"
    assert Factor("utility_model.num_inner_steps", (5, 10)).label == "num inner steps"


def test_a_strategy_of_the_user_s_own_is_a_level_as_it_is_typed(modules):
    modules.write(EXAMPLE, "lab.mine")
    studied = grid([parse_factor("strategy=margin,lab.mine:pick")], ["random", "margin"])
    assert [cell.name for cell in studied.cells] == ["strategy=margin", "strategy=lab.mine:pick", "random"]
    assert studied.strategies == {"rambo", "margin", "lab.mine:pick"}


def test_one_that_cannot_be_imported_is_told_with_its_cell_before_anything_runs():
    with pytest.raises(
        InvalidInput, match=r"^The cell strategy=none_such:pick cannot be: strategy none_such:pick must"
    ):
        grid([parse_factor("strategy=margin,none_such:pick")])
    with pytest.raises(InvalidInput, match=r"^strategy must be rambo\|.*\|module:function, got 'mine\.pick'"):
        parse_factor("strategy=margin,mine.pick")
