"""The tune command, run for real: Ray Tune over Optuna on SQLite, MLflow, kills."""

import csv
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import optuna
import psutil
import pytest
from here import sentences
from sklearn.datasets import load_digits
from tiny_experiment import TINY_FLAGS

from cluster.place import Place
from cluster.runtime import connected
from rambo.errors import InvalidInput
from rambo.fields import override, read_config
from rambo.home import Home
from rambo.progress import Progress
from tune.__main__ import main
from tune.driver import Limits
from tune.records import ORPHANED
from tune.run import search
from tune.settings import Settings
from tune.space import LAMBDAS, Choice, Range, Space

FINAL = ("trials.csv", "importances.csv", "best.json", "figures/history.png", "figures/slices.png")
PATIENCE = 280


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "tune", *arguments]


def tune(*arguments: str, cwd: Path):
    answer = subprocess.run(command(*arguments), capture_output=True, text=True, cwd=cwd, timeout=PATIENCE)
    assert answer.returncode == 0, answer.stderr
    return answer


def run(*flags: str, cwd: Path, study: str = "tiny"):
    return tune("run", *TINY_FLAGS, "--home=home", f"--study={study}", *flags, cwd=cwd)


def folder(root: Path, study: str = "tiny") -> Path:
    return root / "home/searches" / study


def files(root: Path) -> dict[str, bytes]:
    return {name: (folder(root) / name).read_bytes() for name in FINAL}


def rows(root: Path, study: str = "tiny") -> list[dict[str, str]]:
    return list(csv.DictReader((folder(root, study) / "trials.csv").open()))


def ledger(root: Path, study: str = "tiny") -> list[tuple[str, str]]:
    lines = Home(root / "home").read_lines(f"searches/{study}/ledger.jsonl")
    return [(entry["event"], entry["trial"]) for entry in map(json.loads, lines)]


def states(root: Path, study: str = "tiny", database: str | None = None) -> Counter[str]:
    url = f"sqlite:///{database or folder(root, study) / 'optuna.db'}"
    return Counter(trial.state.name for trial in optuna.load_study(study_name=study, storage=url).trials)


def shown(root: Path, study: str = "tiny"):
    from mlflow import MlflowClient
    from mlflow.entities import ViewType

    client = MlflowClient(f"sqlite:///{root}/home/mlflow.db")
    [experiment] = [e for e in client.search_experiments() if e.name == f"tune/{study}"]
    return client.search_runs([experiment.experiment_id], run_view_type=ViewType.ALL)


def active(root: Path, study: str = "tiny"):
    return [one for one in shown(root, study) if one.info.lifecycle_stage == "active"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A search of five trials over two seeds."""
    root = tmp_path_factory.mktemp("finished")
    return root, run("--seeds=0-1", "--num-trials=5", cwd=root)


@pytest.fixture(scope="module")
def two_cpus():
    """One Ray for all that runs in this process."""
    with connected(2) as resources:
        yield resources


@pytest.fixture
def copy(finished, tmp_path):
    """The same, to be gone on with."""
    shutil.copytree(finished[0] / "home", tmp_path / "home")
    return tmp_path


def test_a_search_leaves_its_best_its_trials_its_study_and_mlflow(finished):
    root, answer = finished
    assert all((folder(root) / name).stat().st_size > 0 for name in (*FINAL, "plan.json", "ledger.jsonl", "spent.json"))
    assert "All 5 trials are finished. 5 trials ended now" in answer.stdout
    found = rows(root)
    assert Counter(row["state"] for row in found) == states(root)
    assert states(root).total() == 5
    assert set(states(root)) <= {"COMPLETE", "PRUNED"}
    best = max((row for row in found if row["state"] == "COMPLETE"), key=lambda row: float(row["val_mean"]))
    config = read_config(folder(root) / "best.json")
    assert config.utility_model.lambda_ot == float(best["utility_model.lambda_ot"])
    runs = active(root)
    assert {one.info.status for one in runs} == {"FINISHED"}
    [parent] = [one for one in runs if one.data.tags.get("kind") == "study"]
    assert "Best: trial" in parent.data.tags["mlflow.note.content"]
    assert parent.data.metrics["val_accuracy"] == round(float(best["val_mean"]), 4)
    assert parent.data.metrics["test_accuracy"] == round(float(best["test_mean"]), 4)
    assert parent.data.params["acquisition.budget"] == "40"
    assert (parent.data.tags["seeds"], len(parent.inputs.dataset_inputs)) == ("0, 1", 1)
    children = [one for one in runs if one.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
    assert len(children) == len({trial for _, trial in ledger(root)})
    for one in children:
        row = found[int(one.data.tags["number"])]
        assert one.data.metrics["val_accuracy"] == round(float(row[f"val_{one.data.tags['seed']}"]), 4)
        assert float(one.data.tags["lambda_ot"]) == pytest.approx(float(row["utility_model.lambda_ot"]), rel=1e-3)
        assert one.data.tags["state"] == row["state"]
        assert one.outputs.model_outputs, "the learned û is logged"


def test_the_best_is_a_configuration_that_rambo_runs(copy):
    config = folder(copy) / "best.json"
    flags = [sys.executable, "-m", "rambo", "--config", str(config), "--home=home"]
    answer = subprocess.run(flags, capture_output=True, text=True, cwd=copy, timeout=PATIENCE, check=True)
    trial = Path(answer.stdout.strip().splitlines()[-1])
    result = json.loads((trial / "result.json").read_text())
    best = max((row for row in rows(copy) if row["state"] == "COMPLETE"), key=lambda row: float(row["val_mean"]))
    assert result["val_accuracy"] == float(best["val_0"]), "it is the trial of the search itself"


def test_the_same_command_runs_nothing_and_more_trials_go_on(copy, two_cpus, capsys, monkeypatch):
    monkeypatch.chdir(copy)
    before, entered = files(copy), ledger(copy)
    runs = {one.info.run_id for one in active(copy)}
    same = ["run", *TINY_FLAGS, "--home=home", "--study=tiny", "--seeds=0-1", "--quiet"]
    main([*same, "--num-trials=5"])
    assert "All 5 trials are finished. 0 trials ended now" in capsys.readouterr().out
    assert files(copy) == before
    assert ledger(copy) == entered
    assert {one.info.run_id for one in active(copy)} == runs
    main([*same, "--num-trials=7"])
    assert "All 7 trials are finished. 2 trials ended now" in capsys.readouterr().out
    assert rows(copy)[:5] == list(csv.DictReader(before["trials.csv"].decode().splitlines()))
    assert len(rows(copy)) == 7
    assert {one.info.run_id for one in active(copy)} > runs
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler, "Ctrl-C is ours again after Tune's end"


@pytest.mark.long
def test_the_best_is_compared_with_the_base_on_fresh_seeds(copy, two_cpus, capsys, monkeypatch):
    monkeypatch.chdir(copy)
    main(["confirm", "--study=tiny", "--home=home", "--seeds=7,8", "--quiet"])
    said = capsys.readouterr().out
    assert "The best of tiny beside its base on 2 fresh seeds" in said
    found = list(csv.DictReader((folder(copy) / "confirm.csv").read_text().splitlines()))
    assert [row["seed"] for row in found] == ["7", "8"]
    entered = ledger(copy)
    main(["confirm", "--study=tiny", "--home=home", "--seeds=7,8", "--quiet"])
    assert ledger(copy) == entered, "nothing is run again"
    with pytest.raises(InvalidInput, match="--seeds must be fresh"):
        main(["confirm", "--study=tiny", "--home=home", "--seeds=1,2", "--quiet"])


def test_status_report_and_plan_tell_what_is_there_and_run_nothing(copy, capsys, monkeypatch):
    monkeypatch.chdir(copy)
    before, entered = files(copy), ledger(copy)
    main(["status", "--study=tiny", "--home=home"])
    told = capsys.readouterr().out
    assert "0, or log-uniform from 0.001 to 100" in told
    assert "0 running, 0 failed." in told
    (folder(copy) / "trials.csv").unlink()
    main(["report", "--study=tiny", "--home=home"])
    assert files(copy) == before
    sizes = ["--acquisition.budget=60", "--space=acquisition.batch_size=20,30", "--study=sizes"]
    main(["run", *TINY_FLAGS, "--home=home", "--seeds=0-1", "--num-trials=9", *sizes, "--plan"])
    planned = capsys.readouterr().out
    assert "acquisition.batch_size   20, 30" in planned
    assert "  b = 20: 0 trainings, 0 of them for no other b" in planned
    [new] = [line.split() for line in planned.splitlines() if "b = 30: " in line]
    assert new[3] == new[5] != "0", "what b = 30 brings is its own"
    assert "up to 4 final trainings a trial, 36 in all" in planned
    assert not (copy / "home/searches/sizes").exists()
    assert ledger(copy) == entered


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--space=none"], "--space must name at least one field to search over"),
        (["--space=acquisition.batch_size=20,15"], "must divide acquisition.budget (B = 40)"),
        (
            ["--space=data.num_seed_labels=50,60", "--space=acquisition.batch_size=20"],
            ">= 20, got k1 = 10 from k = 50 and b = 20",
        ),
        (["--space=utility_model.lambda_1=log:1,.1"], "must have a lower bound below the upper"),
        (["--sampler=grid"], "--sampler must be one of tpe, gp, random; got grid"),
        (["--storage=sqlite:////proc/none/optuna.db"], "--storage must be the URL of a database that can be opened"),
        (["--objectives=test"], "--objectives must be one of accuracy or accuracy,budget, got test"),
        (["--study=../up"], "--study must be a name of letters"),
        (["--num-trials=0"], "--num-trials must be at least 1"),
        (["--time-budget=0"], "--time-budget must be positive"),
        (["--max-trainings=5"], "--max-trainings must leave room for the"),
        (["--cpus-per-trial=64"], "A trial must fit into a node of the cluster"),
        (["--strategy=rambo,random"], "--strategy must name one strategy"),
        (["--home=/proc/none"], "--home must be a folder that can be written"),
    ],
)
def test_bad_input_is_one_sentence_before_anything_is_trained(tmp_path, monkeypatch, flags, sentence):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidInput) as refusal:
        main(["run", *TINY_FLAGS, "--home=home", "--seeds=0", "--quiet", *flags])
    assert sentence in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert not list(tmp_path.rglob("*.parquet"))


def test_another_search_under_the_same_name_is_refused_in_one_sentence(finished):
    flags = [*TINY_FLAGS, "--home=home", "--study=tiny", "--seeds=0-2"]
    answer = subprocess.run(command("run", *flags), capture_output=True, text=True, cwd=finished[0], timeout=PATIENCE)
    assert answer.returncode == 2
    [line] = sentences(answer.stderr)
    assert line.startswith("tune: --study tiny must keep its space, base, seeds")
    assert "got another seeds" in line


SLOW = ["--training.learning_rate=1e-6", "--training.max_epochs=30", "--space=utility_model.lambda_ot=log:1e-3,1e2"]
"""f never learns, so that there is time to be killed in; and no two settings are equal in effect."""


def kill_after(num_lines: int, root: Path, flags: list[str], rng: random.Random) -> None:
    """Search and kill -9 the driver a moment after its ledger has so many lines; 0: before it searches."""
    process = subprocess.Popen(command("run", *flags), cwd=root, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    said = []
    for line in process.stderr:
        said.append(line)
        if line.startswith(("searching: ",) if num_lines else ("searching: ", "collecting ")):
            break
    else:
        pytest.fail("".join(said))
    while len(ledger(root)) < num_lines and process.poll() is None:
        time.sleep(0.1)
    time.sleep(rng.uniform(0, 1))
    descendants = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
    process.send_signal(signal.SIGKILL)
    process.wait()
    psutil.wait_procs(descendants, timeout=10)  # Ray notices within seconds that its driver is gone


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_killed_again_and_again_a_search_ends_with_the_trials_it_was_asked_for(tmp_path):
    """KILLS=5 in the environment is the long form of this test."""
    rng, count = random.Random(0), int(os.environ.get("KILLS", "1"))
    flags = [*TINY_FLAGS, *SLOW, "--home=home", "--study=tiny", "--seeds=0-1", f"--num-trials={count + 2}"]
    in_hand = 0
    for kill in range(count):
        kill_after(0 if kill % 3 == 1 else len(ledger(tmp_path)) + 3, tmp_path, flags, rng)
        in_hand += states(tmp_path)["RUNNING"] > 0
        print(f"after a kill: {states(tmp_path)}")
    assert in_hand > 0, "it was killed with a trial in hand"
    tune("run", *flags, cwd=tmp_path)
    counts = states(tmp_path)
    print(f"in the end: {counts}")
    assert counts["COMPLETE"] + counts["PRUNED"] == count + 2
    assert set(counts) <= {"COMPLETE", "PRUNED", "FAIL"}, "nothing is left RUNNING or WAITING"
    found = rows(tmp_path)
    assert {row["reason"] for row in found if row["state"] == "FAIL"} == {ORPHANED}
    settings = [tuple(row[name] for name in LAMBDAS) for row in found if row["state"] != "FAIL"]
    assert len(set(settings)) == count + 2, "no setting is counted twice"
    unset = [row for row in found if not any(row[name] for name in LAMBDAS)]  # killed before it had a setting
    assert not [row for row in unset if row["state"] != "FAIL" or row["val_0"]]
    tried = {tuple(row[name] for name in LAMBDAS) for row in found if row not in unset}
    assert tried == set(settings), "what was in hand is tried again"
    assert "RUNNING" not in {one.info.status for one in shown(tmp_path)}
    done: set[str] = set()
    for event, trial in ledger(tmp_path):
        assert not (event == "start" and trial in done), f"{trial} was run again after it had finished"
        done |= {trial} if event == "done" else set()
    assert len([one for one in active(tmp_path) if "number" in one.data.tags]) == len(done)


@pytest.mark.long
def test_after_ctrl_c_nothing_is_left_running_and_the_same_command_goes_on(tmp_path):
    flags = [*TINY_FLAGS, "--home=home", "--study=tiny", "--seeds=0", "--num-trials=2"]
    process = subprocess.Popen(
        command("run", *flags), cwd=tmp_path, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    while not ledger(tmp_path) and process.poll() is None:
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGINT)  # a terminal sends it to all
    _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130, errors
    assert errors.strip().splitlines()[-1] == "tune: stopped; the same command goes on from here."
    assert states(tmp_path)["FAIL"] >= 1, "it was stopped with a trial in hand"
    assert "RUNNING" not in states(tmp_path)
    assert {one.info.status for one in shown(tmp_path)} == {"KILLED"}
    tune("run", *flags, cwd=tmp_path)
    found = rows(tmp_path)
    assert {row["reason"] for row in found if row["state"] == "FAIL"} == {ORPHANED}
    assert sum(row["state"] in ("COMPLETE", "PRUNED") for row in found) == 2
    assert set(states(tmp_path)) == {"COMPLETE", "FAIL"}
    assert {one.info.status for one in active(tmp_path)} == {"FINISHED"}


@pytest.mark.long
def test_settings_that_are_equal_in_effect_are_run_once_even_at_once(tiny, two_cpus, tmp_path, monkeypatch):
    from tune.trials import evaluate

    monkeypatch.setattr("tune.trials.TRIALS_A_TUNER", 1)  # what is aside outlives a Tuner
    home = Home(tmp_path / "home")
    settings = Settings(name="twins", seeds=(0, 1), limits=Limits(6), sampler="random", publishes=False)
    place = Place(home, Path("unused"), "cpu", "searches/twins/ledger.jsonl")
    space = Space({"acquisition.candidate_batches": Choice((2, 3))})
    result = search(tiny, space, settings, place, progress=Progress(quiet=True), run_seed=evaluate)
    assert [one.state for one in result.attempts] == ["COMPLETE"] * 6
    started = [trial for event, trial in ledger(tmp_path, "twins") if event == "start"]
    assert len(started) == len(set(started)) == 4


@pytest.mark.long
def test_accuracy_and_budget_leave_a_front_of_configurations(two_cpus, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    space = ["--space=none", "--space=acquisition.budget=40,80", "--space=acquisition.candidate_batches=2,3"]
    flags = ["--home=home", "--study=two", "--seeds=0-1", "--num-trials=4", "--sampler=random", "--quiet"]
    main(["run", *TINY_FLAGS, *flags, *space, "--objectives=accuracy,budget"])
    said = capsys.readouterr().out
    assert states(tmp_path, "two") == {"COMPLETE": 4}, "nothing is stopped early"
    url = f"sqlite:///{folder(tmp_path, 'two') / 'optuna.db'}"
    told = [
        (trial.values[0], int(trial.values[1])) for trial in optuna.load_study(study_name="two", storage=url).trials
    ]
    written = rows(tmp_path, "two")
    assert told == [(pytest.approx(float(row["val_mean"])), int(row["acquisition.budget"])) for row in written]
    assert len({budget for _, budget in told}) == 2
    front = list(csv.DictReader((folder(tmp_path, "two") / "front.csv").open()))
    for value, budget in told:
        beaten_by = [one for one in front if float(one["val_mean"]) >= value and int(one["budget"]) <= budget]
        assert beaten_by, "every trial is on the front or behind it"
    for one in front:
        config = read_config(folder(tmp_path, "two") / f"front/trial_{one['number']}.json")
        assert config.acquisition.budget == int(one["budget"])
        assert f"| {one['number']} | {one['budget']} |" in said
    assert (folder(tmp_path, "two") / "figures/front.png").stat().st_size > 0


@pytest.mark.long
def test_two_searches_at_once_in_one_storage_do_not_mix(tmp_path):
    """And a path that the user has given relative to this folder is found by trials, which work in another."""
    database, digits = tmp_path / "shared.db", load_digits()
    np.savez(tmp_path / "digits.npz", x=digits.images.astype(np.uint8) * 15, y=digits.target)
    flags = [*TINY_FLAGS, "--data.source=npz:digits.npz", "--home=home", "--seeds=0", "--num-trials=2"]
    flags.append(f"--storage=sqlite:///{database}")
    running = [
        subprocess.Popen(
            command("run", *flags, f"--study={name}", f"--sampler={name}"),
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for name in ("tpe", "random")
    ]
    for process in running:
        _, errors = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0, errors
    for name in ("tpe", "random"):
        assert states(tmp_path, name, str(database)) == {"COMPLETE": 2}
        assert len(rows(tmp_path, name)) == 2
        assert {one.info.status for one in active(tmp_path, name)} == {"FINISHED"}


@pytest.mark.long
def test_trials_that_raise_return_nan_or_are_killed_fail_with_their_reason_and_stop_nothing(
    tiny, two_cpus, tmp_path, monkeypatch
):
    from tune.trials import evaluate

    monkeypatch.setattr("tune.trials.MAX_KILLED", 1)

    def flaky(place_folder, config, place):
        fate = config.acquisition.candidate_batches
        if fate == 2:
            raise ValueError("no such luck\nat all")
        if fate == 4:
            os.kill(os.getpid(), signal.SIGKILL)
        outcome = evaluate(place_folder, config, place)
        return type(outcome)(float("nan"), 0.5) if fate == 5 else outcome

    home = Home(tmp_path / "home")
    # the sampler's seed meets each of the bad fates once and then the good one
    fates = {"acquisition.candidate_batches": Choice((2, 3, 4, 5)), "utility_model.dropout": Range(0.1, 0.4)}
    settings = Settings(name="flaky", seeds=(0,), limits=Limits(1), sampler="random", sampler_seed=13)
    place = Place(home, Path("unused"), "cpu", "searches/flaky/ledger.jsonl")
    result = search(tiny, Space(fates), settings, place, progress=Progress(quiet=True), run_seed=flaky)
    reasons = {
        one.fields["acquisition.candidate_batches"]: one.reason for one in result.attempts if one.state == "FAIL"
    }
    assert {one.fields["acquisition.candidate_batches"] for one in result.attempts if one.state != "FAIL"} == {3}
    assert sum(one.is_finished for one in result.attempts) == 1
    assert set(reasons) == {2, 4, 5}
    assert reasons[2].startswith("ValueError: no such luck (test_search.py:")
    assert reasons[4].startswith("its process died 2 times (")
    assert reasons[5] == "its accuracy is nan at seed 0"
    runs = active(tmp_path, "flaky")
    assert {one.info.status for one in runs} == {"FINISHED", "FAILED"}
    failed = [one for one in runs if one.info.status == "FAILED"]
    assert {one.data.tags["failure"] for one in failed} <= set(reasons.values())
    assert result.best is not None
    assert result.best.acquisition.candidate_batches == 3


@pytest.mark.long
def test_a_time_budget_ends_a_search_cleanly_and_the_next_command_goes_on(tiny, two_cpus, tmp_path):
    from tune.trials import evaluate

    home = Home(tmp_path / "home")
    space = Space({"utility_model.dropout": Range(0.1, 0.6)})
    place = Place(home, Path("unused"), "cpu", "searches/short/ledger.jsonl")

    def ask_for(limits: Limits):
        settings = Settings(name="short", seeds=(0,), limits=limits, publishes=False)
        small = override(tiny, {"strategy": "rambo"})
        return search(small, space, settings, place, progress=Progress(quiet=True), run_seed=evaluate)

    first = ask_for(Limits(50, time_budget=8))
    assert first.ended == "The time budget of 8 s is spent."
    assert {one.state for one in first.attempts} == {"COMPLETE"}, "what was begun has ended"
    assert first.num_run == len(first.attempts) < 50
    spent = ask_for(Limits(50, time_budget=8))
    assert (spent.num_run, spent.seconds >= 8) == (0, True)
    number = len(first.attempts) + 1
    more = ask_for(Limits(number))
    assert more.ended == f"All {number} trials are finished."
    assert more.pages is None
