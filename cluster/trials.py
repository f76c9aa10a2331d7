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
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from cluster.collect import collect
from cluster.failures import Failure, death, keep_failure, read_failure, unforeseen
from cluster.limits import Meter
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
from rambo.progress import Progress, Units
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


def run_trials(
    experiments: Sequence[Prepared], place: Place, *, progress: Progress, on_end: OnEnd, meter: Meter | None = None
) -> None:
    """Collect for and run all of `experiments`; `on_end` hears of each in this process as soon as it has ended.

    Trials that share a û wait until one of them has learned it. A fit that collapses is not tried again; a trial that
    runs out of memory is given a larger share; one whose process dies is started `MAX_KILLED` times. Whatever fails
    leaves failure.json in the trial's folder and stops no other. Where `meter` allows no further trial the rest stays
    as it is.
    """
    if not experiments:
        return
    with ExitStack() as inside:
        with progress.doing("starting Ray"):
            inside.enter_context(connected(place.most_workers))
            share, resources = settle(place, progress)
            check_nodes(place.home, files_of(one.config for one in experiments))
        with progress.doing("looking up what the store has"):
            work = place.known_work(experiments)
        if work.num_trainings or work.num_ot:
            if meter is not None:
                meter.collect(work.num_trainings)
            progress.say(f"collecting {work.num_trainings} trainings and {work.num_ot} OT distances")
            collect(work, place.home, num_workers=place.num_workers, device=place.device, progress=progress)
        progress.say(f"running {len(experiments)} trials, {share.concurrency(resources)} at a time")
        turns = _in_two_turns(experiments, Store(place.home))
        with progress.units("trials", len(experiments)) as units:
            watch = _Watch(place.home, units, on_end, meter)
            while turns and not watch.is_over:
                crowded = _run_round(turns.pop(0), place, share, resources, watch)
                larger = share.doubled(resources)
                for one in [] if larger else crowded:
                    watch.tell(one)
                if crowded and larger:
                    turns, share = [crowded, *turns], larger


class _Watch:
    """What becomes of trials, from their beginning to their end."""

    def __init__(self, home: Home, units: Units, on_end: OnEnd, meter: Meter | None) -> None:
        self._home, self._units, self._on_end, self._meter = home, units, on_end, meter
        self.crowded: list[Prepared] = []
        """Those that ran out of memory."""

    @property
    def is_over(self) -> bool:
        """Whether no further trial is to begin."""
        return self._meter is not None and self._meter.over is not None

    def may_begin(self, one: Prepared) -> bool:
        """Whether `one` may begin, which counts from then on."""
        return self._meter is None or self._meter.begin(one.folder, one.num_later_trainings)

    def begun(self, folder: str) -> None:
        """A process has taken it in hand."""
        self._units.begin(folder)

    def ended(self, one: Prepared) -> None:
        """No process has it in hand any more."""
        self._units.end(one.folder)
        result, failure = read_result(self._home, one.folder), read_failure(self._home, one.folder)
        if self._meter is not None:
            self._meter.end(one.folder, 0 if result is None else result.trainings)
        if result is None and failure is not None and failure.cause == "memory":
            self.crowded.append(one)
        else:
            self.tell(one)

    def tell(self, one: Prepared) -> None:
        """Nothing more is done about it now."""
        self._on_end(one)
        self._units.advance(1)

    def tick(self) -> None:
        """From time to time."""
        if self._meter is not None:
            self._meter.spent.tick()


def _run_round(
    experiments: Sequence[Prepared], place: Place, share: Share, resources: Resources, watch: _Watch
) -> list[Prepared]:
    """Every trial once; those that ran out of memory are returned, `watch` has told of all others."""
    watch.crowded = []
    for start in range(0, len(experiments), TRIALS_A_TUNER):
        if not watch.is_over:
            _tune(experiments[start : start + TRIALS_A_TUNER], place, share, share.concurrency(resources), watch)
    return watch.crowded


def _tune(experiments: Sequence[Prepared], place: Place, share: Share, concurrency: int, watch: _Watch) -> None:
    """One Tuner over `experiments`, in order, as far as `watch` lets them begin."""
    from ray import tune

    withhold_credentials()
    count_no_callbacks()
    by_folder = {one.folder: one for one in experiments}
    waiting, in_hand = list(experiments), set[str]()
    configs = {folder: flatten(with_absolute_paths(one.config)) for folder, one in by_folder.items()}
    trainable = tune.with_resources(
        tune.with_parameters(_trial, configs=configs, place=described(place, share)),
        {"cpu": share.num_cpus, "gpu": share.num_gpus or 0.0},
    )

    def hand_out() -> str | None:
        if not waiting or not watch.may_begin(waiting[0]):
            return None
        in_hand.add(waiting[0].folder)
        return waiting.pop(0).folder

    def ended(folder: str) -> None:
        in_hand.discard(folder)
        watch.ended(by_folder[folder])

    with tempfile.TemporaryDirectory(prefix="ray-tune-") as folder:
        tune.Tuner(
            trainable,
            tune_config=tune.TuneConfig(
                num_samples=len(by_folder),
                max_concurrent_trials=concurrency,
                search_alg=_asks(hand_out, lambda: bool(waiting and in_hand)),
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(
                storage_path=folder,
                verbose=0,
                failure_config=tune.FailureConfig(max_failures=MAX_KILLED),
                callbacks=[_listener(place.home, watch, ended)],
            ),
        ).fit()
    if in_hand or (waiting and not watch.is_over):
        raise KeyboardInterrupt  # which Tune has caught, to end its loop and return as if all were well


def _asks(hand_out: Callable[[], str | None], may_come: Callable[[], bool]) -> Any:
    """What Tune asks for trials, until `hand_out` has none and none `may_come` once another has ended."""
    from ray.tune.search import Searcher

    class Asks(Searcher):
        def __reduce__(self) -> tuple[type, tuple[()]]:
            return object, ()  # as below

        def suggest(self, trial_id: str) -> Any:
            folder = hand_out()
            if folder is not None:
                return {"folder": folder}
            return None if may_come() else Searcher.FINISHED

        def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
            pass  # the callback below is told the same

        def save(self, checkpoint_path: str) -> None:
            pass  # the trials' folders are the only memory

        def restore(self, checkpoint_path: str) -> None:
            raise NotImplementedError

    return Asks()


def _listener(home: Home, watch: _Watch, ended: Callable[[str], None]) -> Any:
    """Tells of each trial; what ended without leaving anything in its folder was killed."""
    from ray.tune.progress_reporter import TrialProgressCallback

    class Listener(TrialProgressCallback):  # in whose place Tune would else print a line for each trial
        def __reduce__(self) -> tuple[type, tuple[()]]:
            return object, ()  # Tune keeps a copy of its callbacks, which nobody reads; a thread would not fit in it

        def on_step_end(self, iteration: int, trials: Any, **info: Any) -> None:
            watch.tick()

        def on_trial_start(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
            watch.begun(trial.config["folder"])

        def on_trial_result(self, iteration: int, trials: Any, trial: Any, result: Any, **info: Any) -> None:
            pass

        def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
            ended(trial.config["folder"])

        def on_trial_error(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
            folder = trial.config["folder"]
            keep_failure(home, folder, death(_written(trial.error_file), MAX_KILLED + 1))
            ended(folder)

    return Listener()


def _written(path: str | None) -> str:
    """What Ray has written of a trial's error."""
    return Path(path).read_text("utf-8", "replace") if path and Path(path).exists() else ""


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
