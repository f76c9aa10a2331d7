"""What is handed over to be shown: a trial, and what stands above all of a study's trials."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Entry:
    """A trial as MLflow shall show it."""

    folder: str
    """Of the trial, relative to the home."""
    name: str
    """Of the run; begins with what tells it from the others."""
    tags: Mapping[str, str]
    failure: str | None = None
    """Why there is no result, if so."""


@dataclass(frozen=True)
class CellRun:
    """All trials of a cell as one run."""

    cell: str
    """Its full name, which nothing else of the study has."""
    name: str
    """Of the run."""
    parameters: Mapping[str, str]
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class BoardSummary:
    """What the parent run shows at the end, and the runs that sum up its trials."""

    description: str
    """Markdown: the table, the sentences."""
    files: Mapping[str, bytes]
    metrics: Mapping[str, float]
    parameters: Mapping[str, str] = field(default_factory=dict)
    """What all trials have in common."""
    tags: Mapping[str, str] = field(default_factory=dict)
    data: tuple[str, str] | None = None
    """Name and fingerprint of the data, and their source."""
    cells: Sequence[CellRun] = ()
    front: str = ""
    """Which of the files shows the result at once, if any."""


def fitted(text: str, most: int, pointer: str) -> str:
    r"""`text` where it has at most `most` characters, else the lines of it that fit, then `pointer` to the rest.

    No line is cut, and a table that is left without a row loses its head.

    >>> fitted("| a |\n|---|\n| 1 |\n| 2 |\n| 3 |", 24, "more")
    '| a |\n|---|\n| 1 |\n\nmore'
    """
    if len(text) <= most:
        return text
    room = most - len(pointer) - 2
    lines = text.split("\n")
    kept = text.count("\n", 0, max(0, room + 1))
    rules = [place for place in (kept - 1, kept) if re.fullmatch(r"\|[-:| ]+\|", lines[max(0, place)])]
    kept = rules[0] - 1 if rules else kept
    return "\n".join([*lines[:kept], "", pointer]).lstrip("\n")
