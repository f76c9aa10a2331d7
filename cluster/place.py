"""Where trials work and are kept, and what each of them occupies there."""

import argparse
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cluster.collect import NO_GPU, device_here, pilot
from cluster.costs import Cost, Later, Part, Timing, time_fit, workers_here
from cluster.runtime import NumWorkers, Resources, least_and_most, parse_num_workers, wait_for
from cluster.work import Work, known_work, seed_set_work
from rambo import own
from rambo.errors import require
from rambo.home import Home
from rambo.preparation import Prepared
from rambo.progress import Progress
from rambo.store import Store

DEFAULT_GPUS = 0.25
"""Share of a GPU that a trial gets where the cluster has any."""


@dataclass(frozen=True)
class Share:
    """What one trial occupies."""

    num_cpus: float = 1.0
    num_gpus: float | None = None
    """None: a quarter of one where the cluster has any."""

    def on(self, resources: Resources, device: str) -> "Share":
        """The same with its GPUs settled; `device` is auto, cpu or cuda."""
        if self.num_gpus is not None:
            return self
        has_gpus = resources.num_gpus > 0 and device != "cpu"
        require(has_gpus or device != "cuda", NO_GPU)
        return replace(self, num_gpus=DEFAULT_GPUS if has_gpus else 0.0)

    def concurrency(self, resources: Resources) -> int:
        """How many trials fit at once; raises `InvalidInput` for none, since Ray would wait for ever without a word."""
        bound = sum(self._fitting(cpus, gpus) for cpus, gpus in resources.nodes)
        there = ", ".join(f"{cpus} CPUs and {gpus} GPUs" for cpus, gpus in sorted(set(resources.nodes)))
        require(
            bound >= 1,
            f"A trial must fit into a node of the cluster, which has nodes of {there}, got --cpus-per-trial "
            f"{self.num_cpus:g} and --gpus-per-trial {self.num_gpus or 0:g}; ask for less or add nodes.",
        )
        return bound

    def doubled(self, resources: Resources) -> "Share | None":
        """A larger share, None where this is already all that one device, or one node, has."""
        if self.num_gpus:
            return replace(self, num_gpus=min(1.0, 2 * self.num_gpus)) if self.num_gpus < 1 else None
        most = max((float(cpus) for cpus, _ in resources.nodes), default=0.0)
        cpus = min(most, 2 * self.num_cpus)
        return replace(self, num_cpus=cpus) if cpus > self.num_cpus else None

    def _fitting(self, cpus: int, gpus: int) -> int:
        """How many trials a node holds; a share of a GPU lies on one GPU."""
        bound = math.floor(cpus / self.num_cpus + 1e-9)
        if not self.num_gpus:
            return bound
        on_gpus = gpus * math.floor(1 / self.num_gpus + 1e-9) if self.num_gpus < 1 else gpus // self.num_gpus
        return min(bound, int(on_gpus))


@dataclass(frozen=True)
class Place:
    """Where trials work and are kept."""

    home: Home
    data_dir: Path
    device: str
    """auto, cpu or cuda, as on the command line: each trial chooses on its own node."""
    ledger: str
    """Every start and end of a trial is appended here."""
    num_workers: NumWorkers | None = None
    """Of the collection."""
    share: Share = Share()

    def known_work(self, experiments: Iterable[Prepared], store: Store | None = None) -> Work:
        """What the home's store lacks of what is known before any of `experiments` runs."""
        return known_work(experiments, self.data_dir, device_here(self.device), store or Store(self.home))

    def cost(
        self,
        work: Work,
        later: Later,
        fits: Sequence[Prepared],
        known_fits: Sequence[float],
        progress: Progress,
    ) -> Cost:
        """What `work`, what comes `later` and `fits` of û cost: a few of each are timed here and not kept.

        Where `work` has no training, those of one of the later trials are timed. How long fits took is taken from
        `known_fits` where there are any.
        """
        device = device_here(self.device)
        with progress.doing("timing a few trainings and OT distances, of which nothing is kept"):
            timed = pilot(work, None, device)
            sets = Timing.of(timed.trainings or pilot(seed_set_work(later.example), None, device).trainings)
        each = Timing.of(known_fits)
        learns = [*fits, *([later.example] if later.fits else [])]
        if each is None and learns:
            with progress.doing("timing a short fit of û, of which nothing is kept"):
                each = time_fit(learns[0], self.data_dir, device)
        distance = Timing.of(timed.distances)
        parts = (
            Part("trainings known in advance", work.num_trainings, sets),
            Part("OT distances", work.num_ot, distance),
            Part("fits of û", len(fits), each),
            *later.parts(sets, each, distance),
        )
        return Cost(parts, on_gpu=device.type == "cuda")

    def lasting(self, cost: Cost) -> str:
        """How long `cost` takes on this machine and on the workers that were asked for."""
        return cost.lasting(workers_here(device_here(self.device)), self.most_workers)

    @property
    def most_workers(self) -> int | None:
        """How many CPUs a local Ray must have for the collection."""
        return None if self.num_workers is None else least_and_most(self.num_workers)[1]


def add_place_flags(parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """The flags that `read_place` reads beside those of `rambo.cli.add_lab_flags`."""
    parser.add_argument("--num-workers", metavar="N", help="Ray Train workers of the collection; 2-8 is a range")
    parser.add_argument("--cpus-per-trial", type=float, default=1.0, metavar="N", help="default %(default)g")
    parser.add_argument(
        "--gpus-per-trial", type=float, metavar="SHARE", help=f"default {DEFAULT_GPUS:g} where there are GPUs"
    )


def read_place(options: argparse.Namespace, home: Home, ledger: str) -> Place:
    """Where the trials of a command work."""
    cpus, gpus = options.cpus_per_trial, options.gpus_per_trial
    require(
        0 < cpus < math.inf and (gpus is None or 0 <= gpus < math.inf) and (not gpus or gpus < 1 or gpus == int(gpus)),
        "--cpus-per-trial must be positive, and --gpus-per-trial 0, a share of one or a whole number, got "
        f"{cpus:g} and {gpus}.",
    )
    workers = parse_num_workers(options.num_workers) if options.num_workers is not None else None
    return Place(home, options.data_dir, options.device, ledger, workers, Share(cpus, gpus))


def settle(place: Place, progress: Progress) -> tuple[Share, Resources]:
    """The share of a trial on the connected cluster, and what that has; raises `InvalidInput` where none fits."""

    def fitting(resources: Resources) -> tuple[Share, Resources]:
        share = place.share.on(resources, place.device)
        share.concurrency(resources)
        return share, resources

    return wait_for(fitting, progress)


def described(place: Place, share: Share) -> dict[str, str]:
    """What a trial's process must know of `place`; without a share of a GPU it leaves alone one that it may see.

    It finds modules of the user's own where this process has.
    """
    return {
        "home": place.home.root,
        "data_dir": str(place.data_dir.resolve()),
        "device": place.device if share.num_gpus else "cpu",
        "ledger": place.ledger,
        "own": json.dumps(own.folders()),
    }
