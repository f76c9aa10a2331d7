"""The space as data: what can be written, what is refused, what is searched by default."""

from pathlib import Path

import pytest

from rambo.errors import InvalidInput
from rambo.fields import override
from rambo.preparation import prepare
from rambo.presets import paper_mnist, quickstart
from tune.space import (
    BATCH,
    BUDGET,
    LAMBDA_OT,
    LAMBDAS,
    MOST_KNOWN,
    SWITCH_OT,
    Choice,
    Range,
    Space,
    Whole,
    default_space,
    parse_dimension,
    parse_space,
)

TYPICAL = [
    ("acquisition.candidate_batches=2,5,all", Choice((2, 5, "all"))),
    ("utility_model.learning_rate=log:1e-4,1e-2", Range(1e-4, 1e-2, log=True)),
    ("utility_model.dropout=uniform:0,.9", Range(0.0, 0.9)),
    ("utility_model.lambda_ot=log:1e-3,1e2,0", Range(1e-3, 1e2, log=True, zero=True)),
    ("pretraining.num_pairs=int:10,50", Whole(10, 50)),
    ("switches.bilevel=on,off", Choice((True, False))),
]


@pytest.mark.parametrize(("text", "dimension"), TYPICAL)
def test_a_dimension_is_read_and_written_in_the_same_words(text, dimension):
    name, read = parse_dimension(text)
    assert read == dimension
    space = Space({name: read})
    assert Space.from_described(space.described()) == space


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("acquisition.batch_size", "--space must be FIELD=VALUES"),
        ("acquisition.batch_size=", "--space must be FIELD=VALUES"),
        ("acquisition.batches=2,5", "--space must name a field that --help lists, got 'acquisition.batches'"),
        ("acquisition.batch_size=2,lots", "acquisition.batch_size must be int, got 'lots'"),
        ("acquisition.batch_size=20,20", "must list different values"),
        ("utility_model.lambda_1=log:1,.1", "must have a lower bound below the upper, got 1 and 0.1"),
        ("utility_model.lambda_1=uniform:1,1", "must have a lower bound below the upper"),
        (
            "utility_model.inner_gradient_norm=log:1,inf",
            "must have bounds that a number can be drawn between, got 1 and",
        ),
        ("utility_model.lambda_1=uniform:nan,1", "utility_model.lambda_1 must be float, got 'nan'"),
        ("acquisition.batch_size=int:1,²", "acquisition.batch_size must be int, got '²'"),
        ("utility_model.lambda_1=log:0,1", "must have a lower bound above 0 for its logarithm, got 0"),
        ("utility_model.lambda_1=log:1", "must have a lower and an upper bound, got 1"),
        ("acquisition.batch_size=log:1,10", "must list values, since it takes int, got bounds"),
        ("utility_model.lambda_1=int:1,10", "must list values, since it takes float"),
        ("seed=1,2", "--space must leave the seed alone"),
    ],
)
def test_what_is_no_dimension_is_refused_in_one_sentence(text, sentence):
    with pytest.raises(InvalidInput, match=r"space|must be (int|float)") as refusal:
        parse_dimension(text)
    assert sentence in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_what_is_given_replaces_or_joins_the_defaults_and_none_clears_them():
    default = Space({LAMBDA_OT: Range(1e-3, 1e2, log=True, zero=True), BATCH: Choice((20, 25))})
    joined = parse_space(["acquisition.batch_size=25", "utility_model.dropout=uniform:0,.5"], default)
    assert set(joined.dimensions) == {LAMBDA_OT, BATCH, "utility_model.dropout"}
    assert joined.dimensions[BATCH] == Choice((25,))
    assert set(parse_space(["acquisition.batch_size=25", "none"], default).dimensions) == {BATCH}
    with pytest.raises(InvalidInput, match="at least one field to search over, got none"):
        parse_space(["none"], default).check(quickstart())


def test_by_default_b_divides_the_budget_and_leaves_a_schedule_and_a_start():
    space = default_space(quickstart(), 10, 1000, ["accuracy"])
    assert list(space.dimensions) == [LAMBDA_OT, *LAMBDAS, BATCH]
    sizes = space.dimensions[BATCH]
    assert isinstance(sizes, Choice)
    assert sizes.values == (20, 25, 50)
    for size in range(1, 101):
        try:
            prepare(override(quickstart(), {BATCH: size}), Path("unused"))
            possible = True
        except InvalidInput:
            possible = False
        assert possible == (size in sizes.values), size


def test_a_base_without_ot_or_without_a_utility_model_has_fewer_dimensions():
    assert list(default_space(override(quickstart(), {SWITCH_OT: "off"}), 10, 1000, ["accuracy"]).dimensions) == [BATCH]
    random = override(quickstart(), {"strategy": "random"})
    assert not default_space(random, 10, 1000, ["accuracy"]).dimensions


def test_with_the_budget_sought_every_b_fits_every_budget():
    space = default_space(paper_mnist(), 10, 900, ["accuracy", "budget"])
    budgets, sizes = space.dimensions[BUDGET], space.dimensions[BATCH]
    assert isinstance(budgets, Choice)
    assert isinstance(sizes, Choice)
    assert budgets.values == (250, 500), "1000 are more than the pool has"
    assert sizes.values == (25, 50, 125)
    space.check(paper_mnist())


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("acquisition.batch_size=20,15", "got acquisition.batch_size=15: acquisition.batch_size (b) must divide"),
        ("acquisition.batch_size=10", "must give 1 to 8 pretraining iterations"),
        ("acquisition.batch_size=int:20,30", "must divide acquisition.budget (B = 100) into at least 2 batches"),
        ("utility_model.dropout=uniform:0,1", "utility_model.dropout must lie in [0, 1), got 1.0"),
        ("acquisition.budget=100,130", "got acquisition.batch_size=20, acquisition.budget=130"),
    ],
)
def test_values_that_cannot_be_are_refused_before_anything_runs(text, sentence):
    space = parse_space([text], default_space(quickstart(), 10, 1000, ["accuracy"]))
    with pytest.raises(InvalidInput) as refusal:
        space.check(quickstart())
    assert str(refusal.value).startswith("--space must hold only values that can be, got ")
    assert sentence in str(refusal.value)


def test_the_corners_meet_every_listed_value_and_every_pair_of_b_and_budget():
    space = parse_space(["acquisition.budget=100,200"], default_space(quickstart(), 10, 1000, ["accuracy"]))
    corners = list(space.corners())
    assert {(one[BATCH], one[BUDGET]) for one in corners} == {(b, B) for b in (20, 25, 50) for B in (100, 200)}
    assert {one[LAMBDA_OT] for one in corners} == {0.0, 1e-3, 1e2}
    assert {one[LAMBDA_OT] for one in space.known()} == {1e2}, "OT is on where sets are named in advance"


def test_what_is_known_ahead_combines_listed_values_and_leaves_bounds_to_the_trials():
    default = default_space(quickstart(), 10, 1000, ["accuracy"])
    texts = ["training.batch_size=16,32", "training.learning_rate=log:1e-4,1e-2", "utility_model.dropout=.1,.5"]
    space = parse_space(texts, default)
    known = list(space.known())
    pairs = [(one[BATCH], one["training.batch_size"]) for one in known]
    assert sorted(pairs) == [(b, size) for b in (20, 25, 50) for size in (16, 32)], "each once: û's dropout is no set's"
    assert all("training.learning_rate" not in one and LAMBDAS[0] not in one for one in known)
    assert space.unknown() == ["training.learning_rate"]
    assert default.unknown() == []


def test_many_listed_values_are_not_all_combined_ahead():
    texts = ["training.batch_size=16,32,64", "training.max_epochs=10,20,30", "strategy=rambo"]
    space = parse_space(texts, default_space(quickstart(), 10, 1000, ["accuracy"]))
    known = list(space.known())
    assert len(known) == 3 + 3 + 3 + 1 < MOST_KNOWN < 3 * 3 * 3
    assert {one[BATCH] for one in known} == {20, 25, 50}
    assert space.unknown() == [BATCH, "training.batch_size", "training.max_epochs"]


def test_lambdas_are_idle_without_ot():
    space = default_space(quickstart(), 10, 1000, ["accuracy"])
    assert space.is_idle(LAMBDAS[0], {LAMBDA_OT: 0.0}, quickstart())
    assert not space.is_idle(LAMBDAS[0], {LAMBDA_OT: 0.1}, quickstart())
    assert space.is_idle(LAMBDA_OT, {SWITCH_OT: False}, quickstart())
    assert not space.is_idle(BATCH, {SWITCH_OT: False}, quickstart())


def test_what_a_strategy_is_without_is_not_searched_whatever_the_switches_say():
    base = override(quickstart(), {"strategy": "dulo"})
    space = default_space(base, 10, 1000, ["accuracy"])
    assert set(space.dimensions) == {BATCH}
    assert base.switches.ot
    assert space.is_idle(LAMBDA_OT, {}, base)
    assert space.is_idle(LAMBDAS[0], {SWITCH_OT: True, LAMBDA_OT: 1.0}, base)
