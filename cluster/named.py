"""Work with a name in a home, such as a study or a search: its folder, lock, ledger, plan and report, and its pages.

What such work computes is its own room's; how it is kept and shown is the same for all.
"""

import json
import shlex
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from typing import TypeVar

from cluster.tracking.board import Board
from cluster.tracking.entries import BoardSummary, Entry
from cluster.tracking.pages import View
from cluster.tracking.publisher import Publisher
from cluster.tracking.server import server_address
from rambo.errors import InvalidInput, require
from rambo.formats import first_line
from rambo.home import Home
from rambo.progress import Progress

LOCAL_SERVER = "http://127.0.0.1:5000"
"""Where the `ui` commands serve the pages of a database."""

Plan = TypeVar("Plan")

LONGEST_NAME = 255
"""Bytes, of which letters beyond ASCII take several: what file systems take."""


@dataclass(frozen=True)
class Kind:
    """A sort of named work."""

    noun: str
    """In sentences: study, search."""
    folder: str
    """Its place in the home."""
    module: str
    """`python -m` this; its experiments in MLflow begin with it unless they have a beginning of their own."""
    experiments: str = ""

    def folder_of(self, name: str) -> str:
        """Where what is called `name` is kept, relative to the home.

        Raises `InvalidInput` for a name that is no plain file name.
        """
        plain = all(letter.isalnum() or letter in "-_." for letter in name) and name.strip(".") != ""
        require(plain, f"--study must be a name of letters, digits, '-', '_' and '.', got {name!r}.")
        size = len(name.encode())
        require(size <= LONGEST_NAME, f"--study must have at most {LONGEST_NAME} bytes, got {size} in {name}.")
        return f"{self.folder}/{name}"


@dataclass(frozen=True)
class Named:
    """One piece of named work in a home; raises `InvalidInput` for a name that is no plain file name."""

    kind: Kind
    name: str
    home: Home

    def __post_init__(self) -> None:
        self.kind.folder_of(self.name)

    @property
    def folder(self) -> str:
        """Relative to the home."""
        return self.kind.folder_of(self.name)

    @property
    def ledger(self) -> str:
        """Where every start and end of its trials is appended."""
        return f"{self.folder}/ledger.jsonl"

    def path(self, name: str = "") -> str:
        """The full path or URL of one of its files, as shown to people."""
        return self.home.path(f"{self.folder}/{name}".rstrip("/"))

    def alone(self, busy: str) -> AbstractContextManager[None]:
        """Hold it for this command; raises `InvalidInput` with `busy` on entry where another holds it."""
        return self.home.lock(f"{self.folder}/lock", busy)

    def read(self, name: str) -> bytes | None:
        """One of its files, None where it is not there."""
        return self.home.read(f"{self.folder}/{name}")

    def keep(self, files: Mapping[str, bytes]) -> None:
        """Write `files` by name, those that differ from what is there."""
        for name, content in files.items():
            if self.read(name) != content:
                self.home.write(f"{self.folder}/{name}", content)

    def keep_report(self, files: Mapping[str, bytes], sometimes: Collection[str] = ()) -> None:
        """The same for a whole report; what an earlier one has left shows what was, so it goes."""
        for name in self.left_over(files, sometimes):
            self.home.remove(f"{self.folder}/{name}")
        self.keep(files)

    def left_over(self, files: Collection[str], sometimes: Collection[str] = ()) -> list[str]:
        """Pictures, and files that a report has only `sometimes`, which are there and not among `files`."""
        pictures = (f"figures/{name}" for name in self.home.list(f"{self.folder}/figures"))
        others = (name for name in sorted(sometimes) if name not in files and self.read(name) is not None)
        return [*(name for name in pictures if name not in files), *others]

    def plan(self) -> bytes | None:
        """plan.json, None where there is no such work yet; raises `InvalidInput` where it is something else's."""
        content = self.read("plan.json")
        if content is not None:
            with suppress(ValueError):
                read = json.loads(content)
                if isinstance(read, dict) and self.kind.noun in read:
                    return content
            raise InvalidInput(
                f"{self.path('plan.json')} must be the plan of a {self.kind.noun}, got a file of something else's, or "
                "one that is damaged; choose another --study, or move it away."
            )
        return None

    def understood(self, content: bytes, read: Callable[[bytes], Plan]) -> Plan:
        """What `read` makes of a plan's content; raises `InvalidInput` where it is of another layout."""
        try:
            return read(content)
        except (KeyError, TypeError, AttributeError) as error:
            raise InvalidInput(
                f"{self.path('plan.json')} must be a plan as this version writes it, got another layout "
                f"({first_line(error)}); choose another --study, or use the version that wrote it."
            ) from None

    def existing_plan(self) -> bytes:
        """The same, or `InvalidInput` with the names there are."""
        content = self.plan()
        if content is None:
            there = ", ".join(self.home.folders(self.kind.folder)) or "none"
            raise InvalidInput(
                f"--study must name a {self.kind.noun} of {self.home.root}, got {self.name}; there: {there}."
            )
        return content

    def board(self, views: Sequence[View]) -> Board:
        """Its experiment in MLflow."""
        return Board(self.home, f"{self.kind.experiments or self.kind.module}/{self.name}", views)


@dataclass(frozen=True)
class Shown:
    """What MLflow has of it at the end."""

    unpublished: str | None
    """What it did not take, one sentence; None if it has everything."""
    pages: tuple[str, ...] | None
    """Where to look, the result at once first; None where MLflow never answered."""


class Showing:
    """Named work while it is shown in MLflow, from a thread of its own."""

    def __init__(self, named: Named, views: Sequence[View], progress: Progress, *, cure: str) -> None:
        """`cure` ends the sentence on what MLflow did not take: what shows it later."""
        self._named, self._cure = named, cure
        self._board = named.board(views)
        self._publisher = Publisher(self._board, progress)

    def publish(self, entry: Entry) -> None:
        """Show a trial soon."""
        self._publisher.publish(entry)

    @property
    def pages(self) -> tuple[str, ...]:
        """Where to look; nowhere before MLflow has answered."""
        return self._board.pages if self._board.is_open else ()

    def update(self, summary: BoardSummary) -> None:
        """Show how things stand above the trials soon."""
        self._publisher.update(summary)

    def close(self, summary: BoardSummary, status: str = "FINISHED") -> Shown:
        """Show all that is left, and `summary` above it."""
        left, reason = self._publisher.close(summary, status), self._publisher.reason
        trials = f"{left} trial{'s' if left > 1 else ''}"
        what = trials if left else f"the {self._named.kind.noun}'s summary"
        unpublished = f"MLflow at {self._board.uri} did not take {what} ({reason}); {self._cure}"
        return Shown(None if reason is None else unpublished, self._board.pages if self._board.is_open else None)


def where_to_look(named: Named, pages: Sequence[str] | None) -> list[str]:
    """What leads to `pages`: how to start a server where there is none, then the address of each."""
    if not pages:
        return []
    server = server_address(named.home)
    ui = f"python -m {named.kind.module} ui --home {shlex.quote(named.home.root)}, then"
    start = ui if server is None else server
    return [f"Look at {start}", *(f"  {server or LOCAL_SERVER}{page}" for page in pages)]
