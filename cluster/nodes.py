"""Whether every node of a cluster can do the work: write the home, read the data, import what is the user's own."""

import os
import uuid
from collections.abc import Iterable
from pathlib import Path

from cluster.runtime import names_cluster
from rambo.config import Config
from rambo.errors import InvalidInput
from rambo.fields import flatten, with_absolute_paths
from rambo.formats import first_line, last_line
from rambo.home import Home
from rambo.own import Pinned, named

PROBE_SECONDS = 300.0
"""What a node gets to start a process that looks; on a busy one that takes a while."""

OWN = "A function of the user's own"
"""What a node may lack beside the home and data."""


def files_of(configs: Iterable[Config]) -> list[str]:
    """Files and folders that experiments read, absolute; downloadable sets, which a node may fetch, are none."""
    found = set()
    for config in map(with_absolute_paths, configs):
        found |= {path for _, colon, path in [config.data.source.partition(":")] if colon}
        found |= {config.utility_model.weights} - {"imagenet", "random"}
    return sorted(found)


def own_of(configs: Iterable[Config]) -> list[Pinned]:
    """Functions of the user's own that experiments call, as this process has imported them."""
    every = {one for config in configs for one in named(flatten(config).items())}
    return [one.pinned() for one in sorted(every)]


def check_nodes(home: Home, files: Iterable[str] = (), own: Iterable[Pinned] = ()) -> None:
    """Raise `InvalidInput` where a node of the connected cluster cannot work on `home`, read `files` or import `own`.

    A folder of this machine would else fail in every trial that another node runs, or worse, be another folder there.
    On this machine too a cluster that was started elsewhere may import from other folders.
    """
    import ray
    from ray.exceptions import RayError
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = ray.get_runtime_context().get_node_id()
    others = {node["NodeID"]: node["NodeManagerAddress"] for node in ray.nodes() if node["Alive"]}
    own = list(own)
    if not (own and names_cluster()):
        del others[here]
    if not others:
        return
    name = f".probe-{uuid.uuid4().hex}"
    home.write(name, name.encode())
    look = ray.remote(num_cpus=0)(_missing_here)
    try:
        asked = {
            address: look.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)).remote(
                home.root, name, list(files), own
            )
            for node, address in others.items()
        }
        for address, answer in asked.items():
            try:
                _refuse(address, ray.get(answer, timeout=PROBE_SECONDS))
            except RayError as error:
                reason = last_line(error)
                raise InvalidInput(
                    f"Every node must be able to run this project, got node {address}, which cannot ({reason}); "
                    "install the same versions there, or take it out of the cluster."
                ) from None
    finally:
        home.remove(name)


def _refuse(address: str, found: tuple[str, str, str] | None) -> None:
    if found is not None:
        what, path, reason = found
        if what == OWN:
            raise InvalidInput(
                f"Every node of the cluster must be able to import {path}, got {address}, which cannot ({reason}); "
                "put it on a disk that they all reach: python -m cluster submit takes it along with a command."
            )
        on_disk = f"on a disk that every node of the cluster can reach, got {path}, which node {address} cannot use"
        raise InvalidInput(
            f"{what} must be a URL, or {on_disk} ({reason}); give s3://… or a path on a disk that they share."
        )


def _missing_here(root: str, name: str, files: list[str], own: list[Pinned]) -> tuple[str, str, str] | None:
    """What this node cannot use of a home, of files and of modules: which, where, why."""
    home = Home(root)
    try:
        if home.read(name) != name.encode():
            return "--home", root, "what others write there is not seen"
        home.check_writable()
    except Exception as error:  # of a URL anything may come
        return "--home", root, first_line(error)
    for path in files:
        if not os.access(path, os.R_OK):
            return "Data", path, "not there" if not Path(path).exists() else "not readable"
    for one in own:
        try:
            one.check_here()
        except InvalidInput as error:
            return OWN, str(one.own), str(error).partition(", got ")[2].partition(";")[0].rstrip(".")
    return None
