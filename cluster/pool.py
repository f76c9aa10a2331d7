"""Trials on Ray actors that stay: as many at a time as the cluster has room for now, so nodes that join are used.

An actor holds the share of one trial and runs one after another. Which trial is next, and whether there is one, is
asked whenever there is room.
"""

import time
from collections import Counter, deque
from dataclasses import dataclass
from typing import Any

from cluster.failures import Failure, death, keep_failure
from cluster.place import Place, Share, described
from cluster.runtime import resources_now
from cluster.trials import MAX_KILLED, run_one
from rambo.config import Config
from rambo.fields import flatten, override, with_absolute_paths
from rambo.preparation import Prepared


@dataclass(frozen=True)
class Ended:
    """A trial that has ended, and stands in its folder."""

    one: Prepared
    failure: Failure | None
    seconds: float
    """That it held its share, lost starts included."""


@dataclass
class _Running:
    one: Prepared
    actor: Any
    begun: float


class TrialPool:
    """Actors for trials of one place and share; closing it ends them, and what they run with them."""

    def __init__(self, place: Place, share: Share) -> None:
        self._place, self._share = place, share
        self._idle: deque[Any] = deque()
        self._running: dict[Any, _Running] = {}
        self._deaths: Counter[str] = Counter()
        self._lost: dict[str, float] = {}

    @property
    def running(self) -> list[Prepared]:
        """Those that have begun and not ended."""
        return [running.one for running in self._running.values()]

    def room(self) -> int:
        """How many more trials the cluster, as it is now, has room for."""
        return max(0, self._share.concurrency(resources_now()) - len(self._running))

    def start(self, one: Prepared) -> None:
        """Begin a trial, on an actor that has ended another one where there is one."""
        self._begin(one, self._idle.popleft() if self._idle else self._new())

    def wait(self, seconds: float) -> list[Ended]:
        """The trials that end first within so many seconds; one whose process dies begins anew, `MAX_KILLED` times."""
        import ray

        if not self._running:
            return []
        done, _ = ray.wait(list(self._running), num_returns=1, timeout=seconds)
        return [ended for call in done if (ended := self._end(call)) is not None]

    def rest(self) -> None:
        """Give back what actors without a trial hold, such as for a collection."""
        import ray

        while self._idle:
            ray.kill(self._idle.popleft())

    def close(self) -> None:
        """End all actors."""
        import ray

        self.rest()
        for running in self._running.values():
            ray.kill(running.actor)
        self._running.clear()

    def _new(self) -> Any:
        import ray

        return ray.remote(_Worker).options(num_cpus=self._share.num_cpus, num_gpus=self._share.num_gpus or 0).remote()

    def _begin(self, one: Prepared, actor: Any) -> None:
        values = flatten(with_absolute_paths(one.config))
        call = actor.run.remote(one.folder, values, described(self._place, self._share))
        self._running[call] = _Running(one, actor, time.monotonic())

    def _end(self, call: Any) -> Ended | None:
        import ray
        from ray.exceptions import RayError

        running = self._running.pop(call)
        folder, seconds = running.one.folder, time.monotonic() - running.begun
        try:
            failure: Failure | None = ray.get(call)
            self._idle.append(running.actor)
        except RayError as error:
            self._deaths[folder] += 1
            self._lost[folder] = self._lost.get(folder, 0.0) + seconds
            ray.kill(running.actor)
            if self._deaths[folder] <= MAX_KILLED:
                self.start(running.one)
                return None
            failure, seconds = death(f"{type(error).__name__}: {error}", self._deaths[folder]), 0.0
            keep_failure(self._place.home, folder, failure)
        return Ended(running.one, failure, seconds + self._lost.pop(folder, 0.0))


class _Worker:
    """A process that runs trials, one after another."""

    def run(self, folder: str, values: dict[str, Any], place: dict[str, str]) -> Failure | None:
        import torch

        torch.set_num_threads(1)
        return run_one(folder, override(Config(), values), place)
