"""Connecting to Ray; what looks at other nodes stands with the jobs, whose cluster it shares."""

import os
import re
import subprocess
import sys
import time

import psutil
import pytest

from cluster.runtime import (
    connected,
    connected_beside,
    num_free,
    parse_num_workers,
    wait_for,
    workers_on,
)
from rambo.errors import InvalidInput, require
from rambo.progress import Progress


@pytest.mark.parametrize(("text", "expected"), [("1", 1), ("12", 12), ("2-8", (2, 8)), ("3-3", 3)])
def test_numbers_of_workers(text, expected):
    assert parse_num_workers(text) == expected


@pytest.mark.parametrize("text", ["", "0", "-2", "2-", "0-4", "8-2", "2-4-6", "two", "1.5", "²", "9999999", "9" * 40])
def test_other_texts_are_refused_in_one_sentence(text):
    with pytest.raises(InvalidInput) as caught:
        parse_num_workers(text)
    assert str(caught.value) == f"--num-workers must be a number from 1, or a range of them such as 2-8, got {text!r}."


def test_workers_take_what_is_free_unless_told_how_many():
    assert workers_on(4, 4, "CPUs") == 4
    assert workers_on((4, 100), 4, "CPUs") == (4, 100)
    assert workers_on(None, 8, "GPUs") == (1, 8), "a lost node leaves the rest at work"
    assert workers_on(None, 1, "CPUs") == 1


def test_more_workers_than_the_cluster_can_hold_are_refused():
    with pytest.raises(InvalidInput, match="1 to 4 workers, as many as the cluster has CPUs free, got 5"):
        workers_on((5, 8), 4, "CPUs")
    with pytest.raises(InvalidInput, match="1 to 2 workers, as many as the cluster has GPUs free, got 3"):
        workers_on(3, 2, "GPUs")
    with pytest.raises(InvalidInput, match="must have a CPU to itself, got a cluster with no free CPUs"):
        workers_on(None, 0, "CPUs")


@pytest.mark.long
def test_a_cluster_is_waited_for_as_long_as_the_environment_says(monkeypatch):
    """With a real Ray; what is too small at first is the check's word."""
    asked, told = [], []

    class Told(Progress):
        def say(self, text: str) -> None:
            told.append(text)

    def third_time(resources):
        asked.append(resources.nodes)
        require(len(asked) > 2, "The cluster must have more, got less.")
        return len(asked)

    with connected(3) as resources:
        assert resources.nodes == ((max(3, os.cpu_count()), 0),)
        assert num_free("CPU", resources.num_cpus) == resources.num_cpus
        with pytest.raises(InvalidInput, match="must have more"):
            wait_for(third_time, Told())
        asked.clear()
        monkeypatch.setenv("RAMBO_WAIT_SECONDS", "30")
        assert wait_for(third_time, Told()) == 3
        assert asked == [resources.nodes] * 3
        assert told == ["waiting up to 30 s for nodes to join: The cluster must have more, got less."]
        for text in ("soon", "²", "-1", "9" * 400):
            monkeypatch.setenv("RAMBO_WAIT_SECONDS", text)
            with pytest.raises(InvalidInput, match=f"RAMBO_WAIT_SECONDS must be a number of seconds, got '{text[:9]}"):
                wait_for(third_time, Told())


def test_work_goes_on_while_ray_starts():
    import ray

    asked = []

    def work(until):
        while not until():
            asked.append(time.monotonic())
            time.sleep(0.01)

    with connected_beside(3, work) as resources:
        assert len(asked) > 10
        assert resources.num_cpus == max(3, os.cpu_count())
        assert ray.get(ray.remote(lambda: os.getpid()).remote()) != os.getpid()
    assert not ray.is_initialized()


@pytest.mark.parametrize(
    "error", [KeyboardInterrupt, *(pytest.param(one, marks=pytest.mark.long) for one in (SystemExit, InvalidInput))]
)
def test_what_ends_the_work_beside_leaves_no_ray(error):
    import ray

    def work(until):
        raise error

    before = set(psutil.Process().children(recursive=True))
    with pytest.raises(error), connected_beside(3, work):
        pytest.fail("nothing comes after the work")
    assert not ray.is_initialized()
    _, alive = psutil.wait_procs(set(psutil.Process().children(recursive=True)) - before, timeout=10)
    assert not alive


@pytest.mark.parametrize("address", ["local", "127.0.0.1:1"])
def test_words_that_ray_cannot_keep_are_named_before_it_is_started(address, monkeypatch):
    import ray

    monkeypatch.setenv("RAY_ADDRESS", address)
    monkeypatch.setattr(sys, "orig_argv", [*sys.orig_argv, "--data.source", "images:ph\udce9"])
    sentence = r"must be given in UTF-8, got images:ph\\udce9; rename what that names"
    with pytest.raises(InvalidInput, match=sentence), connected():
        pass
    assert not ray.is_initialized()


@pytest.mark.parametrize("address", ["127.0.0.1:1", "127.0.0.1:99999", "127.0.0.1:²", "nonsense"])
def test_a_cluster_that_does_not_answer_is_one_sentence(address, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(InvalidInput) as caught, connected():
        pass
    sentence = str(caught.value)
    assert sentence.startswith(f"RAY_ADDRESS must name a Ray cluster that answers, got {address} (")
    assert "\n" not in sentence


def test_a_temporary_folder_too_long_for_sockets_is_one_sentence_whose_advice_works(tmp_path):
    """Slurm's are as long. Beside it a home folder that cannot be written, where Ray would keep a token."""
    script = """
import os, re
from cluster.runtime import connected
from rambo.errors import InvalidInput
try:
    with connected(1):
        print("it has started")
except InvalidInput as error:
    print(error)
    os.environ["RAY_TMPDIR"] = re.search(r"such as (\\S+), and give", str(error))[1]
with connected(1) as resources:
    print(resources.num_cpus >= 1)
"""
    long = tmp_path / ("x" * 90)
    environment = {**os.environ, "HOME": "/proc", "RAY_TMPDIR": str(long)}
    ended = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=200)
    said, started = ended.stdout.splitlines()
    assert f"must have a path of some 40 letters at most, got {long}; set RAY_TMPDIR to a short one" in said
    assert started == "True"


def test_whatever_keeps_ray_from_starting_here_is_one_sentence(monkeypatch):
    monkeypatch.setenv("RAY_TMPDIR", "/proc/nothing")
    with pytest.raises(InvalidInput) as caught, connected(1):
        pytest.fail("it has started")
    assert re.fullmatch(r"Ray must start on this machine, got: .*; see that /proc/nothing .*\.", str(caught.value))


@pytest.mark.parametrize(
    "started", [pytest.param("connected(1)", marks=pytest.mark.long), "connected_beside(1, lambda connected: None)"]
)
def test_after_sigterm_there_is_time_to_end_well(started):
    """Ray's handler would abort the process after 3 s, and threads that it has left behind would start Ray anew."""
    script = f"""
import contextlib, os, signal, sys, time
from cluster.runtime import connected, connected_beside
signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(143))
try:
    with {started}:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60)
finally:
    time.sleep(4)
    import ray
    with contextlib.suppress(Exception):
        ray.put("of a thread that works on")
    print("shown, with Ray" if ray.is_initialized() else "shown")
"""
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert (ended.returncode, ended.stdout) == (143, "shown\n"), ended.stderr
    assert "SIGTERM received" not in ended.stderr
