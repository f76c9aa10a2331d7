"""Why a trial has no result, and whether another try could end otherwise."""

import json
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rambo.errors import InvalidInput
from rambo.formats import first_line, json_bytes
from rambo.home import Home

Cause = Literal["collapsed", "memory", "killed", "refused", "error"]


@dataclass(frozen=True)
class Failure:
    """Why a trial has no result."""

    cause: Cause
    reason: str
    """One sentence."""

    @property
    def is_final(self) -> bool:
        """Whether another try would end the same, as with a fit that collapses."""
        return self.cause in ("collapsed", "error")


def read_failure(home: Home, folder: str) -> Failure | None:
    """Why the trial of `folder` failed, None if it did not; raises `InvalidInput` where that is damaged."""
    cure = "remove it: the command that made it tries the trial again"
    return home.record(f"{folder}/failure.json", lambda content: Failure(**json.loads(content)), cure)


def keep_failure(home: Home, folder: str, failure: Failure) -> None:
    """Write failure.json into the trial's folder."""
    home.write(f"{folder}/failure.json", json_bytes(vars(failure)))


def death(text: str, times: int) -> Failure:
    """Why a trial's process died so many times, by what Ray says of it; its memory monitor kills with a word."""
    lines = text.strip().splitlines() or ["no message"]
    cause: Cause = "memory" if "OutOfMemoryError" in text else "killed"
    return Failure(cause, f"its process died {times} times ({lines[-1].strip()})")


def written(path: str | None) -> str:
    """What Ray has written of a trial's error into the file at `path`."""
    return Path(path).read_text("utf-8", "replace") if path and Path(path).exists() else ""


def unforeseen(error: Exception) -> Failure:
    """The failure of a trial that raised `error`, with the place where it did."""
    where = traceback.extract_tb(error.__traceback__)[-1]
    return Failure("error", f"{type(error).__name__}: {first_line(error)} ({Path(where.filename).name}:{where.lineno})")


def unsaid(sentence: str) -> None:
    """For `left_to_trials`, where somebody else will say it."""


def once(say: Callable[[str], object]) -> Callable[[str], None]:
    """`say`, for each sentence once."""
    said = set[str]()

    def told(sentence: str) -> None:
        if sentence not in said:
            said.add(sentence)
            say(sentence)

    return told


@contextmanager
def left_to_trials(what: str, say: Callable[[str], object]) -> Iterator[None]:
    """Go on where `what` cannot be had ahead of the trials: who needs it meets the same trouble and fails alone.

    `say` is told why. What the user can mend (`InvalidInput`) is raised as it is.
    """
    try:
        yield
    except InvalidInput:
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {first_line(error).removesuffix('.')}"
        say(f"{what} could not be worked out ahead ({reason}); trials that need them will try again.")
