"""Experiments as Ray Tune trials over one shared store.

What is known in advance is collected once for all; each trial then learns its û, selects and evaluates on one process
of its own. A trial is finished when its folder holds a result, so a fresh Tuner runs over those that do not: Tune's own
experiment folder is thrown away.
"""

import argparse
import ctypes
import gc
import json
import math
import os
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from cluster.collect import NO_GPU, Estimate, collect, device_here, pilot
from cluster.runtime import (
    NumWorkers,
    Resources,
    check_nodes,
    connected,
    files_of,
    parse_num_workers,
    wait_for,
    withhold_credentials,
)
from cluster.work import Work, missing_work
from rambo.cli import choose_device
from rambo.config import Config
from rambo.errors import FitCollapsed, InvalidInput, require
from rambo.experiment import Lab, run
from rambo.fields import flatten, override, with_absolute_paths
from rambo.home import Home
from rambo.preparation import Prepared, prepare
from rambo.progress import Progress
from rambo.representation import planned_distances
from rambo.result import read_result, to_json
from rambo.store import Store

MAX_KILLED = 3
"""Times that a trial whose process dies is started again."""

TRIALS_A_TUNER = 500
"""Ray's driver keeps some 300 KB a trial."""

Cause = Literal["collapsed", "memory", "killed", "refused", "error"]


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


DEFAULT_GPUS = 0.25


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


@dataclass(frozen=True)
class Failure:
    """Why a trial has no result."""

    cause: Cause
    reason: str
    """One sentence."""

    @property
    def is_final(self) -> bool:
        """Whether another try would end the same, as with a fit that collapses."""
        return self.cause in ("collapsed", "error")


OnEnd = Callable[[Prepared], None]


def unfinished(experiments: Sequence[Prepared], home: Home, *, retry_failed: bool = False) -> list[Prepared]:
    """Those without a result, each once, and without those whose failure is final unless asked for."""
    folders: dict[str, Prepared] = {one.folder: one for one in experiments}
    found = []
    for folder, one in folders.items():
        failure = read_failure(home, folder)
        given_up = failure is not None and failure.is_final and not retry_failed
        if read_result(home, folder) is None and not given_up:
            found.append(one)
    return found


def read_failure(home: Home, folder: str) -> Failure | None:
    """Why the trial of `folder` failed, None if it did not."""
    content = home.read(f"{folder}/failure.json")
    return None if content is None else Failure(**json.loads(content))


def known_work(experiments: Sequence[Prepared], data_dir: Path, device: str, store: Store) -> Work:
    """All that the store lacks of what is known before any trial runs; problems of one seed are asked for once."""
    trainings, distances, seen = [], [], set()
    for one in experiments:
        problem = one.problem(one.pool)
        trainings += [(problem, specs) for specs in one.specs().values()]
        for ot_problem, members in planned_distances(one, data_dir, device_here(device)):
            asked = (ot_problem.fingerprint, ot_problem.feature_id, one.config.seed, members.tobytes())
            if asked not in seen:
                seen.add(asked)
                distances.append((ot_problem, members))
    return missing_work(trainings, distances, store)


def run_trials(experiments: Sequence[Prepared], place: Place, *, progress: Progress, on_end: OnEnd) -> None:
    """Collect for and run all of `experiments`; `on_end` hears of each in this process as soon as it has ended.

    A fit that collapses is not tried again; a trial that runs out of memory is given a larger share; one whose process
    dies is started `MAX_KILLED` times. Whatever fails leaves failure.json in the trial's folder and stops no other.
    """
    if not experiments:
        return
    with connected(max_workers(place)):
        share, resources = settle(place, progress)
        check_nodes(place.home, files_of(one.config for one in experiments))
        work = known_work(experiments, place.data_dir, place.device, Store(place.home))
        if work.num_trainings or work.num_ot:
            progress.say(f"collecting {work.num_trainings} trainings and {work.num_ot} OT distances")
            collect(work, place.home, num_workers=place.num_workers, device=place.device, progress=progress)
        waiting = list(experiments)
        progress.say(f"running {len(waiting)} trials, {share.concurrency(resources)} at a time")
        with progress.task("trials", len(waiting)) as advance:
            while waiting:
                crowded = _run_round(waiting, place, share, resources, on_end=_both(on_end, lambda _: advance(1)))
                larger = share.doubled(resources)
                for one in [] if larger else crowded:
                    on_end(one)
                waiting, share = (crowded, larger) if larger else ([], share)


def settle(place: Place, progress: Progress) -> tuple[Share, Resources]:
    """The share of a trial on the connected cluster, and what that has; raises `InvalidInput` where none fits."""

    def fitting(resources: Resources) -> tuple[Share, Resources]:
        share = place.share.on(resources, place.device)
        share.concurrency(resources)
        return share, resources

    return wait_for(fitting, progress)


def max_workers(place: Place) -> int | None:
    """How many CPUs a local Ray must have for the collection."""
    asked = place.num_workers
    return asked[1] if isinstance(asked, tuple) else asked


def estimate(work: Work, device: str) -> Estimate:
    """How long the collection takes, from a few trainings of which nothing is kept."""
    return pilot(work, None, device_here(device))


def _both(first: OnEnd, second: OnEnd) -> OnEnd:
    def call(one: Prepared) -> None:
        first(one)
        second(one)

    return call


def _run_round(
    experiments: Sequence[Prepared], place: Place, share: Share, resources: Resources, *, on_end: OnEnd
) -> list[Prepared]:
    """Every trial once; those that ran out of memory are returned, all others are told to `on_end`."""
    crowded: list[Prepared] = []

    def ended(one: Prepared) -> None:
        failure = read_failure(place.home, one.folder)
        if failure is not None and failure.cause == "memory":
            crowded.append(one)
        else:
            on_end(one)

    for start in range(0, len(experiments), TRIALS_A_TUNER):
        _tune(experiments[start : start + TRIALS_A_TUNER], place, share, share.concurrency(resources), ended)
    return crowded


def _tune(experiments: Sequence[Prepared], place: Place, share: Share, concurrency: int, ended: OnEnd) -> None:
    """One Tuner over `experiments`, in order."""
    import tempfile

    from ray import tune

    withhold_credentials()
    by_folder = {one.folder: one for one in experiments}
    seen: set[str] = set()
    configs = {folder: flatten(with_absolute_paths(one.config)) for folder, one in by_folder.items()}
    trainable = tune.with_resources(
        tune.with_parameters(_trial, configs=configs, place=described(place, share)),
        {"cpu": share.num_cpus, "gpu": share.num_gpus or 0.0},
    )
    with tempfile.TemporaryDirectory(prefix="ray-tune-") as folder:
        tune.Tuner(
            trainable,
            param_space={"folder": tune.grid_search(list(by_folder))},
            tune_config=tune.TuneConfig(max_concurrent_trials=concurrency, reuse_actors=True),
            run_config=tune.RunConfig(
                storage_path=folder,
                verbose=0,
                failure_config=tune.FailureConfig(max_failures=MAX_KILLED),
                callbacks=[_listener(by_folder, place.home, _both(ended, lambda one: seen.add(one.folder)))],
            ),
        ).fit()
    if len(seen) < len(by_folder):
        raise KeyboardInterrupt  # which Tune has caught, to end its loop and return as if all were well


def _listener(by_folder: Mapping[str, Prepared], home: Home, ended: OnEnd) -> Any:
    """Tells `ended` of each trial; what ended without leaving anything in its folder was killed."""
    from ray.tune.progress_reporter import TrialProgressCallback

    class Listener(TrialProgressCallback):  # in whose place Tune would else print a line for each trial
        def __reduce__(self) -> tuple[type, tuple[()]]:
            return object, ()  # Tune keeps a copy of its callbacks, which nobody reads; a thread would not fit in it

        def on_trial_result(self, iteration: int, trials: Any, trial: Any, result: Any, **info: Any) -> None:
            pass

        def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
            ended(by_folder[trial.config["folder"]])

        def on_trial_error(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
            folder = trial.config["folder"]
            home.write(f"{folder}/failure.json", to_json(vars(death(trial.error_file, MAX_KILLED + 1))))
            ended(by_folder[folder])

    return Listener()


def death(error_file: str | None, times: int) -> Failure:
    """Why a trial's process died so many times, by what Ray has written of it; its memory monitor kills with a word."""
    text = Path(error_file).read_text() if error_file and Path(error_file).exists() else ""
    lines = text.strip().splitlines() or ["no message"]
    cause: Cause = "memory" if "OutOfMemoryError" in text else "killed"
    return Failure(cause, f"its process died {times} times ({lines[-1].strip()})")


def described(place: Place, share: Share) -> dict[str, str]:
    """What a trial's process must know of `place`; without a share of a GPU it leaves alone one that it may see."""
    return {
        "home": place.home.root,
        "data_dir": str(place.data_dir.resolve()),
        "device": place.device if share.num_gpus else "cpu",
        "ledger": place.ledger,
    }


_stores: dict[str, Store] = {}
"""Of this process, by home: a trial that follows another in it need not read the store anew."""


def _trial(config: dict[str, Any], *, configs: Mapping[str, Mapping[str, Any]], place: Mapping[str, str]) -> None:
    """What runs in a trial's process: one experiment into its folder."""
    import torch

    torch.set_num_threads(1)
    folder = config["folder"]
    run_one(folder, override(Config(), configs[folder]), place)


def run_one(folder: str, config: Config, place: Mapping[str, str]) -> Failure | None:
    """One experiment into its `folder`, in this process, unless it has a result; why it failed, None if it did not.

    `place` is what `described` gives. What becomes of the trial stands in its folder and in the ledger.
    """
    home = Home(place["home"])
    store = _stores.setdefault(home.root, Store(home, compact=False))
    if read_result(home, folder) is not None:
        return None
    _enter(home, place["ledger"], folder, "start")
    failure = _attempt(config, store, place)
    if failure is None:
        home.remove(f"{folder}/failure.json")
    else:
        home.write(f"{folder}/failure.json", to_json(vars(failure)))
    _enter(home, place["ledger"], folder, failure.cause if failure else "done")
    _give_memory_back()
    return failure


def _give_memory_back() -> None:
    """Tune runs each trial in a thread of its own, and glibc keeps what a thread has freed: 100 MB a trial on MNIST."""
    gc.collect()
    with suppress(OSError, AttributeError):  # other C libraries have no such call
        ctypes.CDLL(None).malloc_trim(0)


def _attempt(config: Config, store: Store, place: Mapping[str, str]) -> Failure | None:
    import torch

    lab = Lab(store.home, Path(place["data_dir"]), choose_device(place["device"]), Progress(quiet=True), store=store)
    try:
        run(prepare(config, lab.data_dir), lab)
    except (MemoryError, torch.OutOfMemoryError) as error:
        return Failure("memory", f"it ran out of memory ({_first_line(error)})")
    except FitCollapsed as error:
        return Failure("collapsed", str(error))
    except InvalidInput as error:  # the configuration was checked before: it is the disk or the like
        return Failure("refused", str(error))
    except Exception as error:  # one broken trial must not stop the others; its failure says where it broke
        return unforeseen(error)
    return None


def unforeseen(error: Exception) -> Failure:
    """The failure of a trial that raised `error`, with the place where it did."""
    where = traceback.extract_tb(error.__traceback__)[-1]
    return Failure(
        "error", f"{type(error).__name__}: {_first_line(error)} ({Path(where.filename).name}:{where.lineno})"
    )


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [""])[0]


def _enter(home: Home, ledger: str, folder: str, event: str) -> None:
    entry = {"event": event, "trial": folder, "time": time.time(), "process": os.getpid()}
    home.append(ledger, (json.dumps(entry) + "\n").encode())
