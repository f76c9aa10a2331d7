"""Ray Train workers that empty a queue of batches into a store, and what is told meanwhile."""

import tempfile
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import torch

from cluster.failures import left_to_trials
from cluster.runtime import Lend, NumWorkers, least_and_most
from cluster.work import Batch, Work
from cluster.work_queue import QueueState, WorkQueue
from rambo.errors import InvalidInput
from rambo.heartbeat import LOG_SECONDS
from rambo.home import Home
from rambo.progress import Progress
from rambo.store import Store
from rambo.training.measuring import measure_into, missing_specs
from rambo.utility.ot_distance import measure_ot

MAX_FAILURES = 10
"""Times that a worker group is started again."""

RECENT_SECONDS = 60.0
"""Span of the rate that is told."""

LEFT_OUT = frozenset({"DatasetsCallback", "PlacementGroupCleanerCallback"})
"""Of what Ray Train starts for a trainer, what is of no use here: a process each, awake 100 times a second.

One serves Ray Data's shards, which we have none of; the other gives back a dead controller's room, and so does the end
of our job.
"""


def train_on_workers(
    work: Work,
    batches: Sequence[Batch],
    home: Home,
    *,
    num_workers: NumWorkers,
    on_gpus: bool,
    lend: Lend,
    progress: Progress,
) -> None:
    """Put all of `batches` into the store of `home` by Ray Train workers, each with a GPU or a CPU to itself.

    `lend` is what this process does until the workers are at work. Raises `InvalidInput` where the home cannot be
    written or Ray Train's controller is killed; what was finished before is kept.
    """
    import ray
    from ray.exceptions import RayActorError

    queue_class = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(WorkQueue)
    queue: Any = queue_class.remote([len(batch) for batch in batches])
    images = {id(problem.images): ray.put(problem.images) for problem in work.problems}
    loop_config = {
        "queue": queue,
        "home": home.root,
        "work": ray.put(work.without_images()),
        "batches": ray.put(list(batches)),
        "images": [images[id(problem.images)] for problem in work.problems],
        "on_gpus": on_gpus,
    }
    least, most = least_and_most(num_workers)
    progress.say(f"starting Ray Train workers: {least if least == most else f'{least} to {most}'}")
    with tempfile.TemporaryDirectory(prefix="ray-train-") as folder:  # Ray wants a folder; nothing of ours goes there

        def fit() -> None:
            try:
                trainer_of(measure_batches, loop_config, num_workers, on_gpus, folder).fit()
            except RayActorError:
                raise InvalidInput(CONTROLLER_ENDED) from None

        _watch(fit, lend, queue, sum(map(len, batches)), progress)
    state = _state(queue)
    for sentence in state.troubles:
        progress.say(sentence)
    if state.failure is not None:
        raise InvalidInput(state.failure)


CONTROLLER_ENDED = (
    "Ray Train's controller must live until all is measured, got one whose process ended (killed, out of memory, or "
    "its node was lost); what was measured is kept, and the same command goes on from here."
)


def trainer_of(
    loop: Callable[[dict[str, Any]], None],
    loop_config: dict[str, Any],
    num_workers: Any,
    on_gpus: bool,
    folder: str,
) -> Any:
    """A Ray Train trainer that runs `loop` in each worker, and keeps what it must keep in `folder`."""
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    class Trainer(TorchTrainer):
        def _create_default_callbacks(self) -> list[Any]:
            all_of_them = super()._create_default_callbacks()  # type: ignore[misc]  # checkers see the class of V1
            return [each for each in all_of_them if type(each).__name__ not in LEFT_OUT]

    backend = "nccl" if on_gpus and torch.cuda.is_available() else "gloo"
    return Trainer(
        loop,
        train_loop_config=loop_config,
        torch_config=TorchConfig(backend=backend),
        scaling_config=ScalingConfig(num_workers=num_workers, use_gpu=on_gpus),
        run_config=RunConfig(
            name=f"collect-{uuid.uuid4().hex[:12]}",
            storage_path=folder,
            failure_config=FailureConfig(max_failures=MAX_FAILURES),
        ),
    )


def _watch(fit: Callable[[], object], lend: Lend, queue: Any, total: int, progress: Progress) -> None:
    """Run `fit` in a thread, where Ray cannot take Ctrl-C for itself; `lend`, then tell the queue's progress."""
    raised: list[BaseException] = []
    ended = threading.Event()

    def run() -> None:
        try:
            fit()
        except BaseException as error:
            raised.append(error)
        finally:
            ended.set()

    threading.Thread(target=run, daemon=True).start()
    try:
        with progress.doing("starting Ray Train workers"):
            lend(lambda: ended.is_set() or _state(queue).has_begun)
        _tell(queue, Pace(total), ended, progress)
        progress.say(f"measuring: {_state(queue).num_done}/{total} sets")
    except BaseException:
        queue.fail.remote("stopped")
        raise
    if raised:
        raise raised[0]


def _tell(queue: Any, pace: "Pace", ended: threading.Event, progress: Progress) -> None:
    told, at_work = time.monotonic(), 0
    while not ended.wait(1.0):
        state, now = _state(queue), time.monotonic()
        line = pace.line(state, now)
        if now - told >= LOG_SECONDS or (state.num_at_work and not at_work):
            progress.say(line)
            told, at_work = now, state.num_at_work


def _state(queue: Any) -> QueueState:
    import ray

    state: QueueState = ray.get(queue.state.remote())
    return state


class Pace:
    """Says how far a collection is: sets done of all, sets a second of late, time left, workers at work."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._seen: deque[tuple[float, int]] = deque()

    def line(self, state: QueueState, now: float) -> str:
        """What there is to tell at the time `now`, in seconds."""
        if self._seen or state.num_done or state.num_at_work:  # the time that workers take to start does not count
            self._seen.append((now, state.num_done))
        while self._seen and now - self._seen[0][0] > RECENT_SECONDS:
            self._seen.popleft()
        start, before = self._seen[0] if self._seen else (now, 0)
        rate = (state.num_done - before) / (now - start) if now > start else 0.0
        parts = [f"measuring: {state.num_done}/{self._total} sets"]
        if rate > 0:
            parts += [f"{rate:.1f} sets/s", f"{(self._total - state.num_done) / rate:.0f} s left"]
        return ", ".join([*parts, f"workers at work: {state.num_at_work}"])


def measure_batches(loop_config: dict[str, Any]) -> None:
    """What each Ray Train worker runs: take a batch, measure what the store lacks of it, keep it, again."""
    import ray
    import ray.train
    from ray.train.collective import broadcast_from_rank_zero

    torch.set_num_threads(1)
    # a GPU that Ray did not give to this worker is another's, though it may be seen
    device = torch.device("cuda" if loop_config["on_gpus"] and torch.cuda.is_available() else "cpu")
    work = ray.get(loop_config["work"]).with_images(ray.get(loop_config["images"]))
    queue = loop_config["queue"]
    try:
        for one in work.own:
            one.check_here()
    except InvalidInput as error:
        ray.get(queue.fail.remote(str(error)))
        return
    batches, store = ray.get(loop_config["batches"]), Store(Home(loop_config["home"]), compact=False)
    rank = ray.train.get_context().get_world_rank()
    group = broadcast_from_rank_zero(uuid.uuid4().hex)
    while (number := ray.get(queue.take.remote(group, rank))) is not None:
        try:
            troubles = _measure(batches[number], work, store, device)
        except InvalidInput as error:  # a full disk: another try would fare no better
            ray.get(queue.fail.remote(str(error)))
            return
        ray.get(queue.finish.remote(group, rank, number, troubles))


def _measure(batch: Batch, work: Work, store: Store, device: torch.device) -> list[str]:
    """Why some of the batch could not be had; empty where all is in the store."""
    troubles = list[str]()
    if batch.members is not None:
        with left_to_trials("OT distances", troubles.append):
            measure_ot(work.ot_problems[batch.problem], batch.members, store, Progress(quiet=True))
        return troubles
    problem = work.problems[batch.problem]
    alone = left_to_trials("Trainings", troubles.append) if problem.own else nullcontext()
    with alone:  # another try would end the same
        measure_into(store, problem, missing_specs(problem, batch.specs, store), device, lambda done: None)
    return troubles
