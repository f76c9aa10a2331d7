"""What a driver says of itself: every few seconds into the home, every minute on each sweep's page in MLflow."""

import os
import platform
import threading
import time
from collections.abc import Mapping
from contextlib import suppress

from ablations.sweeps.kept import DRIVER, named_sweep
from ablations.sweeps.live import InHand, LiveSweep
from ablations.sweeps.show import StudyStatus, SweepStatus
from cluster.named import Showing
from cluster.runtime import resources_now
from rambo.errors import InvalidInput
from rambo.formats import json_bytes
from rambo.home import Home
from rambo.progress import Progress

TELL_SECONDS = 5.0
"""How often a driver says that it is there."""

SHOW_SECONDS = 60.0
"""How often pages in MLflow say how far the sweeps are."""

Sweeps = Mapping[str, LiveSweep]
Trials = Mapping[str, InHand]
"""Those that run, by folder."""


class Teller:
    """Says how far the sweeps of one driver are."""

    def __init__(self, home: Home, progress: Progress) -> None:
        self._home, self._progress = home, progress
        self._told = self._shown = float("-inf")
        self._said: set[str] = set()
        self._pages: dict[str, Showing] = {}
        self._host, self._process = platform.node(), os.getpid()
        self._word: dict[str, object] = {}
        self._turn, self._over = threading.Lock(), threading.Event()
        self._beating: threading.Thread | None = None

    def say_once(self, sentence: str) -> None:
        """On standard error, unless it was said before."""
        if sentence not in self._said:
            self._said.add(sentence)
            self._progress.say(sentence)

    def tell(self, sweeps: Sweeps, in_hand: Trials, seconds: Mapping[str, float]) -> None:
        """In the home and in MLflow, where it is time for that; `seconds`: how long each trial has run."""
        now = time.monotonic()
        if now - self._told >= TELL_SECONDS:
            self._told = now
            self._say(self._described(sweeps, in_hand, seconds))
        if now - self._shown >= SHOW_SECONDS:
            self._shown = now
            for sweep in sweeps.values():
                self._page(sweep.name).update(self._status(sweep, in_hand).summary)

    def close(self, sweeps: Sweeps, in_hand: Trials, status: str | None = None) -> None:
        """Leave each page as things stand now."""
        for name in self._pages:
            found = self._status(sweeps[name], in_hand)
            is_whole = not any(one.waiting for one in found.studies)
            with suppress(Exception):  # it shows what stands in the home, and is no result
                self._page(name).close(found.summary, status or ("FINISHED" if is_whole else "FAILED"))

    def arrive(self) -> None:
        """Say from now on that a driver is here, also while it waits for a collection or reads data."""
        self._say(self._described({}, {}, {}))
        self._beating = threading.Thread(target=self._beat, daemon=True)
        self._beating.start()

    def leave(self) -> None:
        """Say that no driver is here any more."""
        self._over.set()
        if self._beating is not None:
            self._beating.join()
        with suppress(InvalidInput):
            self._home.remove(DRIVER)

    def _beat(self) -> None:
        while not self._over.wait(TELL_SECONDS):
            self._say(None)

    def _say(self, word: dict[str, object] | None) -> None:
        """Write `word`, or the last one again, with the time."""
        with self._turn, suppress(InvalidInput):  # a full disk stops trials by itself, and says so there
            self._word = self._word if word is None else word
            self._home.write(DRIVER, json_bytes({**self._word, "time": round(time.time(), 3)}))

    def _page(self, name: str) -> Showing:
        if name not in self._pages:
            cure = "the next driver shows it."
            self._pages[name] = Showing(named_sweep(name, self._home), (), self._progress, cure=cure)
        return self._pages[name]

    def _status(self, sweep: LiveSweep, in_hand: Trials) -> SweepStatus:
        """As `status_of` has it, from what is in hand."""
        studies = [
            StudyStatus(
                name=live.name,
                priority=live.study.declared.priority,
                trials=len(live.trials),
                done=len(live.done),
                running=len(live.trials.keys() & in_hand.keys()),
                waiting=len(live.waiting.keys() - in_hand.keys()),
                failed=len(live.failed),
                stale=0,
            )
            for live in sweep.studies.values()
        ]
        trials = [live.trials for live in sweep.studies.values()]
        return SweepStatus(
            name=sweep.name,
            state=sweep.state,
            driver=f"{self._host} (process {self._process})",
            why=sweep.why,
            studies=studies,
            core_hours=sweep.hours.core_seconds / 3600,
            gpu_hours=sweep.hours.gpu_seconds / 3600,
            limits=sweep.declared.limits,
            seconds_left=None,
            trials_an_hour=sweep.hours.ended_in(3600.0),
            pages=[live.page for live in sweep.studies.values()],
            shared=sum(map(len, trials)) - len(set().union(*trials)),
        )

    def _described(self, sweeps: Sweeps, in_hand: Trials, seconds: Mapping[str, float]) -> dict[str, object]:
        resources = resources_now()
        running = {
            folder: {"sweep": held.sweep, "seconds": round(seconds.get(folder, 0.0), 1)}
            for folder, held in in_hand.items()
        }
        return {
            "host": self._host,
            "process": self._process,
            "cpus": resources.num_cpus,
            "gpus": resources.num_gpus,
            "running": running,
            "pages": {sweep.name: [live.page for live in sweep.studies.values()] for sweep in sweeps.values()},
            "why": {sweep.name: sweep.why for sweep in sweeps.values() if sweep.why is not None},
        }
