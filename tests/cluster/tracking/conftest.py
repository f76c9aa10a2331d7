"""Two finished trials, run once for all tests of what MLflow shows."""

from pathlib import Path

import pytest
import torch
from published_trials import QUIET, client, failed, ids, publish

from cluster.databases import file_url
from cluster.tracking.entries import Entry
from rambo.experiment import Lab, run
from rambo.fields import override
from rambo.home import Home
from rambo.preparation import prepare


@pytest.fixture(scope="session")
def trials(tiny, tmp_path_factory):
    """A home with two finished trials, and what MLflow shall show of them."""
    home = Home(tmp_path_factory.mktemp("trials"))
    experiments = [prepare(override(tiny, {"strategy": name}), Path("unused")) for name in ("rambo", "random")]
    for one in experiments:
        run(one, Lab(home, Path("unused"), torch.device("cpu"), QUIET))
    return home, [Entry(one.folder, one.config.strategy, {"cell": one.config.strategy}) for one in experiments]


@pytest.fixture
def home(trials, tmp_path):
    """A copy of the trials, so that each test has an MLflow of its own."""
    import shutil

    shutil.copytree(trials[0].root, tmp_path / "home")
    return Home(tmp_path / "home")


@pytest.fixture(scope="session")
def migrated(tmp_path_factory):
    """MLflow's database without an experiment, which takes seconds to make, in a file to be copied."""
    from mlflow import MlflowClient

    file = tmp_path_factory.mktemp("migrated") / "mlflow.db"
    MlflowClient(file_url(file)).search_experiments()
    return file


@pytest.fixture
def shown(migrated, tmp_path):
    """A home whose board shows two trials, its client, the experiment and its parent."""
    home = Home(tmp_path / "a%20b?c#d::e")
    home.write("mlflow.db", migrated.read_bytes())
    board = publish(home, failed("one", "two"))
    experiment, parent = ids(board)
    assert [item.name for item in tmp_path.iterdir()] == ["a%20b?c#d::e"], "nothing lies beside it"
    return home, client(home), experiment, parent
