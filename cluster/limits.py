"""How much named work may spend, over all commands that run it, and what it has spent."""

import argparse
import json
import math
import time
from dataclasses import dataclass, field

from cluster.named import Named
from rambo.errors import InvalidInput, require
from rambo.formats import json_bytes

SPENT = "spent.json"

TICK_SECONDS = 5.0
"""Time that a killed command may have spent without it being known."""


@dataclass(frozen=True)
class Spending:
    """Limits; None is none."""

    time_budget: float | None = None
    """Seconds after which no trial is begun."""
    max_trainings: int | None = None

    def check(self) -> None:
        """Raise `InvalidInput` for what is no limit."""
        for name, limit in (("--time-budget", self.time_budget), ("--max-trainings", self.max_trainings)):
            require(limit is None or 0 < limit < math.inf, f"{name} must be positive, got {limit}.")

    def why_over(self, seconds: float, trainings: int, most: int) -> str | None:
        """Why no further trial is begun, one sentence, None where one may be; with it there may be `most` trainings."""
        if self.time_budget is not None and seconds >= self.time_budget:
            return f"The time budget of {self.time_budget:g} s is spent."
        if self.max_trainings is not None and most > self.max_trainings:
            return f"Another trial could go beyond {self.max_trainings} trainings; {trainings} are spent."
        return None

    def check_collection(self, known: int, spent: int, cure: str) -> None:
        """Raise `InvalidInput` where the `known` trainings before the first trial bring what is `spent` beyond."""
        if self.max_trainings is not None and spent > self.max_trainings:
            raise InvalidInput(
                f"--max-trainings must leave room for the {known} trainings that are known before the first trial, got "
                f"{self.max_trainings}; give more, or {cure}."
            )


UNLIMITED = Spending()


def _kept(content: bytes) -> tuple[float, int, int]:
    """Seconds, trainings of collections and those of trials."""
    kept = json.loads(content)
    return float(kept.get("seconds", 0.0)), int(kept.get("collected", 0)), int(kept.get("in_trials", 0))


class Spent:
    """What named work has spent, kept where a killed command cannot lose it."""

    def __init__(self, named: Named) -> None:
        self._named = named
        cure = f"remove it: what the {named.kind.noun} spends from then on is counted anew"
        kept = named.home.record(f"{named.folder}/{SPENT}", _kept, cure) or (0.0, 0, 0)
        self._before: float = kept[0]
        self.collected: int = kept[1]
        """Trainings of the collections that went before the first trial."""
        self.in_trials: int = kept[2]
        """Trainings of trials that have ended, where nothing else keeps them."""
        self._start = self._ticked = time.monotonic()

    @property
    def seconds(self) -> float:
        """Wall-clock time of all commands so far."""
        return self._before + time.monotonic() - self._start

    def tick(self) -> None:
        """Write down the time from time to time."""
        if time.monotonic() - self._ticked >= TICK_SECONDS:
            self.keep()

    def keep(self) -> None:
        """Write down what is spent."""
        self._ticked = time.monotonic()
        in_trials = {"in_trials": self.in_trials} if self.in_trials else {}
        content = {"seconds": round(self.seconds, 3), "collected": self.collected, **in_trials}
        self._named.keep({SPENT: json_bytes(content)})

    def collect(self, missing: int) -> None:
        """Count a collection before it begins; what a killed one has left over is not counted again."""
        self.collected = max(self.collected, missing)
        self.keep()


@dataclass
class Meter:
    """Counts what the trials of named work spend, and says when to begin no more of them."""

    spent: Spent
    spending: Spending = UNLIMITED
    over: str | None = None
    """Why trials were left, once some were."""
    _most: dict[str, int] = field(default_factory=dict)
    """Of each trial in hand, the trainings that it can need."""

    @property
    def trainings(self) -> int:
        """That have been paid for so far."""
        return self.spent.collected + self.spent.in_trials

    def collect(self, known: int) -> None:
        """Count a collection; raises `InvalidInput` where it would be too large."""
        left = max(0, known - self.spent.collected)
        self.spending.check_collection(known, self.trainings + left, "plan fewer seeds, levels or cells")
        self.spent.collect(known)

    def begin(self, folder: str, most: int) -> bool:
        """Whether the trial of `folder`, which can need `most` trainings, may begin."""
        with_it = self.trainings + sum(self._most.values()) + most
        self.over = self.spending.why_over(self.spent.seconds, self.trainings, with_it)
        if self.over is None:
            self._most[folder] = most
        return self.over is None

    def end(self, folder: str, trainings: int) -> None:
        """The trial has ended and took so many."""
        self._most.pop(folder, None)
        self.spent.in_trials += trainings


def add_spending_flags(group: argparse._ArgumentGroup) -> None:
    """--time-budget and --max-trainings."""
    group.add_argument("--time-budget", type=float, metavar="SECONDS", help="begin no trial after so long")
    group.add_argument("--max-trainings", type=int, metavar="N", help="begin no trial that could need more")


def read_spending(options: argparse.Namespace) -> Spending:
    """What they say; raises `InvalidInput` for what is no limit."""
    spending = Spending(options.time_budget, options.max_trainings)
    spending.check()
    return spending
