"""The thread that writes to MLflow, and what becomes of results that it does not take."""

import queue
import threading
import time
from typing import Any

from cluster.credentials import masked
from cluster.tracking.board import Board
from cluster.tracking.entries import BoardSummary, Entry
from rambo.errors import InvalidInput
from rambo.formats import first_line
from rambo.progress import Progress


class Publisher:
    """Publishes from a thread of its own, so that no trial waits for MLflow, and survives its silence."""

    RETRY_SECONDS = 30.0
    """Time between two attempts at a server that did not answer."""

    def __init__(self, board: Board, progress: Progress) -> None:
        self._board, self._progress = board, progress
        self._queue: queue.Queue[Entry | None] = queue.Queue()
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
        return f"{'; '.join(self._refused)}: {next(iter(self._refused.values()))}"

    def publish(self, entry: Entry) -> None:
        """Show `entry` soon."""
        self._queue.put(entry)

    def close(self, summary: BoardSummary, status: str = "FINISHED") -> int:
        """Show all that is left and `summary`; how many trials MLflow did not take."""
        self._queue.put(None)
        self._thread.join()
        self._tried = float("-inf")
        self._flush()
        if not self._left:
            self._attempt(lambda: self._board.finish(summary, status))
        return len(self._left) + len(self._refused)

    def _work(self) -> None:
        self._flush()
        while (entry := self._queue.get()) is not None:
            self._left.append(entry)
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
        from mlflow.exceptions import MlflowException

        try:
            self._board.publish(entry)
            self.num_published += 1
        except (MlflowException, OSError) as error:
            if getattr(error, "error_code", "") != "INVALID_PARAMETER_VALUE":
                raise
            self._refused[entry.name] = masked(_reason(error))
        except Exception as error:  # whatever is wrong with its files: the study goes on and its end says so
            self._refused[entry.name] = masked(_reason(error))

    def _attempt(self, call: Any) -> bool:
        from mlflow.exceptions import MlflowException

        try:
            call()
        except (MlflowException, OSError, InvalidInput) as error:
            if self._silence is None:
                self._progress.say(f"MLflow at {self._board.uri} does not take results now; they are kept in the home.")
            self._silence = masked(_reason(error))
            self._tried = time.monotonic()
            return False
        self._silence = None
        return True


def _reason(error: Exception) -> str:
    """What a server said, in one sentence; what to do where it wants to know who asks."""
    said = first_line(error).rstrip(".")
    if getattr(error, "error_code", "") in ("UNAUTHENTICATED", "PERMISSION_DENIED") or "error code 401" in said:
        return f"{said}: MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD must be those of a user there"
    return said
