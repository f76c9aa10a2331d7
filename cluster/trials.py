"""Experiments as Ray Tune trials over one shared store.

What is known in advance is collected once for all; each trial then learns its û, selects and evaluates on one process
of its own. A trial is finished when its folder holds a result, so a fresh Tuner runs over those that do not: Tune's own
experiment folder is thrown away.
"""

import ctypes
import gc
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from cluster.collect import collect
from cluster.failures import Failure, death, keep_failure, read_failure, unforeseen
from cluster.place import Place, Share, described, settle
from cluster.runtime import Resources, check_nodes, connected, count_no_callbacks, files_of, withhold_credentials
from rambo.cli import choose_device
from rambo.config import Config
from rambo.errors import FitCollapsed, InvalidInput, StrategyFailed, require
from rambo.experiment import Lab, run
from rambo.fields import flatten, override, with_absolute_paths
from rambo.formats import first_line
from rambo.home import Home
from rambo.preparation import Prepared, prepare
from rambo.progress import Progress
from rambo.result import read_result
from rambo.store import Store
from rambo.strategies.own import look_in

MAX_KILLED = 3
"""Times that a trial whose process dies is started again."""

TRIALS_A_TUNER = 500
"""Ray's driver keeps some 300 KB a trial."""

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


def missing_fits(experiments: Iterable[Prepared], store: Store) -> dict[str, Prepared]:
    """By key each û that the store lacks, with the first of `experiments` that asks for it."""
    known, found = store.known_utilities(), dict[str, Prepared]()
    for one in experiments:
        key = one.utility_key
        if key is not None and key not in known:
            found.setdefault(key, one)
    return found


def _in_two_turns(experiments: Sequence[Prepared], store: Store) -> list[list[Prepared]]:
    """Those that fit a û or need none or have it, then those that take what one of the former has fitted."""
    fitting = missing_fits(experiments, store)
    later = [one for one in experiments if (key := one.utility_key) in fitting and fitting[key] is not one]
    waits = {one.folder for one in later}
    return [turn for turn in ([one for one in experiments if one.folder not in waits], later) if turn]


def run_trials(experiments: Sequence[Prepared], place: Place, *, progress: Progress, on_end: OnEnd) -> None:
    """Collect for and run all of `experiments`; `on_end` hears of each in this process as soon as it has ended.

    Trials that share a û wait until one of them has learned it. A fit that collapses is not tried again; a trial that
    runs out of memory is given a larger share; one whose process dies is started `MAX_KILLED` times. Whatever fails
    leaves failure.json in the trial's folder and stops no other.
    """
    if not experiments:
        return
    with connected(place.most_workers):
        share, resources = settle(place, progress)
        check_nodes(place.home, files_of(one.config for one in experiments))
        work = place.known_work(experiments)
        if work.num_trainings or work.num_ot:
            progress.say(f"collecting {work.num_trainings} trainings and {work.num_ot} OT distances")
            collect(work, place.home, num_workers=place.num_workers, device=place.device, progress=progress)
        progress.say(f"running {len(experiments)} trials, {share.concurrency(resources)} at a time")
        turns = _in_two_turns(experiments, Store(place.home))
        with progress.task("trials", len(experiments)) as advance:
            while turns:
                waiting = turns.pop(0)
                crowded = _run_round(waiting, place, share, resources, on_end=_both(on_end, lambda _: advance(1)))
                larger = share.doubled(resources)
                for one in [] if larger else crowded:
                    on_end(one)
                if crowded and larger:
                    turns, share = [crowded, *turns], larger


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
    from ray import tune

    withhold_credentials()
    count_no_callbacks()
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
            keep_failure(home, folder, death(trial.error_file, MAX_KILLED + 1))
            ended(by_folder[folder])

    return Listener()


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
    failure = _attempt(folder, config, store, place)
    if failure is None:
        home.remove(f"{folder}/failure.json")
    else:
        keep_failure(home, folder, failure)
    _enter(home, place["ledger"], folder, failure.cause if failure else "done")
    _give_memory_back()
    return failure


def _give_memory_back() -> None:
    """Tune runs each trial in a thread of its own, and glibc keeps what a thread has freed: 100 MB a trial on MNIST."""
    gc.collect()
    with suppress(OSError, AttributeError):  # other C libraries have no such call
        ctypes.CDLL(None).malloc_trim(0)


def _attempt(folder: str, config: Config, store: Store, place: Mapping[str, str]) -> Failure | None:
    import torch

    lab = Lab(store.home, Path(place["data_dir"]), choose_device(place["device"]), Progress(quiet=True), store=store)
    look_in(json.loads(place["strategies"]))
    try:
        prepared = prepare(config, lab.data_dir)
        require(
            prepared.folder == folder,
            "A trial must read what its command has read, got other data, other weights or another file of a strategy: "
            f"{prepared.folder} instead of {folder}; give the command again.",
        )
        run(prepared, lab)
    except (MemoryError, torch.OutOfMemoryError) as error:
        return Failure("memory", f"it ran out of memory ({first_line(error)})")
    except FitCollapsed as error:
        return Failure("collapsed", str(error))
    except StrategyFailed as error:
        return Failure("error", str(error))
    except InvalidInput as error:  # the configuration was checked before: it is the disk or the like
        return Failure("refused", str(error))
    except Exception as error:  # one broken trial must not stop the others; its failure says where it broke
        return unforeseen(error)
    return None


def _enter(home: Home, ledger: str, folder: str, event: str) -> None:
    entry = {"event": event, "trial": folder, "time": time.time(), "process": os.getpid()}
    home.append(ledger, (json.dumps(entry) + "\n").encode())
