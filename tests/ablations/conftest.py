"""Studies made up for tests: what every cell and seed reached is known."""

import pytest
from gaining_studies import holed, noisy

from ablations.factors import make_grid, switches
from ablations.report import render
from ablations.study import Outcome, Study
from rambo.presets import paper_mnist
from rambo.strategies.facts import CONTROLS


def outcome(accuracy, *, control=False, **changes):
    fields = {
        "test_accuracy": accuracy,
        "val_accuracy": accuracy + 0.01,
        "base_test_accuracy": 0.8,
        "base_val_accuracy": 0.81,
        "num_labelled": 700,
        "pair_accuracy": None if control else 0.55,
        "pair_ceiling": None if control else 0.7,
        "label_agreement": None if control else 0.45,
        "data": "digits-0123456789ab",
        "config_id": "0123456789abcdef",
        "commit": "9d957c3",
        "training_version": 1,
    }
    return Outcome(**{**fields, **changes})


@pytest.fixture(scope="session")
def make_study():
    """A study of `accuracy(cell, seed)`; None there is a missing trial, a text a failed one."""

    def make(accuracy, *, factors=None, controls=CONTROLS, seeds=range(10), design="factorial", name="study"):
        factors = switches() if factors is None else factors
        grid = make_grid(paper_mnist(), factors, controls=controls, seeds=seeds, design=design)
        outcomes, failures = {}, {}
        for cell, seed, config in grid.trials():
            value = accuracy(cell, seed)
            if isinstance(value, str):
                failures[cell.name, seed] = value
            elif isinstance(value, Outcome):
                outcomes[cell.name, seed] = value
            elif value is not None:
                labels = config.data.num_seed_labels + config.acquisition.budget
                outcomes[cell.name, seed] = outcome(value, control=cell.control is not None, num_labelled=labels)
        return Study(name, grid, outcomes, failures)

    return make


@pytest.fixture(scope="session")
def make_outcome():
    return outcome


@pytest.fixture(scope="session")
def study(make_study):
    return make_study(noisy)


@pytest.fixture(scope="session")
def files(study):
    return render(study)


@pytest.fixture(scope="session")
def holed_files(make_study):
    return render(make_study(holed), allow_mixed=True)
