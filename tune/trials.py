"""The search's trials on Ray Tune: each runs the seeds one after another and is stopped between two of them.

Tune starts processes, shares out CPUs and GPUs and notices deaths. What to try and what came of it is the driver's;
Tune's own experiment folder is thrown away, and each command makes a fresh Tuner.
"""

import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ray.tune import FailureConfig, RunConfig, TuneConfig, Tuner, report, with_parameters, with_resources
from ray.tune.progress_reporter import TrialProgressCallback
from ray.tune.schedulers import FIFOScheduler
from ray.tune.search import Searcher

from cluster.attempt import run_one
from cluster.failures import Failure, death, unforeseen, written
from cluster.place import Place, Share, described
from cluster.pool import MAX_KILLED
from cluster.runtime import count_no_callbacks, withhold_credentials
from rambo.config import Config
from rambo.fields import override
from rambo.home import Home
from rambo.progress import Units
from rambo.result import read_result
from tune.driver import Driver
from tune.records import SeedOutcome

TRIALS_A_TUNER = 500
"""Ray's driver keeps some 300 KB a trial."""

Evaluate = Callable[[str, Config, Mapping[str, str]], SeedOutcome | Failure]
"""Runs one seed in a trial's process: the folder, the configuration, and what `cluster.trials.described` says."""


def evaluate(folder: str, config: Config, place: Mapping[str, str]) -> SeedOutcome | Failure:
    """The experiment itself, over the shared store; a result that is there already costs nothing."""
    home = Home(place["home"])
    is_new = read_result(home, folder) is None
    failure = run_one(folder, config, place)
    result = read_result(home, folder)
    if failure is not None or result is None:
        return failure or Failure("error", "it left no result")
    return SeedOutcome(result.val_accuracy, result.test_accuracy, result.trainings if is_new else 0)


def run_jobs(
    driver: Driver,
    place: Place,
    share: Share,
    *,
    room: int,
    run_seed: Evaluate,
    on_step: Callable[[], None],
    units: Units,
) -> None:
    """Run what `driver` hands out, `room` at a time, until it hands out nothing more or somebody interrupts."""
    withhold_credentials()
    count_no_callbacks()
    trainable = with_resources(
        with_parameters(_trial, place=described(place, share), run_seed=run_seed),
        {"cpu": share.num_cpus, "gpu": share.num_gpus or 0.0},
    )
    while not driver.is_done:
        asks = _Asks(driver, room)
        with tempfile.TemporaryDirectory(prefix="ray-tune-") as folder, handlers_kept():
            Tuner(
                trainable,
                tune_config=TuneConfig(
                    num_samples=TRIALS_A_TUNER,
                    max_concurrent_trials=room,  # else Tune waits for each process to start before the next one
                    search_alg=asks,
                    scheduler=_Halves(driver),
                    reuse_actors=True,
                ),
                run_config=RunConfig(
                    storage_path=folder,
                    verbose=0,
                    failure_config=FailureConfig(max_failures=MAX_KILLED),
                    callbacks=[_Tells(driver, on_step, units)],
                ),
            ).fit()
        if driver.num_running or (asks.count < TRIALS_A_TUNER and not driver.is_done):
            raise KeyboardInterrupt  # which Tune has caught, to end its loop and return as if all were well


@contextmanager
def handlers_kept() -> Iterator[None]:
    """Tune leaves handlers of its own for Ctrl-C and SIGUSR1, which would drop the first that comes after its end."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGUSR1)}
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            for number, handler in before.items():
                signal.signal(number, handler)


class _Disposable:
    """Tune pickles what it is given into its experiment folder, from which nobody restores: there is nothing in it."""

    def __getstate__(self) -> dict[str, Any]:
        return {}


class _Asks(_Disposable, Searcher):
    """Hands Tune the driver's jobs."""

    def __init__(self, driver: Driver, room: int) -> None:
        super().__init__()
        self._driver, self._room = driver, room
        self.count = 0
        """Jobs handed out."""

    def suggest(self, trial_id: str) -> Any:
        job = self._driver.next(self._room)
        if job is not None:
            self.count += 1
            return {"number": job.number, "configs": job.configs, "folders": job.folders}
        return None if self._driver.num_in_hand else Searcher.FINISHED

    def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
        pass  # the callback below is told the same, and why a trial died

    def save(self, checkpoint_path: str) -> None:
        pass  # the study is the only memory

    def restore(self, checkpoint_path: str) -> None:
        raise NotImplementedError


class _Halves(_Disposable, FIFOScheduler):
    """Lets a trial run its next seed or stops it, as the driver says; what it heard is thereby in the study."""

    def __init__(self, driver: Driver) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._driver = driver

    def on_trial_result(self, tune_controller: Any, trial: Any, result: Mapping[str, Any]) -> str:
        goes_on = self._driver.heard(trial.config["number"], result["place"], _outcome(result))
        return FIFOScheduler.CONTINUE if goes_on else FIFOScheduler.STOP


class _Tells(_Disposable, TrialProgressCallback):
    """Tells the driver which trials have ended; stands where Tune would else print a line for each."""

    def __init__(self, driver: Driver, on_step: Callable[[], None], units: Units) -> None:
        super().__init__()
        self._driver, self._on_step, self._units = driver, on_step, units

    def on_step_end(self, iteration: int, trials: Any, **info: Any) -> None:
        self._on_step()

    def on_trial_start(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        self._units.begin(trial.config["number"])

    def on_trial_result(self, iteration: int, trials: Any, trial: Any, result: Any, **info: Any) -> None:
        pass

    def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        self._count(trial, lambda: self._driver.ended(trial.config["number"]))

    def on_trial_error(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        reason = death(written(trial.error_file), MAX_KILLED + 1).reason
        self._count(trial, lambda: self._driver.died(trial.config["number"], reason))

    def _count(self, trial: Any, tell: Callable[[], None]) -> None:
        before = self._driver.num_finished
        tell()
        self._units.end(trial.config["number"])
        self._units.advance(self._driver.num_finished - before)


def _trial(
    config: dict[str, Any],
    *,
    place: Mapping[str, str],
    run_seed: Evaluate,
) -> None:
    """What runs in a trial's process: one seed after another, each reported; Tune may end it at a report."""
    import torch

    torch.set_num_threads(1)
    for position, (fields, folder) in enumerate(zip(config["configs"], config["folders"], strict=True)):
        start = time.perf_counter()
        try:
            outcome = run_seed(folder, override(Config(), fields), place)
        except Exception as error:  # one broken trial must not stop the others
            outcome = unforeseen(error)
        seconds = time.perf_counter() - start
        report({"place": position, "seconds": seconds, **_told(outcome)})
        if isinstance(outcome, Failure):
            return


def _told(outcome: SeedOutcome | Failure) -> dict[str, Any]:
    """An outcome as Tune passes it on: flat, numbers and text."""
    if isinstance(outcome, Failure):
        return {"cause": outcome.cause, "reason": outcome.reason}
    return {"val": outcome.val_accuracy, "test": outcome.test_accuracy, "trainings": outcome.trainings}


def _outcome(told: Mapping[str, Any]) -> SeedOutcome | Failure:
    """`_told` undone."""
    if "reason" in told:
        return Failure(told["cause"], told["reason"])
    return SeedOutcome(told["val"], told["test"], told["trainings"], round(told["seconds"], 3))
