"""Trials on Ray actors that stay: as many at a time as the cluster has room for now, so nodes that join are used.

An actor holds the share of one trial and runs one after another. Which trial is next, and whether there is one, is
asked whenever there is room.
"""

import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from cluster.attempt import run_one
from cluster.failures import Failure, death, keep_failure
from cluster.place import Place, Share, described
from cluster.runtime import Resources, resources_now
from rambo.config import Config
from rambo.fields import flatten, override, with_absolute_paths
from rambo.preparation import Prepared

MAX_KILLED = 3
"""Times that a trial whose process dies is started again."""


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
    place: Place
    share: Share
    actor: Any
    ready: Any
    """Of an actor that is being started, what answers once it has its share; None from then on."""
    begun: float | None


class TrialPool:
    """Actors for trials; closing it ends them, and what they run with them."""

    def __init__(self) -> None:
        self._idle: list[tuple[Share, Any]] = []
        self._running: dict[Any, _Running] = {}
        self._deaths: Counter[str] = Counter()
        self._lost: dict[str, float] = {}

    def __enter__(self) -> "TrialPool":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def seconds(self) -> dict[str, float]:
        """How long each trial that has begun and not ended has held its share, by folder."""
        now, found = time.monotonic(), dict[str, float]()
        for running in self._running.values():
            folder = running.one.folder
            so_far = 0.0 if running.begun is None else now - running.begun
            found[folder] = self._lost.get(folder, 0.0) + so_far
        return found

    def has_room(self, share: Share) -> bool:
        """Whether the cluster, as it is now, has room for another trial of `share`."""
        return fits((running.share for running in self._running.values()), share, resources_now())

    def start(self, one: Prepared, place: Place, share: Share) -> None:
        """Begin a trial, on an actor that has ended another one of the same share where there is one."""
        actor = next((actor for held, actor in self._idle if held == share), None)
        if actor is None:
            self.rest()
            self._begin(one, place, share, self._new(share), is_new=True)
        else:
            self._idle.remove((share, actor))
            self._begin(one, place, share, actor, is_new=False)

    def wait(self, seconds: float) -> list[Ended]:
        """The trials that end first within so many seconds; one whose process dies begins anew, `MAX_KILLED` times."""
        import ray

        if not self._running:
            return []
        starting = {running.ready: running for running in self._running.values() if running.ready is not None}
        calls = list(self._running)
        done, _ = ray.wait([*calls, *starting], num_returns=1, timeout=seconds)
        for running in (starting[one] for one in done if one in starting):
            running.ready, running.begun = None, time.monotonic()
        return [ended for call in done if call in self._running and (ended := self._end(call)) is not None]

    def stop(self, folder: str) -> None:
        """End a trial that runs; what it was about to write is lost."""
        import ray

        for call in [call for call, running in self._running.items() if running.one.folder == folder]:
            ray.kill(self._running.pop(call).actor)
            self._lost.pop(folder, None)

    def rest(self) -> None:
        """Give back what actors without a trial hold, such as for a collection."""
        import ray

        while self._idle:
            ray.kill(self._idle.pop()[1])

    def close(self) -> None:
        """End all actors."""
        import ray

        self.rest()
        for running in self._running.values():
            ray.kill(running.actor)
        self._running.clear()

    def _new(self, share: Share) -> Any:
        import ray

        return ray.remote(_Worker).options(num_cpus=share.num_cpus, num_gpus=share.num_gpus or 0).remote()

    def _begin(self, one: Prepared, place: Place, share: Share, actor: Any, *, is_new: bool) -> None:
        values = flatten(with_absolute_paths(one.config))
        ready = actor.is_ready.remote() if is_new else None
        call = actor.run.remote(one.folder, values, described(place, share))
        begun = None if is_new else time.monotonic()
        self._running[call] = _Running(one, place, share, actor, ready, begun)

    def _end(self, call: Any) -> Ended | None:
        import ray
        from ray.exceptions import RayError

        running = self._running.pop(call)
        folder = running.one.folder
        seconds = 0.0 if running.begun is None else time.monotonic() - running.begun
        try:
            failure: Failure | None = ray.get(call)
            self._idle.append((running.share, running.actor))
        except RayError as error:
            self._deaths[folder] += 1
            self._lost[folder] = self._lost.get(folder, 0.0) + seconds
            ray.kill(running.actor)
            if self._deaths[folder] <= MAX_KILLED:
                self.start(running.one, running.place, running.share)
                return None
            failure, seconds = death(f"{type(error).__name__}: {error}", self._deaths.pop(folder)), 0.0
            keep_failure(running.place.home, folder, failure)
        return Ended(running.one, failure, seconds + self._lost.pop(folder, 0.0))


def fits(held: Iterable[Share], share: Share, resources: Resources) -> bool:
    """Whether a trial of `share` has room beside those of `held`, each laid on the first node that takes it."""
    left = [[float(cpus), float(gpus)] for cpus, gpus in resources.nodes]
    for one in sorted(held, key=_size, reverse=True):
        _lay(one, left)
    return _lay(share, left)


def _size(share: Share) -> tuple[float, float]:
    return share.num_gpus or 0.0, share.num_cpus


def _lay(share: Share, left: list[list[float]]) -> bool:
    """Take `share` out of the first node that has it; whether one has."""
    for node in left:
        if node[0] >= share.num_cpus - 1e-9 and node[1] >= (share.num_gpus or 0.0) - 1e-9:
            node[0] -= share.num_cpus
            node[1] -= share.num_gpus or 0.0
            return True
    return False


class _Worker:
    """A process that runs trials, one after another."""

    def is_ready(self) -> bool:
        return True

    def run(self, folder: str, values: dict[str, Any], place: dict[str, str]) -> Failure | None:
        import torch

        torch.set_num_threads(1)
        return run_one(folder, override(Config(), values), place)
