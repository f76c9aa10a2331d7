"""Live progress on standard error: bars on a terminal, a line every few seconds in a log, nothing when quiet."""

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

LOG_SECONDS = 10.0
"""Time between two lines where standard error is not a terminal."""

Advance = Callable[[int], None]


class _Log(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        print(record.getMessage(), file=sys.stderr, flush=True)


def show_log(*, quiet: bool) -> None:
    """What the rooms log on standard error from now on, a line each; warnings alone when quiet."""
    log = logging.getLogger("rambo")
    log.handlers = [_Log()]
    log.setLevel(logging.WARNING if quiet else logging.INFO)


class Progress:
    """Where stages report what is done of what there is to do."""

    def __init__(self, *, quiet: bool = False, prefix: str = "") -> None:
        self._quiet, self._prefix = quiet, prefix

    @contextmanager
    def task(self, what: str, total: int) -> Iterator[Advance]:
        """A function that reports `n` more of `total` units of `what` as done."""
        what = f"{self._prefix}{what}"
        if self._quiet or total == 0:
            yield lambda done: None
        elif sys.stderr.isatty():
            with _bars() as bars:
                task = bars.add_task(what, total=total)
                yield lambda done: bars.advance(task, done)
        else:
            yield _Lines(what, total)

    def say(self, sentence: str) -> None:
        """One line on standard error."""
        if not self._quiet:
            print(f"{self._prefix}{sentence}", file=sys.stderr, flush=True)


class _Lines:
    """A line when `LOG_SECONDS` have passed since the last."""

    def __init__(self, what: str, total: int) -> None:
        self._what, self._total, self._done = what, total, 0
        self._start = self._last = time.monotonic()

    def __call__(self, done: int) -> None:
        self._done += done
        now = time.monotonic()
        if self._done > 0 and now - self._last >= LOG_SECONDS:
            self._last = now
            rate = self._done / (now - self._start)
            left = (self._total - self._done) / rate
            line = f"{self._what}: {self._done}/{self._total}, {rate:.1f}/s, {left:.0f} s left"
            print(line, file=sys.stderr, flush=True)


def _bars() -> Bars:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    return Bars(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=Console(stderr=True), transient=True)
