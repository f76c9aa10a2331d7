"""Trials as MLflow shows them: published, and read back with its own client."""

import re

from cluster.tracking.board import Board
from cluster.tracking.entries import BoardSummary, CellRun, Entry
from cluster.tracking.pages import View
from cluster.tracking.server import tracking_uri
from rambo.home import Home
from rambo.progress import Progress

QUIET = Progress(quiet=True)

VIEW = View("trials", "Trials", ("metrics.test_accuracy",), "tags.kind = 'trial'", "tags.seed")

CELLS = (
    CellRun("OT=on", "OT", {"switches.ot": "True"}, {"test_mean": 0.9, "n": 2.0}),
    CellRun("random", "random", {"strategy": "random"}, {"test_mean": 0.8, "n": 2.0}),
)

SUMMARY = BoardSummary(
    "# a study\n\n| a table |",
    {"table.md": b"| a table |", "report.html": b"<p>", "figures/one.png": b"png"},
    {"trials": 2.0},
    parameters={"acquisition.budget": "40"},
    tags={"seeds": "0, 1"},
    data=("digits-0123", "digits"),
    cells=CELLS,
    front="report.html",
)


def client(home: Home):
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri(home))


def children(home: Home):
    found = client(home).search_runs(["1"], "tags.kind = 'trial'")
    return {run.data.tags["cell"]: run for run in found}


def publish(home: Home, entries, status="FINISHED", summary=SUMMARY):
    board = Board(home, "ablations/test", [VIEW])
    board.open()
    board.start()
    for entry in entries:
        board.publish(entry)
    board.finish(summary, status)
    return board


def ids(board):
    """The experiment and the parent run that a board's last page is of."""
    [found] = re.findall(r"^/#/experiments/(\d+)/runs/(\w+)\?", board.pages[-1])
    return found


def failed(*names):
    """Trials that have nothing to read, which is all that a board of its own needs."""
    return [Entry(f"trials/{name}", name, {"cell": name}, failure="it broke") for name in names]


def published_again(home, mlflow, experiment):
    """Publishing again gives the same board: one parent, one run of each trial under it, none running."""
    _, parent = ids(publish(home, failed("one", "two")))
    runs = {run.info.run_id: run for run in mlflow.search_runs([experiment])}
    children = [run for run in runs.values() if "trial" in run.data.tags]
    cells = [run.data for run in runs.values() if run.data.tags["kind"] == "cell"]
    assert sorted(cell.tags["cell"] for cell in cells) == ["OT=on", "random"]
    assert {cell.tags["mlflow.parentRunId"] for cell in cells} == {parent}
    assert sorted(run.data.tags["trial"] for run in children) == ["trials/one", "trials/two"]
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parent}
    assert [run.info.run_id for run in runs.values() if run.data.tags["kind"] == "study"] == [parent]
    assert "RUNNING" not in {run.info.status for run in runs.values()}
    return {run.data.tags["trial"]: run.info.run_id for run in children}
