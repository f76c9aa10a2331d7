"""Trials as MLflow shows them: published, and read back with its own client."""

from cluster.tracking.board import Board
from cluster.tracking.entries import BoardSummary
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
