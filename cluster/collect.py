"""Measure all missing sets of many experiments at once: Ray Train workers, or this process where that is quicker.

One trainer serves every seed and cell, since its start costs about as much as a hundred small trainings. Workers take
batches from a queue and put each into the store when it is done, so a killed worker costs the batch in its hands.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from cluster.runtime import NumWorkers, check_nodes, check_workers, connected, least_and_most
from cluster.work import Batch, Work
from cluster.workers import train_on_workers
from rambo.home import Home
from rambo.measuring import measure_into, missing_specs
from rambo.ot_distance import OTProblem, measure_ot
from rambo.progress import Progress
from rambo.store import Store
from rambo.training import Problem, SetSpec

START_SECONDS = 20.0
"""What a local Ray and a trainer cost before the first set is measured."""

BATCH_SECONDS = 8.0
"""Work in a batch, at most: what a killed worker loses."""

BATCHES_A_WORKER = 4
"""Batches that each worker should find at least, so that all end at about the same time."""

PILOT_SETS = 3
"""Sets that are measured to tell how long the rest will take."""


@dataclass(frozen=True)
class Estimate:
    """What is known of a collection before it runs."""

    seconds_per_set: float
    """Mean of the pilot's trainings on one worker."""
    num_trainings: int
    seconds_per_distance: float = 0.0
    """Mean of the pilot's OT distances on one worker."""
    num_ot: int = 0

    def seconds(self, num_workers: int) -> float:
        """Wall-clock time of the work spread over `num_workers`."""
        return (self.seconds_per_set * self.num_trainings + self.seconds_per_distance * self.num_ot) / num_workers


def pilot(work: Work, store: Store | None, device: torch.device) -> Estimate:
    """Measure a few of the missing sets and OT distances, into `store` if there is one, and time them."""
    trainings = [
        partial(measure_into, store, problem, [spec], device, lambda done: None)
        for problem, spec in work.sample(PILOT_SETS + 1)
    ]
    distances = [partial(_distance_into, store, problem, row) for problem, row in work.sample_ot(PILOT_SETS + 1)]
    return Estimate(_mean_seconds(trainings), work.num_trainings, _mean_seconds(distances), work.num_ot)


def _mean_seconds(calls: Sequence[Callable[[], object]]) -> float:
    seconds = []
    for call in calls:
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    timed = seconds[1:] or seconds  # the first one pays for what is loaded once
    return sum(timed) / max(len(timed), 1)


def _distance_into(store: Store | None, problem: OTProblem, row: NDArray[np.bool_]) -> None:
    value = problem.distance(row)
    if store is not None:
        store.put_ot_values({problem.key(row): value})


def collect(
    work: Work, home: Home, *, num_workers: NumWorkers | None, device: torch.device, progress: Progress
) -> None:
    """Put all of `work` into the store of `home`.

    `num_workers` None takes every GPU of the cluster, or every CPU where it has none. Raises `InvalidInput` where the
    cluster cannot hold the workers or the home cannot be written; what was finished before is kept.
    """
    if work.num_trainings == work.num_ot == 0:
        return
    store = Store(home)
    estimate = pilot(work, store, device)
    if num_workers == 1 or estimate.seconds(1) < START_SECONDS:
        collect_here(work, store, device, progress)
    else:
        collect_with_workers(work, home, num_workers=num_workers, device=device, progress=progress, estimate=estimate)


def collect_here(work: Work, store: Store, device: torch.device, progress: Progress) -> None:
    """All of `work` in this process."""
    for ot_problem, members in zip(work.ot_problems, work.members, strict=True):
        measure_ot(ot_problem, members, store, progress)
    with progress.task("trainings", work.num_trainings) as advance:
        for problem, specs in zip(work.problems, work.specs, strict=True):
            missing = missing_specs(problem, specs, store)
            advance(len(specs) - len(missing))
            measure_into(store, problem, missing, device, advance)


def collect_with_workers(
    work: Work,
    home: Home,
    *,
    num_workers: NumWorkers | None,
    device: torch.device,
    progress: Progress,
    estimate: Estimate | None = None,
) -> None:
    """All of `work` by Ray Train workers, however little it is; without an `estimate` a pilot makes one."""
    estimate = estimate or pilot(work, Store(home), device)
    with connected(least_and_most(num_workers)[1] if num_workers is not None else None) as resources:
        workers = num_workers or resources.num_gpus or resources.num_cpus
        check_workers(workers, resources)
        check_nodes(home)
        batches = cut(work, estimate, least_and_most(workers)[1])
        train_on_workers(work, batches, home, num_workers=workers, resources=resources, progress=progress)


def cut(work: Work, estimate: Estimate, num_workers: int) -> list[Batch]:
    """All of `work` in batches that last `BATCH_SECONDS` at most."""

    def size(total: int, seconds_each: float) -> int:
        share = math.ceil(total / (BATCHES_A_WORKER * num_workers))
        return max(1, min(share, int(BATCH_SECONDS / max(seconds_each, 1e-6))))

    return work.batches(
        size(work.num_trainings, estimate.seconds_per_set),
        size(work.num_ot, estimate.seconds_per_distance),
        num_workers,
    )


class RayCollector:
    """`rambo.measuring.Collect` by Ray Train workers."""

    def __init__(self, home: Home, num_workers: NumWorkers | None, device: torch.device, progress: Progress) -> None:
        self._home, self._num_workers, self._device, self._progress = home, num_workers, device, progress

    def __call__(self, problem: Problem, specs: Sequence[SetSpec], what: str) -> None:
        """Collect `specs`."""
        work = Work((problem,), (), (tuple(specs),), ())
        collect(work, self._home, num_workers=self._num_workers, device=self._device, progress=self._progress)
