"""Measure all missing sets of many experiments at once: Ray Train workers, or this process where that is quicker.

One trainer serves every seed and cell, since its start costs about as much as a hundred small trainings. Workers take
batches from a queue and put each into the store when it is done, so a killed worker costs the batch in its hands.
"""

import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from cluster.runtime import Resources, check_workers, connected
from cluster.work import Batch, Work, WorkQueue
from rambo.errors import InvalidInput
from rambo.home import Home
from rambo.measuring import measure_into, missing_specs
from rambo.ot_distance import measure_ot
from rambo.progress import Progress
from rambo.store import Store
from rambo.training import Problem, SetSpec

START_SECONDS = 20.0
"""What a local Ray and a trainer cost before the first set is measured."""

BATCH_SECONDS = 8.0
"""Work in a batch, at most: what a killed worker loses."""

PILOT_SETS = 3
"""Sets that are trained to tell how long the rest will take."""

MAX_FAILURES = 10
"""Times that a worker group is started again."""


@dataclass(frozen=True)
class Estimate:
    """What is known of a collection before it runs."""

    seconds_per_set: float
    """Mean of the pilot's trainings on one worker."""
    num_trainings: int

    def seconds(self, num_workers: int) -> float:
        """Wall-clock time of the trainings spread over `num_workers`."""
        return self.seconds_per_set * self.num_trainings / num_workers


def pilot(work: Work, store: Store | None, device: torch.device) -> Estimate:
    """Train a few of the missing sets, into `store` if there is one, and time them."""
    chosen = work.sample(PILOT_SETS + 1)
    seconds = []
    for problem, spec in chosen:
        start = time.perf_counter()
        measure_into(store, problem, [spec], device, lambda done: None)
        seconds.append(time.perf_counter() - start)
    timed = seconds[1:] or seconds  # the first one pays for what is loaded once
    return Estimate(sum(timed) / max(len(timed), 1), work.num_trainings)


def collect(work: Work, home: Home, *, num_workers: int | None, device: torch.device, progress: Progress) -> None:
    """Put all of `work` into the store of `home`.

    `num_workers` None takes every GPU of the cluster, or every CPU where it has none. Raises `InvalidInput` where the
    cluster cannot hold the workers or the home cannot be written; what was finished before is kept.
    """
    store = Store(home)
    if work.num_trainings == 0:
        collect_here(work, store, device, progress)
        return
    estimate = pilot(work, store, device)
    if num_workers == 1 or estimate.seconds(1) < START_SECONDS:
        collect_here(work, store, device, progress)
        return
    with connected(num_workers) as resources:
        workers = num_workers or resources.num_gpus or resources.num_cpus
        check_workers(workers, resources)
        size = max(1, min(64, round(BATCH_SECONDS / max(estimate.seconds_per_set, 1e-3))))
        _train_workers(work, work.batches(size), home, workers, resources, progress)


def collect_here(work: Work, store: Store, device: torch.device, progress: Progress) -> None:
    """All of `work` in this process."""
    for ot_problem, members in zip(work.ot_problems, work.members, strict=True):
        measure_ot(ot_problem, members, store, progress)
    with progress.task("trainings", work.num_trainings) as advance:
        for problem, specs in zip(work.problems, work.specs, strict=True):
            missing = missing_specs(problem, specs, store)
            advance(len(specs) - len(missing))
            measure_into(store, problem, missing, device, advance)


class RayCollector:
    """`rambo.measuring.Collect` by Ray Train workers."""

    def __init__(self, home: Home, num_workers: int | None, device: torch.device, progress: Progress) -> None:
        self._home, self._num_workers, self._device, self._progress = home, num_workers, device, progress

    def __call__(self, problem: Problem, specs: Sequence[SetSpec], what: str) -> None:
        """Collect `specs`."""
        work = Work((problem,), (), (tuple(specs),), ())
        collect(work, self._home, num_workers=self._num_workers, device=self._device, progress=self._progress)


def _train_workers(
    work: Work, batches: Sequence[Batch], home: Home, num_workers: int, resources: Resources, progress: Progress
) -> None:
    import ray
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    queue: Any = ray.remote(num_cpus=0)(WorkQueue).remote([len(batch) for batch in batches])
    images = {id(problem.images): ray.put(problem.images) for problem in work.problems}
    loop_config = {
        "queue": queue,
        "home": home.root,
        "work": ray.put(work.without_images()),
        "batches": ray.put(list(batches)),
        "images": [images[id(problem.images)] for problem in work.problems],
    }
    on_gpus = resources.num_gpus > 0
    backend = "nccl" if on_gpus and torch.cuda.is_available() else "gloo"
    trainer = TorchTrainer(
        _worker,
        train_loop_config=loop_config,
        torch_config=TorchConfig(backend=backend),
        scaling_config=ScalingConfig(num_workers=num_workers, use_gpu=on_gpus),
        run_config=RunConfig(
            name=f"collect-{uuid.uuid4().hex[:12]}",
            storage_path=home.path("ray"),
            failure_config=FailureConfig(max_failures=MAX_FAILURES),
        ),
    )
    with _watched(queue, sum(map(len, batches)), num_workers, progress):
        trainer.fit()
    failure = ray.get(queue.state.remote())[2]
    if failure is not None:
        raise InvalidInput(failure)


@contextmanager
def _watched(queue: Any, total: int, num_workers: int, progress: Progress) -> Iterator[None]:
    """Progress of the queue, told from a thread while the trainer holds this one."""
    import ray

    ended = threading.Event()

    def watch() -> None:
        reported = 0
        with progress.task(f"measuring on {num_workers} workers", total) as advance:
            while not ended.wait(1.0):
                done = ray.get(queue.state.remote())[0]
                advance(done - reported)
                reported = done

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _worker(loop_config: dict[str, Any]) -> None:
    """What each Ray Train worker runs: take a batch, measure what the store lacks of it, keep it, again."""
    import ray
    import ray.train
    from ray.train.collective import broadcast_from_rank_zero

    torch.set_num_threads(1)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    work = ray.get(loop_config["work"]).with_images(ray.get(loop_config["images"]))
    batches, store = ray.get(loop_config["batches"]), Store(Home(loop_config["home"]), compact=False)
    queue, rank = loop_config["queue"], ray.train.get_context().get_world_rank()
    group = broadcast_from_rank_zero(uuid.uuid4().hex)
    while (number := ray.get(queue.take.remote(group, rank))) is not None:
        try:
            _measure(batches[number], work, store, device)
        except InvalidInput as error:  # a full disk: another try would fare no better
            ray.get(queue.fail.remote(str(error)))
            return
        ray.get(queue.finish.remote(number))


def _measure(batch: Batch, work: Work, store: Store, device: torch.device) -> None:
    if batch.members is not None:
        measure_ot(work.ot_problems[batch.problem], batch.members, store, Progress(quiet=True))
        return
    problem = work.problems[batch.problem]
    measure_into(store, problem, missing_specs(problem, batch.specs, store), device, lambda done: None)
