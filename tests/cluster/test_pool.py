"""Trials on actors that stay: real ones, one of which loses its process."""

import json
import os
import signal
from pathlib import Path

import psutil
import pytest

from cluster.place import Place, Share
from cluster.pool import TrialPool, fits
from cluster.runtime import Resources, connected
from rambo.fields import override
from rambo.home import Home
from rambo.preparation import prepare
from rambo.result import read_result

LEDGER = "studies/test/ledger.jsonl"


@pytest.fixture(scope="module")
def two_cpus():
    with connected(2):
        yield


@pytest.fixture
def pool(two_cpus, tmp_path):
    with TrialPool() as found:
        yield found


def started(tmp_path):
    return [json.loads(line)["process"] for line in Home(tmp_path).read_lines(LEDGER) if b'"start"' in line]


def test_actors_run_one_trial_after_another_and_one_that_dies_begins_anew(pool, tiny, tmp_path):
    """Four trials on two actors; the first trial's process is killed, and its trial ends all the same."""
    random = override(tiny, {"strategy": "random"})
    waiting = [prepare(override(random, {"seed": seed}), Path("unused")) for seed in range(4)]
    place, share = Place(Home(tmp_path), Path("unused"), "cpu", LEDGER), Share(num_gpus=0.0)
    ended, was_killed = [], False
    while len(ended) < 4:
        while waiting and pool.has_room(share):
            pool.start(waiting.pop(0), place, share)
        assert len(pool.seconds) <= 2
        ended += pool.wait(0.2)
        if not was_killed and (processes := started(tmp_path)):
            os.kill(processes[0], signal.SIGKILL)
            was_killed = True
    assert [one.failure for one in ended] == [None] * 4
    assert all(read_result(Home(tmp_path), one.one.folder) is not None for one in ended)
    assert len(set(started(tmp_path))) == 3, "one actor more than two, for the one that was killed"
    assert all(one.seconds > 0 for one in ended)
    pool.close()
    psutil.wait_procs([psutil.Process(pid) for pid in set(started(tmp_path)) if psutil.pid_exists(pid)], timeout=10)
    assert not any(psutil.pid_exists(pid) for pid in started(tmp_path))


@pytest.mark.parametrize(
    ("held", "share", "nodes", "room"),
    [
        ([], Share(1, 0), ((2, 0),), True),
        ([Share(1, 0)] * 2, Share(1, 0), ((2, 0),), False),
        ([Share(1, 0)] * 2, Share(1, 0), ((2, 0), (1, 0)), True),
        ([Share(1, 0)], Share(2, 0), ((2, 0), (1, 0)), False),
        ([Share(1, 0.25)] * 4, Share(1, 0.25), ((8, 1),), False),
        ([Share(1, 0.25)] * 3, Share(1, 0.25), ((8, 1),), True),
        ([Share(2, 0), Share(1, 0)], Share(1, 0), ((2, 0),), False),
        ([Share(1, 0)], Share(0.5, 0), ((1, 0), (1, 0)), True),
    ],
)
def test_room_is_what_the_trials_that_run_leave_on_a_node(held, share, nodes, room):
    assert fits(held, share, Resources(nodes)) is room
