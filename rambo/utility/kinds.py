"""û by the name of its kind: what a description beside kept weights is read back with."""

from collections.abc import Mapping
from typing import Any

from rambo.errors import InvalidInput
from rambo.utility.deep_sets import SetUtilityModel


def load_utility_model(description: Mapping[str, Any], weights: bytes) -> SetUtilityModel:
    """û from what `describe` said of it and a safetensors file; raises `InvalidInput` where these are spoilt."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    model = SetUtilityModel.from_description(description)
    try:
        model.load_state_dict(load(weights))
    except (SafetensorError, RuntimeError) as error:
        raise InvalidInput(
            f"utility_model.safetensors must be the weights that a trial left there, got {type(error).__name__}; "
            "remove the folder and run the trial again."
        ) from None
    return model
