"""What is handed over to be shown: a trial, and what stands above all of a study's trials."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Entry:
    """A trial as MLflow shall show it."""

    folder: str
    """Of the trial, relative to the home."""
    name: str
    """Of the run."""
    tags: Mapping[str, str]
    failure: str | None = None
    """Why there is no result, if so."""


@dataclass(frozen=True)
class BoardSummary:
    """What the parent run shows at the end."""

    description: str
    """Markdown: the table, the sentences."""
    files: Mapping[str, bytes]
    metrics: Mapping[str, float]
