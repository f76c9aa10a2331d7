"""Trials as MLflow shows them: published, and read back with its own client."""

from cluster.tracking.board import Board
from cluster.tracking.entries import BoardSummary, Entry
from cluster.tracking.server import tracking_uri
from rambo.home import Home
from rambo.progress import Progress

QUIET = Progress(quiet=True)

SUMMARY = BoardSummary(
    "# a study\n\n| a table |", {"table.md": b"| a table |", "figures/one.png": b"png"}, {"trials": 2.0}
)


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


def failed(*names):
    """Trials that have nothing to read, which is all that a board of its own needs."""
    return [Entry(f"trials/{name}", name, {"cell": name}, failure="it broke") for name in names]


def published_again(home, mlflow, experiment):
    """Publishing again gives the same board: one parent, one run of each trial under it, none running."""
    parent = publish(home, failed("one", "two")).parent_page().rsplit("/", 1)[1]
    runs = {run.info.run_id: run for run in mlflow.search_runs([experiment])}
    children = [run for run in runs.values() if "trial" in run.data.tags]
    assert sorted(run.data.tags["trial"] for run in children) == ["trials/one", "trials/two"]
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parent}
    assert [run.info.run_id for run in runs.values() if "kind" in run.data.tags] == [parent]
    assert "RUNNING" not in {run.info.status for run in runs.values()}
    return {run.data.tags["trial"]: run.info.run_id for run in children}
