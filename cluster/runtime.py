"""Connecting to Ray: the cluster that RAY_ADDRESS names, else one of our own on this machine."""

import os
import re
import secrets
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from rambo.errors import InvalidInput, require
from rambo.formats import first_line, last_line, shortened, visible, whole
from rambo.heartbeat import LOG_SECONDS
from rambo.progress import Progress

Answer = TypeVar("Answer")

NumWorkers = int | tuple[int, int]
"""Of Ray Train workers: so many, or from the least to the most of them, as the cluster has room."""

Lend = Callable[[Callable[[], bool]], None]
"""What this process does while others start: works until the function that it is given returns True."""


@dataclass(frozen=True)
class Resources:
    """What a cluster has."""

    nodes: tuple[tuple[int, int], ...]
    """CPUs and GPUs of each node: what is asked for in one piece must fit into one of them."""

    @property
    def num_cpus(self) -> int:
        """In all."""
        return sum(cpus for cpus, _ in self.nodes)

    @property
    def num_gpus(self) -> int:
        """In all."""
        return sum(gpus for _, gpus in self.nodes)


MOST_WORKERS = 100_000
"""That can be asked for: a local Ray believes any number."""

SETTLE_SECONDS = 10.0
"""How long what has ended may still seem to hold its CPU."""


def parse_num_workers(text: str) -> NumWorkers:
    """The number of workers that `text` asks for.

    >>> parse_num_workers("4"), parse_num_workers("2-8")
    (4, (2, 8))
    """
    match = re.fullmatch(r"(\d+)(?:-(\d+))?", text, re.ASCII)
    least, most = (whole(match[1]), whole(match[2] or match[1])) if match else (None, None)
    if least is None or most is None or not 1 <= least <= most <= MOST_WORKERS:
        raise InvalidInput(
            f"--num-workers must be a number from 1, or a range of them such as 2-8, got {shortened(text)}."
        )
    return (least, most) if least < most else least


def least_and_most(num_workers: NumWorkers) -> tuple[int, int]:
    """Both bounds of `num_workers`."""
    return (num_workers, num_workers) if isinstance(num_workers, int) else num_workers


@contextmanager
def connected(num_cpus: int | None = None) -> Iterator[Resources]:
    """Ray inside, disconnected after; a cluster that was already connected stays so.

    Without RAY_ADDRESS a local Ray is started with `num_cpus` logical CPUs, at least as many as the machine has cores.
    """
    os.environ.update(ENVIRONMENT | os.environ)
    import ray

    own = not ray.is_initialized()
    if own:
        on_sigterm = signal.getsignal(signal.SIGTERM)
        _start(num_cpus)
        _handle_sigterm_by(on_sigterm)
    try:
        yield resources_now()
    finally:
        if own:
            ray.shutdown()


@contextmanager
def connected_beside(num_cpus: int | None, lend: Lend) -> Iterator[Resources]:
    """`connected`, with `lend` at work in the seconds that a local Ray takes to start; if it raises, Ray is ended."""
    # Ray's processes die with the thread that started them: it lives until all that is inside has ended
    with ThreadPoolExecutor(max_workers=1) as thread, ExitStack() as inside:
        before, connecting = signal.getsignal(signal.SIGTERM), thread.submit(inside.enter_context, connected(num_cpus))

        def is_over() -> bool:
            over = connecting.done()
            _handle_sigterm_by(before)  # in the midst of its start Ray takes it, and a stop would end in a dump
            return over

        try:
            lend(is_over)
        finally:
            while not is_over():
                wait([connecting], timeout=0.2)
        yield connecting.result()


def _handle_sigterm_by(handler: Any) -> None:
    """Undo what Ray's start does to SIGTERM, which a stopped job gets: an abort 3 s later, with a dump of the stack."""
    if callable(handler) and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, handler)


def resources_now() -> Resources:
    """Of the cluster that is connected, as it is now."""
    import ray

    there = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return Resources(tuple((int(node.get("CPU", 0)), int(node.get("GPU", 0))) for node in there))


def num_free(kind: str, total: int) -> int:
    """How many of the connected cluster's `total` CPUs or GPUs nobody holds, its own entry point included.

    What has just ended gives back what it held a moment later, so less than all is looked at for `SETTLE_SECONDS`.
    """
    import ray

    end = time.monotonic() + SETTLE_SECONDS
    while (free := int(ray.available_resources().get(kind, 0))) < total and time.monotonic() < end:
        time.sleep(0.5)
    return free


def wait_for(check: Callable[[Resources], Answer], progress: Progress) -> Answer:
    """What `check` makes of the connected cluster.

    Where it refuses, it is asked again for RAMBO_WAIT_SECONDS (0 by default): after `ray up`, say, workers join some
    minutes later than the head. Raises its last `InvalidInput`.
    """
    text = os.environ.get("RAMBO_WAIT_SECONDS", "0")
    seconds = whole(text)
    if seconds is None or seconds < 0:
        raise InvalidInput(f"RAMBO_WAIT_SECONDS must be a number of seconds, got {shortened(text)}.")
    end, told = time.monotonic() + seconds, float("-inf")
    while True:
        try:
            return check(resources_now())
        except InvalidInput as error:
            now = time.monotonic()
            if now >= end:
                raise
            if now - told >= LOG_SECONDS:
                progress.say(f"waiting up to {end - now:.0f} s for nodes to join: {error}")
                told = now
        time.sleep(min(2.0, end - now))


ENVIRONMENT = {
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_AUTO_CONNECT": "0",  # a thread that works on after a stop would start Ray anew, and die in a dump
    "RAY_TRAIN_V2_ENABLED": "1",
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",  # it would save checkpoints; ours is the store, at all times
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",  # an end, or a worker's death, is seen after a second else
    "RAY_enable_metrics_collection": "false",  # a Ray without a dashboard has nobody to ask for them
    # Ray's own 15 leaves a worker 3 % of a core that it shares with one other busy process: work seems to stand still
    "RAY_worker_niceness": "0",
}
"""Settings of a Ray that is started here, where the user has not set them."""


def withhold_credentials() -> None:
    """Keep Tune from sending this process's AWS keys to trials: Ray writes what is sent into its logs, in plain text.

    The nodes' own environment holds them; a Ray that is started here inherits it.
    """
    from ray.tune.execution import class_cache

    class_cache.ENV_VARS_TO_PROPAGATE.difference_update(
        {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SECURITY_TOKEN", "AWS_SESSION_TOKEN"}
    )


def count_no_callbacks() -> None:
    """Keep Tune from counting them for Ray's makers, which are not told: to do so it would import MLflow and others.

    The thread that publishes imports MLflow at that time too, and Ctrl-C while one waits for the other leaves Python's
    lock of the module held, for ever.
    """
    from ray.air._internal import usage

    usage.tag_callbacks = lambda callbacks: False


def names_cluster() -> bool:
    """Whether RAY_ADDRESS names a cluster, rather than this machine being all there is."""
    return os.environ.get("RAY_ADDRESS", "local") != "local"


def _start(num_cpus: int | None) -> None:
    import ray

    _check_words()
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if not names_cluster():
        cores = max(num_cpus or 1, os.cpu_count() or 1)
        _lend_token()
        try:
            ray.init(**options, num_cpus=cores, include_dashboard=False, address="local")
        except Exception as error:  # of a machine anything may be amiss, and Ray has no error of its own for it
            ray.shutdown()
            raise InvalidInput(_why_not_here(error)) from error
        return
    address = os.environ["RAY_ADDRESS"]
    try:
        _knock(address)
        ray.init(**options)
    except (OSError, RuntimeError, ValueError, OverflowError) as error:
        reason = first_line(error)
        raise InvalidInput(
            f"RAY_ADDRESS must name a Ray cluster that answers, got {address} ({reason}); start that cluster, or unset "
            "it to work on this machine."
        ) from None


def _check_words() -> None:
    """Ray keeps the words of the command that it is started by as text, and fails at bytes that are none."""
    for word in sys.orig_argv:
        try:
            word.encode()
        except UnicodeEncodeError:
            raise InvalidInput(
                f"What starts Ray must be given in UTF-8, got {visible(word)}; rename what that names, and give the "
                "command again."
            ) from None


def _lend_token() -> None:
    """Give a Ray of our own a token where it could not keep one: it wants a home folder that can be written."""
    if os.environ.get("RAY_AUTH_TOKEN") or os.environ.get("RAY_AUTH_TOKEN_PATH"):
        return
    try:
        folder = Path.home() / ".ray"
        folder.mkdir(parents=True, exist_ok=True)
        kept = folder / "auth_token"
        usable = os.access(kept, os.R_OK) if kept.exists() else os.access(folder, os.W_OK)
    except (OSError, RuntimeError):  # a user without a home folder, as in containers
        usable = False
    if not usable:
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)


def _why_not_here(error: Exception) -> str:
    """One sentence on a Ray that did not start on this machine, and what can be done."""
    said, folder = last_line(error), os.environ.get("RAY_TMPDIR") or tempfile.gettempdir()
    if "AF_UNIX" in said:
        return (
            f"The folder of Ray's sockets must have a path of some 40 letters at most, got {folder}; set RAY_TMPDIR to "
            f"a short one on this machine, such as {_short_folder()}, and give the command again."
        )
    return (
        f"Ray must start on this machine, got: {said[:300].rstrip('.')}; see that {folder} can be written and has "
        "room, and that memory and processes are free, or set RAY_TMPDIR to another folder, or RAY_ADDRESS to a "
        "cluster that runs."
    )


def _short_folder() -> str:
    """One that this user can write."""
    known = ("/tmp", "/var/tmp", "/dev/shm")
    return next((one for one in known if os.access(one, os.W_OK)), known[0])


def _knock(address: str) -> None:
    """Raise `OSError` where nobody listens at host:port; Ray itself would try for minutes."""
    host, _, port = address.rpartition(":")
    number = whole(port)
    if host and number is not None and "://" not in host:
        socket.create_connection((host.strip("[]"), number), timeout=10).close()


def workers_on(num_workers: NumWorkers | None, room: int, kind: str) -> NumWorkers:
    """How many Ray Train workers to start where `room` CPUs or GPUs, as `kind` says, are free; None: up to all of them.

    Raises `InvalidInput` where they do not fit: Ray would wait for ever without a word.
    """
    require(
        room > 0, f"A Ray Train worker must have a {kind[:-1]} to itself, got a cluster with no free {kind}; add nodes."
    )
    least, most = least_and_most(num_workers) if num_workers is not None else (1, room)
    require(
        least <= room,
        f"--num-workers must ask for 1 to {room} workers, as many as the cluster has {kind} free, got {least}; ask for "
        "fewer or add nodes.",
    )
    return least if least == most else (least, most)
