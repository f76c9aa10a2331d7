"""Live progress on standard error: bars on a terminal, a line every few seconds in a log, nothing when quiet."""

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, Task, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars
from rich.text import Text

from rambo.heartbeat import HEART, doing

Advance = Callable[[int], None]


class _Log(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        HEART.say(record.getMessage())


def show_log(*, quiet: bool) -> None:
    """What the rooms log on standard error from now on, a line each; warnings alone when quiet."""
    log = logging.getLogger("rambo")
    log.handlers = [_Log()]
    log.setLevel(logging.WARNING if quiet else logging.INFO)


class Units:
    """How far a task is: units done, and units in hand with the time that each has taken so far."""

    def __init__(self, what: str, total: int, show: Callable[[int], None] = lambda done: None) -> None:
        """`show` is told the units done whenever there are more of them."""
        self.what, self.total, self.done, self._show = what, total, 0, show
        self._start = time.monotonic()
        self._in_hand: dict[object, float] = {}
        self._took: list[float] = []

    def advance(self, done: int) -> None:
        """So many more are done."""
        self.done += done
        self._show(self.done)
        HEART.beat()

    def begin(self, unit: object) -> None:
        """A unit was taken in hand; one that begins anew counts from now."""
        self._in_hand[unit] = time.monotonic()

    def end(self, unit: object) -> None:
        """It is in hand no more; whether it is done is said by `advance`."""
        begun = self._in_hand.pop(unit, None)
        if begun is not None:
            self._took.append(time.monotonic() - begun)

    def count(self) -> str:
        """How many of how many are done."""
        return f"{self.what}: {self.done}/{self.total}"

    def line(self) -> str:
        """All of it in one line of a log."""
        return ", ".join([self.count(), *filter(None, [self.note()])])

    def note(self) -> str:
        """The rate and the time left; of units in hand how long they have been so, and what they count for."""
        now = time.monotonic()
        if self._in_hand or self._took:
            return self._note_in_hand([now - begun for begun in self._in_hand.values()])
        if not self.done:
            return f"{now - self._start:.0f} s so far"
        seconds_each = (now - self._start) / self.done
        rate = f"{1 / seconds_each:.1f}/s" if seconds_each < 20 else f"{seconds_each:.0f} s each"
        return f"{rate}, {(self.total - self.done) * seconds_each:.0f} s left"

    def _note_in_hand(self, ages: list[float]) -> str:
        """Before the first has ended nothing says how long one takes, but that it takes longer than any has so far."""
        width = max(1, len(ages))
        if not self._took:
            rest = (self.total - self.done - width) / width * max(ages)
            return f"{len(ages)} in hand for {max(ages):.0f} s, more than {max(0.0, rest):.0f} s to go"
        each = sum(self._took) / len(self._took)
        left = self.total - self.done - sum(min(1.0, age / each) for age in ages)
        return f"{len(ages)} in hand, {each:.0f} s each, {max(0.0, left) * each / width:.0f} s left"


class Progress:
    """Where stages report what is done of what there is to do."""

    def __init__(self, *, quiet: bool = False, prefix: str = "") -> None:
        self._quiet, self._prefix = quiet, prefix

    @contextmanager
    def task(self, what: str, total: int) -> Iterator[Advance]:
        """A function that reports `n` more of `total` units of `what` as done."""
        with self.units(what, total) as units:
            yield units.advance

    @contextmanager
    def units(self, what: str, total: int) -> Iterator[Units]:
        """The same where units are in hand for a while, several at a time: those count towards the time left."""
        what = f"{self._prefix}{what}"
        if self._quiet or total == 0:
            yield Units(what, total)
        elif sys.stderr.isatty():
            with HEART.during(lambda: None), _bars() as bars:
                task = bars.add_task(what, total=total, units=None)
                units = Units(what, total, lambda done: bars.update(task, completed=done))
                bars.update(task, units=units)
                yield units
        else:
            units = Units(what, total)
            with HEART.during(units.line, units.count):  # the last word, also of what was stopped
                yield units

    @contextmanager
    def doing(self, what: str) -> Iterator[None]:
        """Say that `what` goes on while it does, if it takes long."""
        if self._quiet:
            yield
        else:
            with HEART.during(doing(f"{self._prefix}{what}")):
                yield

    def say(self, sentence: str) -> None:
        """One line on standard error."""
        if not self._quiet:
            HEART.say(f"{self._prefix}{sentence}")


class _Note(ProgressColumn):
    def render(self, task: Task) -> Text:
        units: Units | None = task.fields["units"]
        return Text(units.note() if units else "")


def _bars() -> Bars:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), _Note())
    return Bars(*columns, console=Console(stderr=True), transient=True)
