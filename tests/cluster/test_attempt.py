"""One trial in its process: why it failed, and what it refuses."""

from pathlib import Path

import pytest
import torch

from cluster.attempt import _attempt
from cluster.place import Place, Share, described
from rambo.errors import FitCollapsed, InvalidInput, StrategyFailed
from rambo.fields import override
from rambo.home import Home
from rambo.preparation import prepare
from rambo.result import read_result
from rambo.store import Store


def place(home: Home) -> Place:
    return Place(home, Path("unused"), "cpu", "studies/test/ledger.jsonl")


@pytest.mark.parametrize(
    ("error", "cause", "final"),
    [
        (MemoryError("no room"), "memory", False),
        (torch.OutOfMemoryError("CUDA out of memory"), "memory", False),
        (FitCollapsed("all scores are equal"), "collapsed", True),
        (StrategyFailed("it must pick 40 images"), "error", True),
        (InvalidInput("the disk is full"), "refused", False),
        (RuntimeError("a bug"), "error", True),
    ],
)
def test_each_cause_of_failure_is_told_apart(prepared, tmp_path, monkeypatch, error, cause, final):
    def broken(*_: object) -> None:
        raise error

    monkeypatch.setattr("cluster.attempt.run", broken)
    home = Home(tmp_path)
    failure = _attempt(prepared.folder, prepared.config, Store(home), described(place(home), Share()))
    assert failure is not None
    assert (failure.cause, failure.is_final) == (cause, final)
    assert str(error) in failure.reason


def test_a_trial_that_reads_something_else_than_its_command_has_read_is_refused(tiny, prepared, tmp_path):
    home = Home(tmp_path)
    other = override(tiny, {"strategy": "random"})
    failure = _attempt(prepared.folder, other, Store(home), described(place(home), Share()))
    assert failure is not None
    assert failure.cause == "refused"
    assert failure.reason.startswith("A trial must read what its command has read, got other data, other weights or an")
    assert failure.reason.endswith(
        f"{prepare(other, Path('unused')).folder} instead of {prepared.folder}; give the command again."
    )
    assert read_result(home, prepared.folder) is None
