"""Something is said within two seconds, and at least every ten after that, while anything goes on.

What goes on says what it is and how far it has come; a thread asks the innermost of it when it is time. Imports nothing
that takes time, since it beats while all else is imported.
"""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

FIRST_SECONDS = 2.0
"""Until something is said of what has begun."""

LOG_SECONDS = 10.0
"""Between two lines after that."""

TICK_SECONDS = 0.25

Line = Callable[[], str | None]
"""What there is to say now; None: nothing, since a bar on the terminal says it."""


@dataclass(eq=False)
class _Going:
    line: Line
    begun: float
    is_known: bool = False
    """Whether it has been told of."""


class Heart:
    """All that goes on in this process, the innermost last."""

    def __init__(self) -> None:
        self._going: list[_Going] = []
        self._said = float("-inf")
        self._lock = threading.RLock()
        self._is_beating = False

    @contextmanager
    def during(self, line: Line, last: Line = lambda: None) -> Iterator[None]:
        """Tell `line` from time to time while what is inside goes on, and `last` at its end if it was told of."""
        one = _Going(line, time.monotonic())
        with self._lock:
            self._going.append(one)
            if not self._is_beating:
                self._is_beating = True
                threading.Thread(target=self._beat_on, daemon=True, name="heartbeat").start()
        try:
            yield
        finally:
            with self._lock:
                self._going.remove(one)
                said = last() if one.is_known else None
                if said is not None:
                    self.say(said)

    def say(self, line: str) -> None:
        """One line on standard error, whoever says it: silence is counted from there."""
        with self._lock:
            self._said = time.monotonic()
            print(line, file=sys.stderr, flush=True)

    def beat(self) -> None:
        """Tell what goes on, if it is time."""
        with self._lock:
            if not self._going:
                return
            one, now = self._going[-1], time.monotonic()
            wait = LOG_SECONDS if one.is_known else FIRST_SECONDS
            line = one.line() if now - max(one.begun, self._said) >= wait else None
            if line is not None:
                one.is_known = True
                self.say(line)

    def _beat_on(self) -> None:
        while True:
            time.sleep(TICK_SECONDS)
            with self._lock:
                if not self._going:
                    self._is_beating = False
                    return
                self.beat()


HEART = Heart()


def doing(what: str) -> Line:
    """A line that says `what` goes on, and for how long."""
    begun = time.monotonic()
    return lambda: f"{what} ({time.monotonic() - begun:.0f} s so far)"
