"""Experiments as trials on Ray: real ones, some of which fail in the ways that trials fail."""

import json
import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from own_strategy import EXAMPLE

from cluster.failures import Failure, read_failure
from cluster.limits import Meter, Spending, Spent
from cluster.named import Kind, Named
from cluster.place import Place
from cluster.runtime import connected
from cluster.trials import Line, run_trials, unfinished
from rambo.fields import override
from rambo.formats import json_bytes
from rambo.home import Home
from rambo.preparation import prepare
from rambo.progress import Progress
from rambo.result import read_result
from rambo.store import Store

LEDGER = "studies/test/ledger.jsonl"

QUIET = Progress(quiet=True)

SLOW = {"training.learning_rate": 1e-6, "training.max_epochs": 100, "evaluation.repeats": 25}


def place(home: Home) -> Place:
    return Place(home, Path("unused"), "cpu", LEDGER)


def events(home: Home) -> list[tuple[str, str]]:
    return [(entry["event"], entry["trial"]) for entry in map(json.loads, home.read_lines(LEDGER))]


@pytest.fixture(scope="module")
def two_cpus():
    with connected(2) as resources:
        yield resources


def test_trials_end_as_experiments_in_this_process_do(tiny, two_cpus, tmp_path):
    from rambo.experiment import Lab, run

    experiments = [prepare(override(tiny, {"seed": seed}), Path("unused")) for seed in (0, 1)]
    experiments.append(prepare(override(tiny, {"strategy": "random"}), Path("unused")))
    home, alone = Home(tmp_path / "tune"), Home(tmp_path / "alone")
    ended = []
    run_trials(experiments, place(home), progress=QUIET, on_end=lambda one: ended.append(one.folder))
    assert sorted(ended) == sorted(one.folder for one in experiments)
    for one in experiments:
        run(one, Lab(alone, Path("unused"), torch.device("cpu"), QUIET))
        assert home.read(f"{one.folder}/selected.csv") == alone.read(f"{one.folder}/selected.csv")
        for name in ("test_accuracy", "val_accuracy", "pair_accuracy"):
            ours, theirs = (getattr(read_result(where, one.folder), name) for where in (home, alone))
            assert ours == theirs
    assert sorted(events(home)) == sorted((event, one.folder) for one in experiments for event in ("start", "done"))
    assert unfinished(experiments, home) == []


def test_a_limit_leaves_trials_to_the_next_command(tiny, two_cpus, tmp_path):
    random = override(tiny, {"strategy": "random"})
    experiments = [prepare(override(random, {"seed": seed}), Path("unused")) for seed in range(2)]
    home, ended = Home(tmp_path), []
    named, most = Named(Kind("study", "studies", "ablations"), "test", home), experiments[0].num_later_trainings
    work = place(home).known_work(experiments).num_trainings
    meter = Meter(Spent(named), Spending(max_trainings=work + most))
    run_trials(experiments, place(home), progress=QUIET, on_end=lambda one: ended.append(one.folder), meter=meter)
    assert ended == [experiments[0].folder]
    assert unfinished(experiments, home) == experiments[1:]
    assert meter.over == f"Another trial could go beyond {work + most} trainings; {meter.trainings} are spent."
    assert meter.trainings == work + read_result(home, ended[0]).trainings


def test_trials_find_data_that_a_relative_path_names(two_cpus, tiny, tmp_path, monkeypatch):
    from sklearn.datasets import load_digits

    digits = load_digits()
    np.savez(tmp_path / "images.npz", x=(digits.images * 15).astype(np.uint8), y=digits.target)
    monkeypatch.chdir(tmp_path)
    experiment = prepare(override(tiny, {"data.source": "npz:images.npz", "strategy": "random"}), Path("unused"))
    home = Home("home")
    run_trials([experiment], place(home), progress=QUIET, on_end=lambda one: None)
    assert read_result(home, experiment.folder) is not None


@pytest.mark.long
def test_a_killed_trial_is_started_again_and_the_others_go_on(tiny, two_cpus, tmp_path):
    home = Home(tmp_path)
    slow = override(tiny, {**SLOW, "strategy": "random"})
    experiments = [prepare(override(slow, {"seed": seed}), Path("unused")) for seed in (0, 1)]
    killed = threading.Event()

    def kill_one() -> None:
        while not (starts := home.read_lines(LEDGER)):
            time.sleep(0.05)
        process = json.loads(starts[0])["process"]
        assert "ray::" in " ".join(psutil.Process(process).cmdline())
        os.kill(process, signal.SIGKILL)
        killed.set()

    killer = threading.Thread(target=kill_one, daemon=True)
    killer.start()
    run_trials(experiments, place(home), progress=QUIET, on_end=lambda one: None)
    killer.join(10)
    assert killed.is_set()
    assert all(read_result(home, one.folder) for one in experiments)
    counts = [event for event, _ in events(home)]
    assert (counts.count("start"), counts.count("done")) == (3, 2)


def test_a_fit_that_collapses_is_a_final_failure_that_stops_no_other(tiny, two_cpus, tmp_path):
    home = Home(tmp_path)
    broken = override(tiny, {"utility_model.learning_rate": 1e6, "switches.bilevel": "off"})
    experiments = [prepare(config, Path("unused")) for config in (broken, override(tiny, {"strategy": "margin"}))]
    run_trials(experiments, place(home), progress=QUIET, on_end=lambda one: None)
    failure = read_failure(home, experiments[0].folder)
    assert failure is not None
    assert failure.cause == "collapsed"
    assert read_result(home, experiments[1].folder) is not None
    assert unfinished(experiments, home) == []
    assert unfinished(experiments, home, retry_failed=True) == experiments[:1]
    assert ("collapsed", experiments[0].folder) in events(home)


def test_a_strategy_of_a_folder_that_only_this_process_knows_runs_in_a_trial_s(tiny, two_cpus, modules, tmp_path):
    """Ray has started without that folder in its path, as a cluster has that is there before its users are."""
    path = modules.write(EXAMPLE, "a_file_outside")
    experiment = prepare(override(tiny, {"strategy": "a_file_outside:pick"}), Path("unused"))
    home = Home(tmp_path / "home")
    run_trials([experiment], place(home), progress=QUIET, on_end=lambda one: None)
    assert read_failure(home, experiment.folder) is None
    assert read_result(home, experiment.folder).strategy == "a_file_outside:pick"
    assert home.read(f"{experiment.folder}/strategy.py") == path.read_bytes()


def test_a_strategy_s_file_that_is_edited_while_its_command_runs_mixes_with_nothing(tiny, two_cpus, modules, tmp_path):
    path = modules.write(EXAMPLE, "an_edited_file")
    experiment = prepare(override(tiny, {"strategy": "an_edited_file:pick"}), Path("unused"))
    path.write_text(EXAMPLE.replace("3 * request.budget", "2 * request.budget"))
    home = Home(tmp_path / "home")
    run_trials([experiment], place(home), progress=QUIET, on_end=lambda one: None)
    failure = read_failure(home, experiment.folder)
    assert failure is not None
    assert failure.cause == "refused"
    assert list(tmp_path.rglob("result.json")) == []
    path.write_text(EXAMPLE)
    assert unfinished([experiment], home) == [experiment]


def test_a_failure_that_may_pass_is_tried_again_by_the_next_command(prepared, tmp_path):
    home = Home(tmp_path)
    for cause, waiting in (("killed", 1), ("memory", 1), ("refused", 1), ("collapsed", 0), ("error", 0)):
        home.write(f"{prepared.folder}/failure.json", json_bytes(vars(Failure(cause, "why"))))
        assert len(unfinished([prepared, prepared], home)) == waiting


def test_trials_of_one_utility_model_wait_for_the_one_that_fits_it(tiny, tmp_path):
    """Of three budgets of two seeds the first of each seed goes, then controls; the others once that has ended."""
    cells = [{"acquisition.budget": 40}, {"acquisition.budget": 60}, {"strategy": "random"}]
    configs = {(s, c): override(tiny, {**cell, "seed": s}) for s in (0, 1) for c, cell in enumerate(cells)}
    one = {key: prepare(config, Path("unused")) for key, config in configs.items()}
    line, begun = Line(one.values(), Store(Home(tmp_path))), []
    while (first := line.first()) is not None:
        line.begin(first)
        begun.append(first)
    assert begun == [one[0, 0], one[0, 2], one[1, 0], one[1, 2]]
    line.end(one[1, 0])
    assert line.first() is one[1, 1]
    line.begin(one[1, 1])
    assert line.first() is None
    assert len(line) == 1
    line.end(one[0, 0])
    assert line.first() is one[0, 1]
