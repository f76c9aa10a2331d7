"""Values that no section of a configuration takes, each refused in one sentence where it is built."""

import pytest

from rambo.errors import InvalidInput
from rambo.sections import Acquisition, Data, Evaluation, Training, UtilityModel


@pytest.mark.parametrize(
    ("section", "fields", "sentence"),
    [
        (UtilityModel, {"lambda_ot": -1.0}, "utility_model.lambda_ot must be finite and at least 0, got -1.0"),
        (UtilityModel, {"lambda_ot": float("nan")}, "utility_model.lambda_ot must be finite and at least 0, got nan"),
        (UtilityModel, {"inner_gradient_norm": 0.0}, "inner_gradient_norm must be positive .* got 0.0"),
        (Training, {"learning_rate": 0.0}, "training.learning_rate must be finite and positive, got 0.0"),
        (Data, {"label_noise": 1.0}, r"data.label_noise must lie in \[0, 1\), got 1.0"),
        (Data, {"num_test": -1}, "data.num_test must be at least 0, got -1"),
        (Acquisition, {"block_epsilon": 1.0}, r"block_epsilon must lie in \(0, 1\), got 1.0"),
        (Acquisition, {"block_epsilon": 0.0}, r"block_epsilon must lie in \(0, 1\), got 0.0"),
        (Acquisition, {"num_parts": 0}, "acquisition.num_parts must be at least 1, got 0"),
        (Evaluation, {"first_repeat": -1}, "evaluation.first_repeat must be at least 0, got -1"),
    ],
)
def test_bad_values_are_one_sentence(section, fields, sentence):
    with pytest.raises(InvalidInput, match=sentence) as caught:
        section(**fields)
    assert "\n" not in str(caught.value)


def test_a_portfolio_is_a_list_of_names():
    assert Acquisition(portfolio="margin,badge").strategies == ("margin", "badge")
