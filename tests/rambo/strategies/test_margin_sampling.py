from pathlib import Path

import numpy as np
import pytest
import torch

from rambo.acquisition import Acquisition
from rambo.fields import override
from rambo.home import Home
from rambo.preparation import prepare
from rambo.progress import Progress
from rambo.store import Store
from rambo.training.measuring import Measurer
from rambo.training.trainer import SetSpec, Trainer
from rambo.utility.samples import train_seed


@pytest.fixture(scope="module")
def measurer(tmp_path_factory):
    return Measurer(Store(Home(tmp_path_factory.mktemp("margins"))), torch.device("cpu"), Progress(quiet=True))


def picks(tiny, measurer, strategy, **acquisition):
    changes = {"strategy": strategy, **{f"acquisition.{name}": value for name, value in acquisition.items()}}
    prepared = prepare(override(tiny, changes), Path("unused"))
    selection = Acquisition(prepared, measurer).select(prepared.pool, None, np.random.default_rng(0))
    return selection.indices.tolist()


def smallest_mean_margins(prepared, num_trainings):
    """Of so many trainings of f by hand."""
    trainer = Trainer(prepared.problem(prepared.pool), torch.device("cpu"))
    seeds = [train_seed(prepared.config.seed, repeat) for repeat in range(num_trainings)]
    unlabelled = prepared.pool.unlabelled
    told = [trainer.fit(SetSpec(prepared.split.seed_set, seed)).probabilities(unlabelled) for seed in seeds]
    ordered = np.sort(np.mean(told, axis=0, dtype=np.float64), axis=1)
    return unlabelled[np.argsort(ordered[:, -1] - ordered[:, -2])[:40]].tolist()


def test_margin_picks_by_one_training(tiny, prepared, measurer):
    assert picks(tiny, measurer, "margin") == smallest_mean_margins(prepared, 1)


def test_ensemble_margin_picks_by_the_mean_probabilities_of_five(tiny, prepared, measurer):
    five = smallest_mean_margins(prepared, 5)
    assert picks(tiny, measurer, "ensemble_margin") == five
    assert set(five) != set(smallest_mean_margins(prepared, 1)), "one training would pick others"


def test_or_of_as_many_as_are_asked_for(tiny, prepared, measurer):
    assert picks(tiny, measurer, "ensemble_margin", num_scouts=3) == smallest_mean_margins(prepared, 3)
    assert picks(tiny, measurer, "margin", num_scouts=5) == picks(tiny, measurer, "ensemble_margin")
