"""The thread that writes to MLflow, and what becomes of results that it does not take."""

import queue
import threading
import time
from collections.abc import Callable
from functools import partial

from cluster.databases import is_damaged, reason_of
from cluster.tracking.board import Board
from cluster.tracking.entries import BoardSummary, Entry
from rambo.progress import Progress

OF_ONE_TRIAL = ("INVALID_PARAMETER_VALUE", "BAD_REQUEST")
"""What MLflow says of a value that it or its database cannot take."""

MOST_NAMED = 5
"""Trials that a sentence lists."""


class Publisher:
    """Publishes from a thread of its own, so that no trial waits for MLflow, and survives its silence."""

    RETRY_SECONDS = 30.0
    """Time between two attempts at a server that did not answer."""

    def __init__(self, board: Board, progress: Progress) -> None:
        self._board, self._progress = board, progress
        self._queue: queue.Queue[Entry | BoardSummary | None] = queue.Queue()
        self._left: list[Entry] = []
        self._refused: dict[str, str] = {}
        self._opened = False
        self.num_published = 0
        """Trials that MLflow has taken, those that it had before included."""
        self._tried = float("-inf")
        self._silence: str | None = None
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    @property
    def reason(self) -> str | None:
        """Why something is not published, None if all is well."""
        if self._silence is not None or not self._refused:
            return self._silence
        named, more = list(self._refused)[:MOST_NAMED], len(self._refused) - MOST_NAMED
        names = "; ".join([*named, *([f"{more} more"] if more > 0 else [])])
        return f"{names}: {next(iter(self._refused.values()))}"

    def publish(self, entry: Entry) -> None:
        """Show `entry` soon."""
        self._queue.put(entry)

    def update(self, summary: BoardSummary) -> None:
        """Show how things stand soon, unless MLflow is silent: the next one says more."""
        self._queue.put(summary)

    def close(self, summary: BoardSummary, status: str = "FINISHED") -> int:
        """Show all that is left and `summary`; how many trials MLflow did not take."""
        self._queue.put(None)
        self._thread.join()
        self._tried = float("-inf")
        self._flush()
        if self._opened and not self._left:
            self._attempt(lambda: self._board.finish(summary, status))
        return len(self._left) + len(self._refused)

    def _work(self) -> None:
        self._flush()
        while (entry := self._queue.get()) is not None:
            if isinstance(entry, Entry):
                self._left.append(entry)
            elif self._opened:
                self._attempt(partial(self._board.update, entry))
            self._flush()

    def _flush(self) -> None:
        if time.monotonic() - self._tried < self.RETRY_SECONDS:
            return
        if not self._opened:
            self._opened = self._attempt(self._open)
        while self._opened and self._left and self._attempt(lambda: self._publish(self._left[0])):
            self._left.pop(0)

    def _open(self) -> None:
        self._board.open()
        self._board.start()

    def _publish(self, entry: Entry) -> None:
        """Show `entry`; what cannot be shown for a reason of its own keeps no other back."""
        try:
            self._board.publish(entry)
            self.num_published += 1
        except Exception as error:  # whatever is wrong with its files: the study goes on and its end says so
            if _is_silence(error):
                raise
            self._refused[entry.name] = _reason(error)

    def _attempt(self, call: Callable[[], object]) -> bool:
        try:
            call()
        except Exception as error:  # MLflow, SQLAlchemy, drivers and plugins have each their own; none ends a study
            if self._silence is None:
                self._progress.say(f"MLflow at {self._board.uri} does not take results now; they are kept in the home.")
            self._silence = _reason(error)
            self._tried = time.monotonic()
            return False
        self._silence = None
        return True


def _is_silence(error: Exception) -> bool:
    """Whether it is of the server or the database, and would come of the next trial too."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    if isinstance(error, MlflowException):
        return error.error_code not in OF_ONE_TRIAL
    return isinstance(error, OSError | SQLAlchemyError)


def _reason(error: Exception) -> str:
    """What a server said, in one sentence; what to do where it wants to know who asks."""
    said = reason_of(error).rstrip(".")
    if is_damaged(error):
        return f"{said}: move that file away"
    if getattr(error, "error_code", "") in ("UNAUTHENTICATED", "PERMISSION_DENIED") or "error code 401" in said:
        return f"{said}: MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD must be those of a user there"
    return said
