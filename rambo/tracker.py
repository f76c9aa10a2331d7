"""Where an experiment's curves go: a file of JSON lines."""

import json
from collections.abc import Mapping

from rambo.home import Home


class JsonLinesTracker:
    """Keeps rows in memory and writes them as one whole file."""

    def __init__(self) -> None:
        self.rows: list[dict[str, object]] = []

    def log(self, stage: str, step: int, values: Mapping[str, float]) -> None:
        """Remember the values of one step of one stage."""
        self.rows.append({"stage": stage, "step": step, **values})

    def write(self, home: Home, name: str) -> None:
        """Write all rows to `name`."""
        home.write(name, "".join(json.dumps(row) + "\n" for row in self.rows).encode())
