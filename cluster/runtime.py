"""Connecting to Ray: the cluster that RAY_ADDRESS names, else one of our own on this machine."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from rambo.errors import require


@dataclass(frozen=True)
class Resources:
    """What a cluster has in all."""

    num_cpus: int
    num_gpus: int


@contextmanager
def connected(num_cpus: int | None = None) -> Iterator[Resources]:
    """Ray inside, disconnected after; a cluster that was already connected stays so.

    Without RAY_ADDRESS a local Ray is started with `num_cpus` logical CPUs, at least as many as the machine has cores.
    """
    for name, value in (("RAY_AIR_NEW_OUTPUT", "0"), ("RAY_USAGE_STATS_ENABLED", "0"), ("RAY_TRAIN_V2_ENABLED", "1")):
        os.environ.setdefault(name, value)
    import ray

    own = not ray.is_initialized()
    if own:
        options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
        if "RAY_ADDRESS" not in os.environ:
            cores = max(num_cpus or 1, os.cpu_count() or 1)
            options |= {"num_cpus": cores, "include_dashboard": False, "address": "local"}
        ray.init(**options)
    try:
        total = ray.cluster_resources()
        yield Resources(int(total.get("CPU", 0)), int(total.get("GPU", 0)))
    finally:
        if own:
            ray.shutdown()


def check_workers(num_workers: int, resources: Resources) -> None:
    """Raise `InvalidInput` where the cluster can never hold so many workers; Ray would wait for ever without a word."""
    available = resources.num_gpus or resources.num_cpus
    kind = "GPUs" if resources.num_gpus else "CPUs"
    require(
        1 <= num_workers <= available,
        f"--num-workers must lie between 1 and the cluster's {available} {kind}, got {num_workers}.",
    )
