"""Measure all missing sets of many experiments at once: Ray Train workers, or this process where that is quicker.

One trainer serves every seed and cell, since its start costs about as much as a hundred small trainings. Workers take
batches from a queue and put each into the store when it is done, so a killed worker costs the batch in its hands.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch

from cluster.failures import left_to_trials, once, unsaid
from cluster.nodes import check_nodes
from cluster.runtime import (
    NumWorkers,
    Resources,
    connected,
    connected_beside,
    least_and_most,
    names_cluster,
    num_free,
    wait_for,
    workers_on,
)
from cluster.work import Batch, Work
from cluster.workers import train_on_workers
from rambo.arrays import Members
from rambo.cli import choose_device
from rambo.errors import require
from rambo.home import Home
from rambo.progress import Advance, Progress
from rambo.store import Store
from rambo.training.measuring import FLUSH_SECONDS, measure_into, missing_specs
from rambo.training.own_stacking import say_how_trained
from rambo.training.trainer import Problem, SetSpec
from rambo.utility.ot_distance import OTProblem, measure_ot

START_SECONDS = 20.0
"""What a local Ray and a trainer cost before the first set is measured."""

BATCH_SECONDS = 8.0
"""Work in a batch, at most: what a killed worker loses."""

BATCHES_A_WORKER = 4
"""Batches that each worker should find at least, so that all end at about the same time."""

PILOT_SETS = 3
"""Sets that are measured to tell how long the rest will take."""

PILOT_STACK = 64
"""The same on a GPU, at once: alone a set tells nothing there. A batch for a GPU is at least as large."""


@dataclass(frozen=True)
class Forecast:
    """What is known of a collection before it runs."""

    seconds_per_set: float
    """Mean of the pilot's trainings on one worker."""
    num_trainings: int
    seconds_per_distance: float = 0.0
    """Mean of the pilot's OT distances on one worker."""
    num_ot: int = 0
    trainings: tuple[float, ...] = ()
    """Seconds a set of each of the pilot's calls, the first one apart where there are others."""
    distances: tuple[float, ...] = ()

    def seconds(self, num_workers: int) -> float:
        """Wall-clock time of the work spread over `num_workers`."""
        return (self.seconds_per_set * self.num_trainings + self.seconds_per_distance * self.num_ot) / num_workers


def pilot(work: Work, store: Store | None, device: torch.device) -> Forecast:
    """Measure a few of the missing sets and OT distances, into `store` if there is one, and time them."""
    groups = [(problem, [spec]) for problem, spec in work.sample(PILOT_SETS + 1)]
    if device.type == "cuda":
        groups = [*groups[:1], *work.sample_stack(PILOT_STACK)]
    trainings = [
        (partial(measure_into, store, problem, specs, device, _ignore), len(specs)) for problem, specs in groups
    ]
    distances = [(partial(_distance_into, store, *pair), 1) for pair in work.sample_ot(PILOT_SETS + 1)]
    (per_set, sets), (per_distance, pairs) = _seconds(trainings), _seconds(distances)
    estimate = Forecast(per_set, work.num_trainings, per_distance, work.num_ot, sets, pairs)
    if device.type == "cuda":
        torch.cuda.empty_cache()  # a worker on the same GPU chooses its stack by what is free
    return estimate


def _ignore(done: float) -> None:
    pass


def _seconds(calls: Sequence[tuple[Callable[[], object], int]]) -> tuple[float, tuple[float, ...]]:
    """Of one set, on average and call by call; each call measures as many as its number says."""
    seconds = []
    for call, count in calls:
        start = time.perf_counter()
        with left_to_trials("Some sets of the pilot", unsaid):
            call()
            seconds.append((time.perf_counter() - start, count))
    timed = seconds[1:] or seconds  # the first one pays for what is loaded once
    mean = sum(time for time, _ in timed) / max(sum(count for _, count in timed), 1)
    return mean, tuple(time / max(count, 1) for time, count in timed)


def _distance_into(store: Store | None, problem: OTProblem, row: Members) -> None:
    value = problem.distance(row)
    if store is not None:
        store.put_ot_values({problem.key(row): value})


def collect(work: Work, home: Home, *, num_workers: NumWorkers | None, device: str, progress: Progress) -> None:
    """Put all of `work` into the store of `home`.

    `num_workers` None takes every GPU that is free, or every CPU where the cluster has none; `device` is what the user
    asked for: auto, cpu or cuda. Raises `InvalidInput` where the cluster cannot hold the workers or the home cannot be
    written; what was finished before is kept.
    """
    if work.num_trainings == work.num_ot == 0:
        return
    if work.own and names_cluster():
        with progress.doing("looking whether every node can import what is trained"), connected():
            check_nodes(home, own=work.own)
    store = Store(home)
    here = device_here(device)
    with progress.doing("measuring the first few"):
        estimate = pilot(work, store, here)
    if (num_workers == 1 and not names_cluster()) or estimate.seconds(1) < START_SECONDS:
        collect_here(work, store, here, progress)
    else:
        collect_with_workers(work, home, num_workers=num_workers, device=device, progress=progress, estimate=estimate)


def device_here(device: str) -> torch.device:
    """Where this process computes: on its own GPU if there is one; a cluster's GPUs are its nodes' to find."""
    return choose_device("auto" if device == "cuda" and names_cluster() else device)


def collect_here(work: Work, store: Store, device: torch.device, progress: Progress) -> None:
    """All of `work` in this process, but for what another collection has measured by the time its turn comes."""
    work, say = work.shuffled(), once(progress.say)
    if device.type == "cuda":
        say_how_trained(work.problems, progress)
    for ot_problem, members in zip(work.ot_problems, work.members, strict=True):
        with left_to_trials("OT distances", say):
            measure_ot(ot_problem, members, store, progress)
    with progress.task("trainings", work.num_trainings) as advance:
        for problem, specs in zip(work.problems, work.specs, strict=True):
            with left_to_trials("Trainings", say):
                measure_into(store, problem, _still_missing(problem, specs, store, advance), device, advance)


def _still_missing(problem: Problem, specs: Sequence[SetSpec], store: Store, advance: Advance) -> Iterator[SetSpec]:
    """Those of `specs` that the store lacks, by a look as often as others write."""
    rest = list(specs)
    while rest:
        missing = missing_specs(problem, rest, store)
        advance(len(rest) - len(missing))
        rest, end = missing, time.monotonic() + FLUSH_SECONDS
        while rest and time.monotonic() < end:
            yield rest.pop()


def collect_with_workers(
    work: Work,
    home: Home,
    *,
    num_workers: NumWorkers | None,
    device: str,
    progress: Progress,
    estimate: Forecast | None = None,
) -> None:
    """All of `work` by Ray Train workers, however little it is; without an `estimate` a pilot makes one."""
    estimate = estimate or pilot(work, Store(home), device_here(device))
    work = work.shuffled()
    lend = partial(lend_a_hand, work, Store(home))
    # whether a cluster has GPUs is not yet known, and what they could measure is not measured on a CPU
    on_cpus = not names_cluster() and device_here(device).type == "cpu"
    most = least_and_most(num_workers)[1] if num_workers is not None else None
    with connected_beside(most, lend if on_cpus else lend_nothing):

        def fitting(resources: Resources) -> tuple[NumWorkers, bool]:  # how many, and whether on GPUs
            on_gpus = resources.num_gpus > 0 and device != "cpu"
            require(on_gpus or device != "cuda", NO_GPU)
            if on_gpus:
                return workers_on(num_workers, num_free("GPU", resources.num_gpus), "GPUs"), True
            return workers_on(num_workers, num_free("CPU", resources.num_cpus), "CPUs"), False

        workers, on_gpus = wait_for(fitting, progress)
        check_nodes(home, own=work.own)
        if on_gpus:
            say_how_trained(work.problems, progress)
        batches = cut(work, estimate, least_and_most(workers)[1], least=PILOT_STACK if on_gpus else 1)
        with left_to_trials("Sets", progress.say):
            train_on_workers(
                work,
                batches,
                home,
                num_workers=workers,
                on_gpus=on_gpus,
                lend=lend_nothing if on_gpus else lend,
                progress=progress,
            )


def lend_a_hand(work: Work, store: Store, until: Callable[[], bool]) -> None:
    """While Ray and its workers start, measure here, `until` they are at work: a start is worth some fifty small sets.

    Each problem from its middle on: what workers begin with stays theirs, and so do the small batches that let them end
    together.
    """

    def until_then(specs: Sequence[SetSpec]) -> Iterator[SetSpec]:
        for spec in specs:
            if until():
                return
            yield spec

    for problem, specs in zip(reversed(work.problems), reversed(work.specs), strict=True):
        half = len(specs) // 2
        missing = missing_specs(problem, [*specs[half:], *reversed(specs[:half])], store)
        with left_to_trials("Trainings", unsaid):  # workers will meet it, and say so
            measure_into(store, problem, until_then(missing), torch.device("cpu"), lambda done: None)


def lend_nothing(until: Callable[[], bool]) -> None:
    """Where workers have GPUs, this process has nothing to offer."""


NO_GPU = "--device cuda needs a cluster with GPUs, got one without; use --device cpu, or auto."


def cut(work: Work, estimate: Forecast, num_workers: int, *, least: int = 1) -> list[Batch]:
    """All of `work` in batches that last `BATCH_SECONDS` at most, of at least so many trainings."""

    def size(total: int, seconds_each: float) -> int:
        share = math.ceil(total / (BATCHES_A_WORKER * num_workers))
        return max(1, min(share, int(BATCH_SECONDS / max(seconds_each, 1e-6))))

    return work.batches(
        size(work.num_trainings, estimate.seconds_per_set),
        size(work.num_ot, estimate.seconds_per_distance),
        num_workers,
        least=least,
    )
