"""What the tests share: a tiny experiment on real digits, prepared once."""

import logging
import signal
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
import shapes  # noqa: F401  # first: it looks at what is imported from here on
import torch
from own_strategy import Modules, modules_in
from tiny_experiment import TINY, embedded_digits

from cluster.tracking.server import calm
from rambo.config import Config
from rambo.fields import override
from rambo.preparation import Prepared, prepare
from rambo.presets import quickstart
from rambo.training.trainer import FittedClassifier, SetSpec, Trainer

hypothesis.settings.register_profile("shared machine", deadline=None)
hypothesis.settings.load_profile("shared machine")

calm()
"""MLflow is as quiet as our commands make it, whichever test imports it first."""

signal.signal(signal.SIGINT, signal.default_int_handler)
"""A suite started in the background has Ctrl-C ignored, and the commands that it starts would inherit that."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The files that take minutes first: two processes that share the files then end at about the same time."""
    items.sort(key=lambda item: "integration" not in item.path.parts)


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Kernels of small nets are slower on two threads than on one, much slower where the machine is busy."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def own_log() -> None:
    """Each test begins with the log as a fresh process has it, whatever a command that ran here, or in a fixture that
    outlives the test before, made of it."""
    log = logging.getLogger("rambo")
    log.handlers = []
    log.setLevel(logging.NOTSET)


@pytest.fixture(scope="session")
def tiny() -> Config:
    return override(quickstart(), TINY)


@pytest.fixture(scope="session")
def prepared(tiny: Config) -> Prepared:
    return prepare(tiny, Path("unused"))


@pytest.fixture(scope="session")
def embedded(tiny: Config, tmp_path_factory: pytest.TempPathFactory) -> Config:
    """The same experiment on the digits' pixels as embeddings."""
    return override(tiny, embedded_digits(tmp_path_factory.mktemp("embedded")))


@pytest.fixture(scope="session")
def classifier(prepared: Prepared) -> FittedClassifier:
    trainer = Trainer(prepared.problem(prepared.pool), torch.device("cpu"))
    return trainer.fit(SetSpec(prepared.split.seed_set, train_seed=1))


@pytest.fixture
def modules(tmp_path: Path) -> Iterator[Modules]:
    """Strategies of the user's own, in files outside the checkout."""
    with modules_in(tmp_path) as found:
        yield found
