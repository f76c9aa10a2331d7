"""What a sweep has had of a cluster, kept in steps as it goes: nothing is counted twice, and a kill loses a minute."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from ablations.sweeps.kept import named_sweep
from cluster.place import Share
from rambo.errors import InvalidInput
from rambo.home import Home

STEP_SECONDS = 60.0
"""What of a trial that runs may not be written down yet."""


@dataclass
class Hours:
    """The hours of one sweep, over all drivers that worked on it."""

    home: Home
    sweep: str
    core_seconds: float = 0.0
    gpu_seconds: float = 0.0
    _ends: list[float] = field(default_factory=list)
    """When trials ended, in seconds since 1970."""
    _counted: dict[str, float] = field(default_factory=dict)
    """Of each trial that runs, what is written down."""

    @classmethod
    def kept(cls, home: Home, sweep: str) -> "Hours":
        """As the drivers before have left them."""
        found = cls(home, sweep)
        for line in home.read_lines(found._ledger):
            try:
                entry = json.loads(line)
            except ValueError:  # cut off by a full disk: what follows is whole
                continue
            found.core_seconds += entry["core_seconds"]
            found.gpu_seconds += entry["gpu_seconds"]
            found._ends += [entry["time"]] if entry["is_end"] else []
        return found

    def ended_in(self, seconds: float) -> float | None:
        """Trials an hour that have ended in the last so many seconds; None where none has."""
        since = time.time() - seconds
        ended = [one for one in self._ends if one > since]
        return len(ended) * 3600 / seconds if ended else None

    def running(self, folder: str, share: Share, seconds: float) -> None:
        """A trial has held its share for so long and goes on."""
        if seconds - self._counted.get(folder, 0.0) >= STEP_SECONDS:
            self._add(folder, share, seconds - self._counted.get(folder, 0.0), is_end=False)
            self._counted[folder] = seconds

    def ended(self, folder: str, share: Share, seconds: float, *, is_end: bool = True) -> None:
        """A trial, or a collection, has held its share for so long and holds it no more; whether it `is_end` of one."""
        self._add(folder, share, seconds - self._counted.pop(folder, 0.0), is_end=is_end)

    @contextmanager
    def holding(self, what: str, share: Share) -> Iterator[None]:
        """While this process waits for `what`, which holds `share`: written down in steps, and however it ends."""
        over, start = threading.Event(), time.monotonic()

        def note() -> None:
            while not over.wait(STEP_SECONDS):
                with suppress(InvalidInput):  # a full disk stops what goes on by itself
                    self.running(what, share, time.monotonic() - start)

        thread = threading.Thread(target=note, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
            self.ended(what, share, time.monotonic() - start, is_end=False)

    def open_seconds(self, folder: str, seconds: float) -> float:
        """Of what a running trial has had, that which is not written down."""
        return seconds - self._counted.get(folder, 0.0)

    def _add(self, what: str, share: Share, seconds: float, *, is_end: bool) -> None:
        cores, gpus = share.num_cpus * seconds, (share.num_gpus or 0.0) * seconds
        entry = {
            "what": what,
            "is_end": is_end,
            "time": round(time.time(), 3),
            "core_seconds": round(cores, 3),
            "gpu_seconds": round(gpus, 3),
        }
        self.home.append(self._ledger, (json.dumps(entry) + "\n").encode())
        self._ends += [time.time()] if is_end else []
        self.core_seconds += cores
        self.gpu_seconds += gpus

    @property
    def _ledger(self) -> str:
        return f"{named_sweep(self.sweep, self.home).folder}/hours.jsonl"
