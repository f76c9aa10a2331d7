import json

import pytest
import torch
from safetensors.torch import save

from rambo.errors import InvalidInput
from rambo.randomness import torch_generator
from rambo.sections import Switches, UtilityModel
from rambo.utility.deep_sets import SetUtilityModel
from rambo.utility.kinds import load_utility_model


@pytest.fixture(scope="module")
def model():
    """A calibrated û, as a trial leaves it."""
    made = SetUtilityModel((1, 8, 8), UtilityModel(lambda_ot=0.5), Switches(ranknet=False), seed=3)
    made.calibrate(torch.randn(12, 1, 8, 8, generator=torch_generator(0)))
    return made


def described(model, **changes):
    """What a file beside the weights says."""
    return json.loads(json.dumps({**model.describe(), **changes}))


def test_a_model_reads_back_to_the_bit(model):
    read = load_utility_model(described(model), save(model.state_dict()))
    images = torch.randn(5, 1, 8, 8, generator=torch_generator(1))
    assert read.describe() == model.describe()
    assert set(read.heads) == {"regression", "ot"}
    assert torch.equal(read(images), model(images))


def test_a_description_that_names_no_kind_is_of_the_first(model):
    old = {name: value for name, value in described(model).items() if name != "kind"}
    assert load_utility_model(old, save(model.state_dict())).describe() == model.describe()


def test_another_kind_is_one_sentence(model):
    with pytest.raises(InvalidInput, match=r"must be of the kind deep_sets, got 'graph'"):
        load_utility_model(described(model, kind="graph"), save(model.state_dict()))


@pytest.mark.parametrize("spoilt", ["empty", "cut", "of a model without OT", "of larger images"])
def test_spoilt_weights_are_one_sentence(model, spoilt):
    other = SetUtilityModel((1, 8, 8), UtilityModel(), Switches(ot=False, ranknet=False), seed=3)
    larger = SetUtilityModel((1, 28, 28), UtilityModel(), Switches(ranknet=False), seed=3)
    weights = {
        "empty": b"",
        "cut": save(model.state_dict())[:-20],
        "of a model without OT": save(other.state_dict()),
        "of larger images": save(larger.state_dict()),
    }[spoilt]
    with pytest.raises(
        InvalidInput, match=r"utility_model\.safetensors must be the weights that a trial left"
    ) as caught:
        load_utility_model(described(model), weights)
    assert "remove the folder and run the trial again" in str(caught.value)
    assert "\n" not in str(caught.value)
