"""What becomes of results that MLflow does not take: its real SQLite store and its real server."""

import os
import sqlite3
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from free_ports import free_port
from published_trials import CELLS, QUIET, SUMMARY, children, client, publish

from cluster.tracking.board import Board
from cluster.tracking.entries import Entry
from cluster.tracking.publisher import Publisher
from rambo.home import Home
from rambo.progress import Progress


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
    assert len(active) == 3 + len(CELLS)


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
    assert {(run.data.tags["kind"], run.info.status) for run in active} == {
        (kind, "FINISHED") for kind in ("study", "trial", "cell")
    }
    assert set(children(home)) == {"random"}
    assert "RUNNING" not in {run.info.status for run in everything}


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


@pytest.mark.long
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


@pytest.mark.parametrize("trouble", ["locked", "damaged", "driver", "another program's"])
def test_a_database_that_takes_nothing_stops_nothing_and_is_said_once(tmp_path, monkeypatch, capsys, trouble):
    monkeypatch.setattr("cluster.databases.KNOCK_SECONDS", 0.2)
    home, holder = Home(tmp_path), sqlite3.connect(tmp_path / "mlflow.db", isolation_level=None)
    holder.execute("CREATE TABLE alembic_version (version_num)")
    if trouble == "locked":
        holder.execute("BEGIN EXCLUSIVE")
    elif trouble == "damaged":
        (tmp_path / "mlflow.db").write_bytes(b"spoilt" * 1000)
    elif trouble == "driver":
        monkeypatch.setenv("MLFLOW_TRACKING_URI", "mssql+pymssql://ann:hunter2@127.0.0.1/x")
    started = time.monotonic()
    publisher = Publisher(Board(home, "ablations/test", []), Progress())
    for name in ("one", "two"):
        publisher.publish(Entry(f"trials/{name}", name, {"cell": name}, failure="it broke"))
    assert publisher.close(SUMMARY) == 2
    holder.close()
    assert time.monotonic() - started < 20
    words = {
        "locked": "is locked",
        "damaged": "not a database: move that file away",
        "driver": "pip install",
        "another program's": "keeps",
    }
    assert words[trouble] in publisher.reason
    said = capsys.readouterr().err
    assert said.count("does not take results now") == 1
    assert "Traceback" not in said
    assert "hunter2" not in said + publisher.reason


def test_whatever_a_plugin_raises_stops_nothing_and_a_board_that_never_opened_is_not_finished(tmp_path, monkeypatch):
    board = Board(Home(tmp_path), "ablations/test", [])

    def broken():
        raise AttributeError("a plugin's own")

    monkeypatch.setattr(board, "open", broken)
    publisher = Publisher(board, QUIET)
    assert publisher.close(SUMMARY) == 0
    assert publisher.reason == "a plugin's own"


def test_nobody_answers_and_the_publisher_says_so_and_stops_nothing(trials, home, monkeypatch, capsys):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{free_port()}")
    publisher = Publisher(Board(home, "ablations/test", []), Progress())
    for entry in trials[1]:
        publisher.publish(entry)
    assert publisher.close(SUMMARY) == 2
    assert "does not take results now" in capsys.readouterr().err
