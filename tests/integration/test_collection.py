"""Collections by real Ray Train workers and real commands, some of them killed; the ledger says what was paid for."""

import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pyarrow.parquet as pq
import pytest
import torch
from here import sentences

from cluster.collect import BATCHES_A_WORKER, PILOT_SETS, collect, collect_here, collect_with_workers, pilot
from cluster.runtime import connected
from cluster.work import missing_work
from cluster.workers import CONTROLLER_ENDED
from rambo.config import Config
from rambo.errors import InvalidInput
from rambo.fields import override, to_json
from rambo.home import Home
from rambo.measurement import Measurement
from rambo.preparation import planned_distances, prepare
from rambo.progress import Progress
from rambo.store import COMPACT_ABOVE, Store

pytestmark = pytest.mark.timeout(900)  # several starts of Ray in a test, on a machine that may have other work

CPU, QUIET = torch.device("cpu"), Progress(quiet=True)
PATIENCE = 240.0
"""Seconds that a busy machine gets for what takes a quiet one few."""

SLOW = {"training.learning_rate": 1e-6, "training.max_epochs": 250}
"""f never learns, so each training lasts about 0.2 s: collections in which there is time to kill somebody."""

ALWAYS_RAY = """
import cluster.collect
from cluster.__main__ import main, run_command
cluster.collect.START_SECONDS = 0
cluster.collect.BATCH_SECONDS = 1
"""
"""The command, but for the rule that short collections need no Ray; little is lost with a batch."""
OFTEN = """
import cluster.collect
import rambo.training.measuring
from cluster.__main__ import main, run_command
cluster.collect.FLUSH_SECONDS = rambo.training.measuring.FLUSH_SECONDS = 0.2
"""
"""The command, but for how often it writes what it has measured and looks for what others have."""
ALONE = "cluster.collect.lend_a_hand = lambda *rest: None\n"
"""And but for what the main process measures while workers start, so that they find all the work there is."""
RUN = "run_command('cluster', main)"


class Task:
    """What one configuration has to collect."""

    def __init__(self, config: Config) -> None:
        self.config = config
        prepared = prepare(config, Path("unused"))
        problem = prepared.problem(prepared.pool)
        self.trainings = [(problem, specs) for specs in prepared.specs().values()]
        self.distances = planned_distances(prepared, Path("unused"), CPU)
        self.keys = {problem.key(spec) for _, specs in self.trainings for spec in specs}
        self.ot_keys = {ot_problem.key(row) for ot_problem, rows in self.distances for row in rows}

    def missing(self, home: Home):
        return missing_work(self.trainings, self.distances, Store(home))

    def measured(self, home: Home) -> dict[str, Measurement]:
        return Store(home).measurements(sorted(self.keys))


@pytest.fixture(scope="module")
def task(tiny):
    return Task(override(tiny, {"offline.num_pairs": 16}))


@pytest.fixture(scope="module")
def slow_task(tiny):
    return Task(override(tiny, {**SLOW, "offline.num_pairs": 30}))


@pytest.fixture(scope="module")
def serial(task, tmp_path_factory):
    """A home that was filled in this process."""
    home = Home(tmp_path_factory.mktemp("serial"))
    collect_here(task.missing(home), Store(home), CPU, QUIET)
    return home


@pytest.fixture(scope="module")
def one_ray():
    """One Ray for all tests of this module that need one in this process."""
    with connected(4) as resources:
        yield resources


@pytest.fixture
def four_cpus(one_ray, monkeypatch):
    """That Ray, for workers who find all the work there is."""
    monkeypatch.setattr("cluster.collect.lend_a_hand", lambda *rest: None)
    return one_ray


def begun(home) -> list[dict]:
    """The trainings that were begun in a home, in order."""
    path = Path(home.root if isinstance(home, Home) else home, "store", "ledger.jsonl")
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def worker_of(home) -> int | None:
    """The process that began the latest training, this one and the main process of a command left out."""
    ray_workers = [entry["process"] for entry in begun(home) if "RayTrainWorker" in title(entry["process"])]
    return ray_workers[-1] if ray_workers else None


def title(process: int) -> str:
    try:
        return " ".join(psutil.Process(process).cmdline())
    except psutil.Error:
        return ""


def wait_for(condition, command=None):
    """The first true value of `condition`; fails where it takes too long or `command` ends before."""
    deadline = time.monotonic() + PATIENCE
    while not (value := condition()):
        assert command is None or command.poll() is None, "".join(map(str, command.communicate()))
        assert time.monotonic() < deadline, "nothing came of it in time"
        time.sleep(0.02)
    return value


def start(task: Task, home: Path, *flags: str, script: str = "") -> subprocess.Popen[str]:
    """The command that collects `task` into `home`; `script`: with what that changes."""
    program = ["-c", script + RUN] if script else ["-m", "cluster"]
    settings = home.parent / "config.json"
    settings.write_text(to_json(task.config))
    command = [sys.executable, *program, "collect", "--config", str(settings), "--home", str(home), *flags]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=home.parent)


def finish(command) -> tuple[int, str, str]:
    out, err = command.communicate(timeout=PATIENCE)
    return command.returncode, out, err


def without_seconds(measured):
    return {key: (one.digest, one.epochs, one.device) for key, one in measured.items()}


@pytest.mark.parametrize(
    "num_workers", [pytest.param(1, marks=pytest.mark.long), 2, pytest.param(4, marks=pytest.mark.long)]
)
def test_any_number_of_workers_measures_what_one_process_measures(num_workers, task, serial, four_cpus, tmp_path):
    home = Home(tmp_path / "home")
    collect_with_workers(task.missing(home), home, num_workers=num_workers, device="cpu", progress=QUIET)
    expected = task.measured(serial)
    assert expected.keys() == task.keys
    assert without_seconds(task.measured(home)) == without_seconds(expected)
    keys = sorted(task.ot_keys)
    assert len(keys) > 20
    assert Store(home).ot_values(keys) == Store(serial).ot_values(keys)
    processes = {entry["process"] for entry in begun(home)} - {os.getpid()}
    assert 1 <= len(processes) <= num_workers
    assert sorted(entry["key"] for entry in begun(home)) == sorted(task.keys), "each was trained once"
    assert {path.name for path in Path(home.root).iterdir()} == {"store"}, "nothing of Ray's is left behind"


def kill_a_worker(home: Home, task: Task) -> set[str]:
    """Kill a worker in the midst of a collection; returns what was stored just before."""
    worker = wait_for(lambda: len(task.measured(home)) > 20 and worker_of(home))
    stored = set(task.measured(home))
    os.kill(worker, signal.SIGKILL)
    return stored


@pytest.mark.long
def test_a_killed_worker_costs_the_batches_in_hand(slow_task, four_cpus, tmp_path):
    home = Home(tmp_path / "home")
    work = slow_task.missing(home)
    with ThreadPoolExecutor(1) as pool:
        killing = pool.submit(kill_a_worker, home, slow_task)
        collect_with_workers(work, home, num_workers=2, device="cpu", progress=QUIET)
        stored = killing.result()
    assert slow_task.measured(home).keys() == slow_task.keys
    times = Counter(entry["key"] for entry in begun(home))
    twice = {key for key, count in times.items() if count > 1}
    largest_batch = math.ceil(work.num_trainings / (BATCHES_A_WORKER * 2))
    assert times.keys() == slow_task.keys
    assert len(twice) <= 2 * largest_batch
    assert max(times.values()) <= 2
    assert not twice & stored, "what was in the store is not trained again"
    assert len({entry["process"] for entry in begun(home)} - {os.getpid()}) > 2, "the group was started again"


@pytest.mark.long
def test_a_killed_queue_starts_again_and_nothing_is_lost(slow_task, four_cpus, tmp_path, capsys):
    home = Home(tmp_path / "home")

    def kill_the_queue() -> set[str]:
        wait_for(lambda: len(slow_task.measured(home)) > 20)
        queues = [process for process in psutil.Process().children(recursive=True) if "WorkQueue" in title(process.pid)]
        stored = set(slow_task.measured(home))
        max(queues, key=psutil.Process.create_time).kill()
        return stored

    with ThreadPoolExecutor(1) as pool:
        killing = pool.submit(kill_the_queue)
        collect_with_workers(slow_task.missing(home), home, num_workers=2, device="cpu", progress=Progress())
        stored = killing.result()
    assert slow_task.measured(home).keys() == slow_task.keys
    times = Counter(entry["key"] for entry in begun(home))
    assert all(times[key] == 1 for key in stored), "what was in the store is not trained again"
    assert len({entry["process"] for entry in begun(home)} - {os.getpid()}) == 2, "the workers were not disturbed"
    told = capsys.readouterr().err
    assert told.startswith("starting Ray Train workers: 2\n")
    assert re.search(r"^measuring: \d+/\d+ sets, (.*sets/s, .* s left, )?workers at work: [12]$", told, re.MULTILINE), (
        told
    )


@pytest.mark.long
def test_a_killed_controller_is_told_in_a_sentence_and_nothing_is_lost(slow_task, tmp_path):
    home = tmp_path / "home"
    command = start(slow_task, home, "--num-workers", "2", "--quiet", script=ALWAYS_RAY)
    wait_for(lambda: worker_of(home), command)
    (controller,) = [
        process
        for process in psutil.Process(command.pid).children(recursive=True)
        if "TrainController" in title(process.pid)
    ]
    controller.kill()
    status, _, err = finish(command)
    assert (status, err) == (2, f"cluster: {CONTROLLER_ENDED}\n")
    stored, paid = set(slow_task.measured(Home(home))), len(begun(home))
    assert stored
    status, _, err = finish(start(slow_task, home, script=ALWAYS_RAY))
    assert status == 0, err
    assert slow_task.measured(Home(home)).keys() == slow_task.keys
    assert not {entry["key"] for entry in begun(home)[paid:]} & stored, "what was stored is not trained again"


@pytest.mark.long
def test_a_stopped_and_a_killed_command_go_on_where_they_were(slow_task, tmp_path):
    home = tmp_path / "home"
    flags = ["--num-workers", "2"]
    stored: set[str] = set()
    for number in (signal.SIGINT, signal.SIGKILL):
        command = start(slow_task, home, *flags, "--quiet", script=ALWAYS_RAY + ALONE)
        worker = psutil.Process(wait_for(lambda: worker_of(home), command))
        assert worker.nice() == psutil.Process(command.pid).nice(), "a worker is no second-class process"
        command.send_signal(number)
        status, out, err = finish(command)
        if number == signal.SIGINT:
            assert (status, err) == (130, "cluster: stopped; the same command goes on from here.\n")
        worker.wait(PATIENCE)  # it ends with the command, a little later
        known = len(stored)
        stored, paid = set(slow_task.measured(Home(home))), len(begun(home))
        assert known < len(stored) < len(slow_task.keys)
    command = start(slow_task, home, *flags, script=ALWAYS_RAY)
    status, out, err = finish(command)
    assert status == 0, err
    assert f"{len(slow_task.keys)} trainings" in out
    assert "starting Ray Train workers: 2\n" in err
    assert slow_task.measured(Home(home)).keys() == slow_task.keys
    assert not {entry["key"] for entry in begun(home)[paid:]} & stored, "what was stored is not trained again"
    here = [entry for entry in begun(home)[paid:] if entry["process"] == command.pid]
    assert len(here) > PILOT_SETS + 1, "the main process lends a hand while the workers start"
    paid = len(begun(home))
    status, out, err = finish(start(slow_task, home, *flags, script=ALWAYS_RAY))
    assert status == 0, err
    assert out.endswith("0 trainings and 0 OT distances added.\n")
    assert len(begun(home)) == paid, "the second run trains nothing"
    assert {path.name for path in home.iterdir()} == {"store"}


def test_a_truncated_file_is_set_aside_and_its_records_alone_are_measured_again(task, serial, tmp_path):
    home = Home(tmp_path / "home")
    shutil.copytree(serial.root, home.root)
    folder = Path(home.root, "store", "measurements")
    extra = Measurement(0.5, 0.5, b"1", 1, 1.0, "cpu")
    Store(home).put_measurements({"another": extra})
    victim = max(folder.iterdir(), key=lambda path: path.stat().st_size)
    lost = set(pq.read_table(victim)["key"].to_pylist())
    victim.write_bytes(victim.read_bytes()[:-20])
    paid = len(begun(home))
    with pytest.warns(RuntimeWarning, match=r"moved to store/corrupt and what it held is worked out again"):
        work = task.missing(home)
    assert work.num_trainings == len(lost) > 5
    collect(work, home, num_workers=1, device="cpu", progress=QUIET)
    assert {entry["key"] for entry in begun(home)[paid:]} == lost
    assert len(begun(home)) == paid + len(lost)
    assert [path.name for path in Path(home.root, "store", "corrupt").iterdir()] == [victim.name]
    assert without_seconds(task.measured(home)) == without_seconds(task.measured(serial))
    assert Store(home).measurements(["another"]) == {"another": extra}


@pytest.mark.long
@pytest.mark.parametrize("by_ray", [False, True])
def test_two_collections_into_one_home_at_once(by_ray, tiny, tmp_path):
    home, task = tmp_path / "home", Task(override(tiny, {**SLOW, "offline.num_pairs": 60 if by_ray else 30}))
    junk = {f"junk {number}": Measurement(0.5, 0.5, b"1", number, 1.0, "cpu") for number in range(COMPACT_ABOVE + 6)}
    for key, record in junk.items():  # so many files that both commands merge them
        Store(Home(home), compact=False).put_measurements({key: record})
    script = (ALWAYS_RAY + ALONE) if by_ray else OFTEN
    flags = ["--num-workers", "1-2" if by_ray else "1", "--quiet"]
    commands = [start(task, home, *flags, script=script) for _ in range(2)]
    for status, out, err in map(finish, commands):
        assert (status, err) == (0, "")
        assert "trainings and" in out
    assert task.measured(Home(home)).keys() == task.keys
    assert Store(Home(home)).measurements(list(junk)) == junk
    folder = home / "store"
    assert len(list((folder / "measurements").iterdir())) < COMPACT_ABOVE
    assert not (folder / "corrupt").exists()
    assert not [path for path in folder.rglob("*") if path.name.endswith(".tmp")]
    paid = begun(home)
    assert len({entry["process"] for entry in paid}) >= (4 if by_ray else 2), "both commands, and their workers"
    assert len(paid) <= 1.5 * len(task.keys), "they share the work"


@pytest.fixture
def small_disk(tmp_path):
    """A file system of half a megabyte, and a function that gives it more."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount(options: str) -> None:
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], check=True, capture_output=True)

    try:
        mount("size=512k")
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"a file system cannot be mounted here: {error}")
    try:
        yield folder, lambda: mount("remount,size=16m")
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def fill(folder: Path, leave: int) -> None:
    """Write a file that leaves `leave` bytes of the disk."""
    free = os.statvfs(folder).f_bavail * os.statvfs(folder).f_frsize
    (folder / "ballast").write_bytes(bytes(free - leave))


@pytest.mark.long
def test_a_full_disk_is_one_sentence_and_room_is_all_it_takes(tiny, task, small_disk):
    folder, enlarge = small_disk
    home = folder / "home"
    flags = ["--num-workers", "1", "--quiet"]
    assert finish(start(Task(tiny), home, *flags))[0] == 0
    stored, paid = set(Store(Home(home)).measurements(sorted(task.keys))), len(begun(home))
    assert stored
    fill(folder, 24 * 1024)  # room for the probe and the pilot, not for all
    status, _, err = finish(start(task, home, *flags))
    assert (status, err.count("\n")) == (2, 1), err
    assert err.startswith("cluster: ")
    assert "No space left on device; nothing kept before is lost" in err
    assert stored <= set(task.measured(Home(home)))
    stored, began = set(task.measured(Home(home))), len(begun(home))
    assert began > paid, "the disk was full in the midst of the work"
    enlarge()
    status, _, err = finish(start(task, home, *flags))
    assert (status, err) == (0, "")
    assert task.measured(Home(home)).keys() == task.keys
    assert not {entry["key"] for entry in begun(home)[began:]} & stored


@pytest.mark.long
def test_a_full_disk_ends_the_workers_with_one_sentence(slow_task, small_disk, four_cpus):
    folder, enlarge = small_disk
    home = Home(folder / "home")
    work = slow_task.missing(home)
    estimate = pilot(work, Store(home), CPU)
    fill(folder, 24 * 1024)
    with pytest.raises(InvalidInput, match="No space left on device; nothing kept before is lost"):
        collect_with_workers(work, home, num_workers=2, device="cpu", progress=QUIET, estimate=estimate)
    stored = set(slow_task.measured(home))
    assert 0 < len(stored) < len(slow_task.keys)
    (folder / "ballast").unlink()
    enlarge()
    began = len(begun(home))
    collect_here(slow_task.missing(home), Store(home), CPU, QUIET)
    assert slow_task.measured(home).keys() == slow_task.keys
    assert not {entry["key"] for entry in begun(home)[began:]} & stored


def test_bad_numbers_of_workers_are_one_sentence(task, tmp_path):
    status, _, err = finish(start(task, tmp_path / "home", "--num-workers", "8-2"))
    assert status == 2
    assert sentences(err) == [
        "cluster: --num-workers must be a number from 1, or a range of them such as 2-8, got '8-2'."
    ]
    assert not (tmp_path / "home").exists()
