"""MLflow as a projection: its real SQLite store, its real server, and a fresh process that loads what was learned."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load

from cluster.tracking.board import Board
from cluster.tracking.entries import BoardSummary, Entry
from cluster.tracking.publisher import Publisher
from cluster.tracking.server import tracking_uri
from rambo.errors import InvalidInput
from rambo.experiment import Lab, run
from rambo.fields import override
from rambo.home import Home
from rambo.preparation import prepare
from rambo.progress import Progress
from rambo.result import read_result
from rambo.utility.deep_sets import SetUtilityModel

QUIET = Progress(quiet=True)
SUMMARY = BoardSummary(
    "# a study\n\n| a table |", {"table.md": b"| a table |", "figures/one.png": b"png"}, {"trials": 2.0}
)


@pytest.fixture(scope="module")
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


def client(home: Home):
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri(home))


def children(home: Home):
    found = client(home).search_runs(["1"], "tags.cell != '(the study)'")
    return {run.data.tags["cell"]: run for run in found}


def publish(home: Home, entries, status="FINISHED"):
    board = Board(home, "ablations/test", ["metrics.test_accuracy"])
    board.open()
    board.start()
    for entry in entries:
        board.publish(entry)
    board.finish(SUMMARY, status)
    return board


def test_runs_show_what_the_folders_hold(trials, home):
    publish(home, trials[1])
    runs = children(home)
    assert set(runs) == {"rambo", "random"}
    result = read_result(home, trials[1][0].folder)
    shown = runs["rambo"].data
    assert shown.metrics["test_accuracy"] == result.test_accuracy
    assert shown.metrics["pair_accuracy"] == result.pair_accuracy
    assert shown.params["acquisition.budget"] == "40"
    assert shown.tags["config_id"] == result.config_id
    assert "pair_accuracy" not in runs["random"].data.metrics
    data = runs["rambo"].inputs.dataset_inputs[0].dataset
    assert f"{data.name}-{data.digest}" == result.data
    curve = client(home).get_metric_history(runs["rambo"].info.run_id, "offline/inner_loss")
    rows = [json.loads(line) for line in home.read(f"{trials[1][0].folder}/metrics.jsonl").splitlines()]
    assert curve
    assert all({"stage": "offline", "step": m.step, "inner_loss": m.value} in rows for m in curve)
    names = {item.path for item in client(home).list_artifacts(runs["rambo"].info.run_id)}
    assert {"config.json", "selected.csv", "figures"} <= names


def test_the_parent_shows_the_table_and_its_files(trials, home):
    board = publish(home, trials[1])
    parent = client(home).get_run(board.parent_page().rsplit("/", 1)[1])
    assert "| a table |" in parent.data.tags["mlflow.note.content"]
    assert parent.info.status == "FINISHED"
    assert {item.path for item in client(home).list_artifacts(parent.info.run_id)} == {"table.md", "figures"}
    assert all(run.data.tags["mlflow.parentRunId"] == parent.info.run_id for run in children(home).values())


def test_publishing_again_changes_nothing_and_a_new_result_replaces_the_old(trials, home):
    publish(home, trials[1])
    before = {name: run.info.run_id for name, run in children(home).items()}
    publish(home, trials[1])
    assert {name: run.info.run_id for name, run in children(home).items()} == before
    folder = trials[1][1].folder
    result = json.loads(home.read(f"{folder}/result.json"))
    home.write(f"{folder}/result.json", json.dumps({**result, "test_accuracy": 0.5}).encode())
    publish(home, trials[1])
    after = children(home)
    assert after["rambo"].info.run_id == before["rambo"]
    assert after["random"].info.run_id != before["random"]
    assert after["random"].data.metrics["test_accuracy"] == 0.5


def test_what_a_killed_driver_left_running_is_ended(trials, home):
    board = publish(home, trials[1][:1])
    mlflow = client(home)
    orphan = mlflow.create_run("1", tags={"cell": "half published", "trial": "x", "mlflow.parentRunId": "y"})
    board.start()
    publish(home, trials[1])
    from mlflow.entities import ViewType

    everything = mlflow.search_runs(["1"], run_view_type=ViewType.ALL)
    assert [run for run in everything if run.info.status == "RUNNING"] == []
    assert mlflow.get_run(orphan.info.run_id).info.status == "KILLED"
    assert set(children(home)) == {"rambo", "random"}


def after(call, error):
    """`call`, whose first answer is lost on the way back."""
    lost = []

    def answer(*arguments, **named):
        given = call(*arguments, **named)
        if not lost:
            lost.append(given)
            raise error
        return given

    return answer


@pytest.mark.parametrize("step", ["create_run", "log_batch", "set_terminated"])
def test_an_answer_that_is_lost_leaves_one_run_of_the_trial_and_none_running(trials, home, monkeypatch, step):
    from mlflow.entities import ViewType

    monkeypatch.setattr(Publisher, "RETRY_SECONDS", 0.0)
    publish(home, [])
    board = Board(home, "ablations/test", [])
    publisher = Publisher(board, QUIET)
    deadline = time.monotonic() + 60
    while not publisher._opened:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    monkeypatch.setattr(board._client, step, after(getattr(board._client, step), TimeoutError("no answer")))
    for entry in trials[1]:
        publisher.publish(entry)
    assert publisher.close(SUMMARY) == 0
    assert publisher.reason is None
    assert set(children(home)) == {"rambo", "random"}
    everything = client(home).search_runs(["1"], run_view_type=ViewType.ALL)
    assert "RUNNING" not in {run.info.status for run in everything}
    active = [run for run in everything if run.info.lifecycle_stage == "active"]
    assert len(active) == 3


@pytest.mark.parametrize("name", ["utility_model.safetensors", "utility_model.json"])
def test_a_trial_with_a_spoilt_file_is_named_and_keeps_no_other_back(trials, home, name):
    from mlflow.entities import ViewType

    home.write(f"{trials[1][0].folder}/{name}", b"spoilt")
    for _ in range(2):
        publisher = Publisher(Board(home, "ablations/test", []), QUIET)
        for entry in trials[1]:
            publisher.publish(entry)
        assert publisher.close(SUMMARY) == 1
        assert publisher.reason.startswith("rambo: ")
    everything = client(home).search_runs(["1"], run_view_type=ViewType.ALL)
    active = [run for run in everything if run.info.lifecycle_stage == "active"]
    assert {(run.data.tags["cell"], run.info.status) for run in active} == {
        ("(the study)", "FINISHED"),
        ("random", "FINISHED"),
    }
    assert "RUNNING" not in {run.info.status for run in everything}


def test_an_experiment_of_another_home_is_left_alone_and_one_of_a_home_that_moved_is_not(
    trials, home, tmp_path, monkeypatch
):
    import shutil

    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/server.db")
    monkeypatch.chdir(tmp_path)  # where such a database keeps its files
    board = publish(home, trials[1])
    board.start()
    other = tmp_path / "other"
    shutil.copytree(trials[0].root, other)
    with pytest.raises(InvalidInput, match=r"must be of the home .*other, got that of .*home; choose another --study"):
        Board(Home(other), "ablations/test", []).open()
    parent = board.parent_page().rsplit("/", 1)[1]
    assert client(home).get_run(parent).info.status == "RUNNING"
    shutil.move(home.root, tmp_path / "moved")
    before = {name: run.info.run_id for name, run in children(home).items()}
    publish(Home(tmp_path / "moved"), trials[1])
    assert {name: run.info.run_id for name, run in children(home).items()} == before


def test_a_failed_trial_is_shown_with_its_reason(trials, home):
    publish(home, [Entry("trials/none", "broken", {"cell": "broken"}, failure="the fit collapsed")])
    shown = children(home)["broken"]
    assert shown.info.status == "FAILED"
    assert shown.data.tags["failure"] == "the fit collapsed"


LOAD = """
import json, sys
import mlflow, numpy as np, torch
mlflow.set_tracking_uri(sys.argv[1])
model = mlflow.pytorch.load_model(sys.argv[2])
served = mlflow.pyfunc.load_model(sys.argv[2])
scores = {}
for size in (1, 2, 30, 77):
    images = np.random.default_rng(size).standard_normal((size, 1, 8, 8)).astype(np.float32)
    scores[size] = [float(model(torch.from_numpy(images))), float(np.asarray(served.predict(images)).reshape(-1)[0])]
print(json.dumps(scores))
"""


def test_a_logged_model_scores_sets_of_any_size_in_a_fresh_process(trials, home, tmp_path):
    publish(home, trials[1])
    assert "MLFLOW_TRACKING_URI" not in os.environ, "the next study of this process would go there"
    [model] = client(home).search_logged_models(experiment_ids=["1"])
    program = tmp_path / "load.py"
    program.write_text(LOAD)
    environment = {**os.environ, "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false"}
    command = [sys.executable, str(program), tracking_uri(home), f"models:/{model.model_id}"]
    answer = subprocess.run(command, capture_output=True, text=True, env=environment, check=True, cwd=tmp_path)
    scores = json.loads(answer.stdout.splitlines()[-1])
    folder = trials[1][0].folder
    ours = SetUtilityModel.from_description(json.loads(home.read(f"{folder}/utility_model.json")))
    ours.load_state_dict(load(home.read(f"{folder}/utility_model.safetensors")))
    ours.eval()
    for size in (1, 2, 30, 77):
        images = np.random.default_rng(size).standard_normal((size, 1, 8, 8)).astype(np.float32)
        with torch.no_grad():
            expected = float(ours(torch.from_numpy(images)))
        assert scores[str(size)] == pytest.approx([expected, expected], rel=1e-5)


def test_a_url_as_home_needs_a_tracking_server(monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(InvalidInput, match="MLFLOW_TRACKING_URI must name a tracking server"):
        tracking_uri(Home("memory://home"))


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextmanager
def server(folder: Path, port: int):
    """MLflow's own server on a SQLite file, stopped at the end."""
    place = [
        "--backend-store-uri",
        f"sqlite:///{folder}/server.db",
        "--artifacts-destination",
        str(folder / "artifacts"),
    ]
    command = [sys.executable, "-m", "mlflow", "server", *place, "--host", "127.0.0.1", "--port", str(port)]
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    with (folder / "server.log").open("a") as log:
        process = subprocess.Popen([*command, "--workers", "1"], env=environment, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 120
        while True:
            with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2):
                break
            assert time.monotonic() < deadline, (folder / "server.log").read_text()
            time.sleep(0.2)
        yield
    finally:
        process.terminate()
        process.wait(60)


def test_a_server_that_goes_away_and_comes_back_loses_nothing(trials, home, tmp_path, monkeypatch, capsys):
    port = free_port()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
    first, second = trials[1]
    with server(tmp_path, port):
        publisher = Publisher(Board(home, "ablations/test", []), QUIET)
        publisher.publish(first)
        deadline = time.monotonic() + 120
        while publisher.num_published < 1:
            assert time.monotonic() < deadline
            time.sleep(0.1)
    publisher.publish(second)
    assert publisher.close(SUMMARY) == 1
    assert publisher.reason is not None
    with server(tmp_path, port):
        again = Publisher(Board(home, "ablations/test", []), QUIET)
        for entry in trials[1]:
            again.publish(entry)
        assert again.close(SUMMARY) == 0
        assert again.reason is None
        assert set(children(home)) == {"rambo", "random"}
        from mlflow.entities import ViewType

        everything = client(home).search_runs(["1"], run_view_type=ViewType.ALL)
        assert {run.info.status for run in everything if run.info.lifecycle_stage == "active"} == {"FINISHED"}
        assert "RUNNING" not in {run.info.status for run in everything}
    assert not capsys.readouterr().out, "what is printed is the study's tables, not a line for each run"


def test_nobody_answers_and_the_publisher_says_so_and_stops_nothing(trials, home, monkeypatch, capsys):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{free_port()}")
    publisher = Publisher(Board(home, "ablations/test", []), Progress())
    for entry in trials[1]:
        publisher.publish(entry)
    assert publisher.close(SUMMARY) == 2
    assert "does not take results now" in capsys.readouterr().err
