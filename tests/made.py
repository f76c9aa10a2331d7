"""Results and outcomes as a finished run has them, for tests of what reads them."""

import numpy as np

from rambo.result import Result
from rambo.utility.pretraining import HeldOut


def made_result(strategy: str = "rambo", seed: int = 0, test_accuracy: float = 0.8, **changes: object) -> Result:
    """A run of 100 labels on digits that learned û, unless `changes` say otherwise."""
    values = {
        "data": "my-digits-0123456789ab",
        "config_id": "c" * 16,
        "val_accuracy": 0.75,
        "base_test_accuracy": 0.6,
        "base_val_accuracy": 0.55,
        "num_labelled": 100,
        "pair_accuracy": 0.7,
        "pair_ceiling": 0.9,
        "label_agreement": 0.65,
        "trainings": 7,
        "seconds": {"seed_set": 1.25, "utility_model": 2.0},
    }
    return Result(strategy=strategy, seed=seed, test_accuracy=test_accuracy, **{**values, **changes})


def made_control(strategy: str = "random", **changes: object) -> Result:
    """The same of a strategy that learns no û."""
    return made_result(strategy, **{"pair_accuracy": None, "pair_ceiling": None, "label_agreement": None, **changes})


def made_held_out(*, ot: bool = True) -> HeldOut:
    """Three held-out pairs, two of them ordered as measured."""
    scores, utility = np.array([[0.1, 0.2], [0.5, -0.5], [1.0, 2.0]]), np.array([[0.3, 0.4], [0.9, 0.8], [0.7, 0.6]])
    distances = np.array([[1.0, 1.1], [0.9, 1.0], [1.2, 0.8]])
    return HeldOut(
        scores=scores,
        utility=utility,
        predicted_ot=distances + 0.25 if ot else None,
        ot=distances if ot else None,
        pair_accuracy=2 / 3,
        pair_ceiling=0.9,
        repeat_agreement=0.82,
        num_ceiling_pairs=3,
    )
