"""Where an experiment's curves go: nowhere, a JSON-lines file, or whatever a caller hands in."""

import json
from collections.abc import Mapping
from typing import Protocol

from rambo.home import Home


class Tracker(Protocol):
    """Takes the values of one step of one stage."""

    def log(self, stage: str, step: int, values: Mapping[str, float]) -> None: ...


class NullTracker:
    """Forgets everything."""

    def log(self, stage: str, step: int, values: Mapping[str, float]) -> None:
        """Do nothing."""


class JsonLinesTracker:
    """Keeps rows in memory and writes them as one whole file of JSON lines."""

    def __init__(self) -> None:
        self.rows: list[dict[str, object]] = []

    def log(self, stage: str, step: int, values: Mapping[str, float]) -> None:
        """Remember one row."""
        self.rows.append({"stage": stage, "step": step, **values})

    def write(self, home: Home, name: str) -> None:
        """Write all rows to `name`."""
        home.write(name, "".join(json.dumps(row) + "\n" for row in self.rows).encode())
