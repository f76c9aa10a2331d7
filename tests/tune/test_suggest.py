"""From a space to questions and back; the answers come from Optuna's own trial of fixed parameters."""

import pytest
from optuna.trial import FixedTrial

from rambo.fields import override
from rambo.presets import quickstart
from tune.space import BATCH, LAMBDA_OT, LAMBDAS, SWITCH_OT, Choice, Range, Space, Whole
from tune.suggest import as_parameters, suggest

DROPOUT = "utility_model.dropout"
SPACE = Space(
    {
        DROPOUT: Range(0.0, 0.9),
        **dict.fromkeys(LAMBDAS, Range(1e-2, 10, log=True)),
        LAMBDA_OT: Range(1e-3, 1e2, log=True, zero=True),
        SWITCH_OT: Choice((True, False)),
        BATCH: Choice((20, 25)),
        "pretraining.num_pairs": Whole(4, 60),
    }
)
ALL_ON = {SWITCH_OT: True, f"{LAMBDA_OT} is 0": False, LAMBDA_OT: 0.5, **dict.fromkeys(LAMBDAS, 2.0)}
REST = {DROPOUT: 0.25, BATCH: 25, "pretraining.num_pairs": 9}


@pytest.mark.parametrize("changes", [{}, {LAMBDA_OT: 0.0}, {SWITCH_OT: False}, {LAMBDAS[1]: 0.02, DROPOUT: 0.9}])
def test_what_would_have_been_asked_for_leads_to_the_configuration_it_was_asked_for(changes):
    config = override(quickstart(), {**REST, **changes})
    trial = FixedTrial(as_parameters(SPACE, config))
    found = suggest(trial, SPACE, quickstart())
    assert all(found[name] == value for name, value in REST.items() if name not in changes)
    assert override(quickstart(), found) == config
    assert set(trial.params) == set(as_parameters(SPACE, config)), "nothing is answered that was not asked"


@pytest.mark.parametrize(
    ("answers", "unread"),
    [
        ({SWITCH_OT: False}, {LAMBDA_OT, *LAMBDAS}),
        ({SWITCH_OT: True, f"{LAMBDA_OT} is 0": True}, set(LAMBDAS)),
        (ALL_ON, set()),
    ],
)
def test_what_is_never_read_is_neither_asked_for_nor_set(answers, unread):
    trial = FixedTrial({**answers, **REST})
    found = suggest(trial, SPACE, quickstart())
    assert set(found) == set(SPACE.dimensions) - unread
    assert not unread & set(trial.params)


def test_what_is_never_read_is_asked_for_where_a_sampler_needs_it_and_still_not_set():
    trial = FixedTrial({**ALL_ON, **REST, SWITCH_OT: False})
    found = suggest(trial, SPACE, quickstart(), idle=True)
    assert set(LAMBDAS) | {LAMBDA_OT} <= set(trial.params)
    assert found == {**REST, SWITCH_OT: False}


def test_the_questions_have_the_bounds_and_scales_of_the_space():
    trial = FixedTrial({**ALL_ON, **REST})
    suggest(trial, SPACE, quickstart())
    asked = trial.distributions
    assert [(asked[name].low, asked[name].high, asked[name].log) for name in (LAMBDA_OT, DROPOUT)] == [
        (1e-3, 1e2, True),
        (0.0, 0.9, False),
    ]
    assert (asked["pretraining.num_pairs"].low, asked["pretraining.num_pairs"].high) == (4, 60)
    assert asked[BATCH].choices == (20, 25)
