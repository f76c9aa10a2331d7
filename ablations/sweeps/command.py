"""python -m ablations sweep: what is wanted in one file, planned, brought to completion, watched and steered."""

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from ablations.scale import add_scale_flag, scaled
from ablations.sweeps.choice import Spent
from ablations.sweeps.declaration import Sweep, check_deadline
from ablations.sweeps.driver import Driver
from ablations.sweeps.forecast import Counted, StudyForecast, forecast, forecast_sentences, forecast_table
from ablations.sweeps.hours import Hours
from ablations.sweeps.kept import (
    DRIVER,
    DRIVER_LOCK,
    Kept,
    State,
    check_kept,
    existing,
    keep,
    keep_state,
    read_kept,
    read_state,
)
from ablations.sweeps.schema import schema
from ablations.sweeps.show import SILENT_SECONDS, SweepStatus, num_running, status_of
from ablations.sweeps.studies import SweepStudy, prepare_sweep, retired, standing_of, with_owner
from cluster.collect import device_here
from cluster.costs import workers_here
from cluster.failures import read_failure
from cluster.runtime import connected, names_cluster
from rambo import console as terminal
from rambo.cli import Parser, add_lab_flags
from rambo.errors import InvalidInput, require
from rambo.formats import counted
from rambo.home import Home
from rambo.lease import LEASE_SECONDS
from rambo.progress import Progress
from rambo.result import read_result

ABOUT = """\
Bring many studies to completion: data sets × budgets × strategies × seeds, declared in one file.

  python -m ablations sweep plan spring.toml       what is missing, what it takes, what the limits leave undone
  python -m ablations sweep apply spring.toml      run it; edits of the file are seen while it runs
  python -m ablations sweep status spring --watch  how far it is
  python -m ablations sweep pause spring           and resume, cancel, retry

One driver a home works on all its sweeps. The same command again finishes what is missing and repeats nothing.
docs/sweeps.md says what a file may hold; `sweep schema` prints it for editors.
"""

WATCH_SECONDS = 5.0

HEAR_SECONDS = 2.0
"""How often a driver is listened for."""


def add_sweep(commands: "argparse._SubParsersAction[Parser]") -> None:
    """The subcommand and those below it."""
    text = "many studies, declared in one file, brought to completion within limits"
    sweep = commands.add_parser(
        "sweep",
        help=text,
        description=ABOUT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    below = sweep.add_subparsers(dest="action", required=True, metavar="ACTION")
    planning = _add(below, "plan", "what is missing, what it takes, and what the limits leave undone", "file")
    planning.add_argument("--price", type=float, metavar="MONEY", help="of a core-hour, or of a GPU-hour on GPUs")
    applying = _add(below, "apply", "make it what is wanted, and work on it unless a driver does", "file")
    applying.add_argument(
        "--rerun-outdated", action="store_true", help="run trials again that another training version has measured"
    )
    applying.add_argument(
        "--paths-from", type=Path, metavar="DIR", help="what paths in the file are relative to (default: its folder)"
    )
    for command in (planning, applying):
        add_scale_flag(command)
    showing = _add(below, "status", "how far it is, what it has spent and what comes next", "name")
    showing.add_argument("--watch", action="store_true", help=f"show it anew every {WATCH_SECONDS:g} s")
    showing.add_argument("--json", action="store_true", help="for programs")
    _add(below, "pause", "start nothing more; what runs goes on to its end", "name")
    _add(below, "resume", "go on with what was paused or cancelled", "name")
    _add(below, "cancel", "start nothing more and end what runs; results stay", "name")
    _add(below, "retry", "try the trials again that failed for good", "name")
    below.add_parser("schema", help="the JSON schema of a sweep's file, for editors", allow_abbrev=False)


def _add(below: "argparse._SubParsersAction[Parser]", name: str, text: str, what: str) -> Parser:
    command = below.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.", allow_abbrev=False)
    if what == "file":
        command.add_argument("file", type=Path, metavar="FILE", help="a sweep in TOML; docs/sweeps.md has examples")
    else:
        command.add_argument("name", metavar="NAME", help="of a sweep of the home")
    add_lab_flags(command, device=False)  # each study of the file names its own
    return command


def run_command_sweep(options: argparse.Namespace) -> None:
    """ablations sweep."""
    ACTIONS[options.action](options)


def run_plan(options: argparse.Namespace) -> None:
    """ablations sweep plan."""
    home, progress = Home(options.home), Progress(quiet=options.quiet)
    require(options.price is None or 0 < options.price < 1e6, f"--price must be positive, got {options.price}.")
    kept, sweep = Kept.of(options.file, scale=options.scale)
    _say_scale(kept, progress)
    studies = _prepared(sweep, options, progress)
    for study in studies:
        with_owner(study, home)
    counted, hours = Counted(), Hours.kept(home, sweep.name)
    found = [forecast(study, study.place(home, options.data_dir), progress, counted) for study in studies]
    workers, spent = _workers(found), Spent(hours.core_seconds, hours.gpu_seconds)
    now = datetime.now(UTC)
    terminal.show(
        forecast_table(found),
        *forecast_sentences(sweep, found, workers=workers, price=options.price, now=now, spent=spent),
    )


def _say_scale(kept: Kept, progress: Progress) -> None:
    """What another scale than the file's changes in each study."""
    if kept.scale != "full":
        for study in replace(kept, scale="full").declared().studies:
            progress.say(f"{study.name}: {scaled(study.grid, kept.scale).sentence()}")


def _workers(found: Sequence[StudyForecast]) -> int:
    """Of the cluster as it is now, else of this machine."""
    if names_cluster():
        with connected(None) as resources:
            return max(1, resources.num_gpus or resources.num_cpus)
    on_gpu = any(one.cost is not None and one.cost.on_gpu for one in found)
    return workers_here(device_here("auto" if on_gpu else "cpu"))


def _prepared(sweep: Sweep, options: argparse.Namespace, progress: Progress) -> list[SweepStudy]:
    with progress.doing("reading data and drawing splits"):
        return prepare_sweep(sweep, options.data_dir)


def run_apply(options: argparse.Namespace) -> None:
    """ablations sweep apply."""
    home, progress = Home(options.home), Progress(quiet=options.quiet)
    kept, sweep = Kept.of(options.file, options.paths_from, scale=options.scale)
    _say_scale(kept, progress)
    check_deadline(sweep, datetime.now(UTC))
    home.check_writable()
    studies = _prepared(sweep, options, progress)
    for study in studies:
        with_owner(study, home)
    check_kept(home, kept, sweep)  # before a result is taken away
    _settle_outdated(studies, home, rerun=options.rerun_outdated)
    before = read_kept(home, sweep.name)
    progress.say(_applied(sweep, studies, home, is_new=before is None))
    keep(home, kept, sweep)
    if before is None or read_state(home, sweep.name) == "cancelled":
        keep_state(home, sweep.name, "running")
    _drive(sweep.name, options, home, progress)


def _settle_outdated(studies: list[SweepStudy], home: Home, *, rerun: bool) -> None:
    """Take away results of other training versions, or refuse to mix them with new ones."""
    for study in studies:
        old = [one for one in standing_of(study, home).folders("stale") if read_result(home, one) is not None]
        require(
            not old or rerun,
            f"The study {study.name} must have trials of one training version, got {len(old)} of another than this "
            "code's; give --rerun-outdated to measure them again, or run the sweep with the code that measured them.",
        )
        for folder in old:
            home.remove(f"{folder}/result.json")


def _applied(sweep: Sweep, studies: list[SweepStudy], home: Home, *, is_new: bool) -> str:
    standings = [standing_of(study, home) for study in studies]
    done, failed = (sum(len(one.folders(state)) for one in standings) for state in ("done", "failed"))
    waiting = sum(len(one.folders("missing", "stale")) for one in standings)
    gone = sum(len(retired(study, home)) for study in studies)
    left_out = f", {gone} are in it no more and stay in the home" if gone else ""
    verb = "is new" if is_new else "is applied"
    return f"{sweep.name} {verb}: {counted(waiting, 'trial')} to run, {done} done, {failed} failed{left_out}."


def _drive(name: str, options: argparse.Namespace, home: Home, progress: Progress) -> None:
    """Work on all sweeps of the home, unless a driver does."""
    driver = Driver(home, options.data_dir, progress)
    if _is_driven(home, progress):
        print(f"The driver that is at work sees {name} at its next choice: python -m ablations sweep status {name}")
        return
    driver.run()
    if name in driver.refused:
        raise driver.refused[name]
    terminal.show(f"{counted(driver.num_run, 'trial was', 'trials were')} run now.")
    status, sweep_now = status_of(existing(home, name), home, options.data_dir), driver.sweeps.get(name)
    _show(status if sweep_now is None or sweep_now.why is None else replace(status, why=sweep_now.why))
    for sweep in driver.sweeps.values():
        for ended in sweep.ended.values():
            if ended.unpublished is not None:
                terminal.show(ended.unpublished)
        for study in sweep.studies:
            print(home.path(f"studies/{study}/report.html"))
    if any(live.failed for sweep in driver.sweeps.values() for live in sweep.studies.values()):
        sys.exit(1)


def _is_driven(home: Home, progress: Progress) -> bool:
    """Whether a driver is at work.

    On a URL a lock outlives by two minutes whoever held it: there a driver must be heard, or its lock will go.
    """
    said, end = home.read(DRIVER), time.monotonic() + LEASE_SECONDS + SILENT_SECONDS
    with progress.doing("waiting for a driver to be heard, or for its lock to go"):
        while True:
            try:
                with home.lock(DRIVER_LOCK, "busy"):
                    return False
            except InvalidInput:
                if home.is_local or home.read(DRIVER) != said or time.monotonic() > end:
                    return True
            time.sleep(HEAR_SECONDS)


def run_status(options: argparse.Namespace) -> None:
    """ablations sweep status."""
    home = Home(options.home)
    kept = existing(home, options.name)
    while True:
        status = status_of(kept, home, options.data_dir)
        if options.json:
            print(json.dumps(status.to_json(), ensure_ascii=False))
        else:
            _show(status)
        sys.stdout.flush()  # who watches through a pipe sees it now
        if not options.watch:
            return
        time.sleep(WATCH_SECONDS)
        kept = existing(home, options.name)


def _show(status: SweepStatus) -> None:
    terminal.show(status.table, *status.sentences())


def run_pause(options: argparse.Namespace) -> None:
    """ablations sweep pause."""
    _steer(options, "paused", "Pausing {name}: the {running} trials that run go on to their end, none is started.")


def run_cancel(options: argparse.Namespace) -> None:
    """ablations sweep cancel."""
    said = "Cancelling {name}: the {running} trials that run are ended and lose what they have in hand; results stay."
    _steer(options, "cancelled", said)


def run_resume(options: argparse.Namespace) -> None:
    """ablations sweep resume."""
    _steer(options, "running", "Resuming {name}: what is missing is started again; {running} trials run now.")
    _drive(options.name, options, Home(options.home), Progress(quiet=options.quiet))


def run_retry(options: argparse.Namespace) -> None:
    """ablations sweep retry."""
    home = Home(options.home)
    studies = prepare_sweep(existing(home, options.name).declared(), options.data_dir)
    trials = dict.fromkeys(folder for study in studies for folder in study.trials)
    failed = [one for one in trials if read_result(home, one) is None and read_failure(home, one) is not None]
    state = read_state(home, options.name)
    when = "" if state == "running" else f" once it is resumed, for it is {state}"
    print(f"Retrying {options.name}: the {len(failed)} trials that failed are tried again{when}, what runs goes on.")
    for folder in failed:
        home.remove(f"{folder}/failure.json")
    if failed:
        _drive(options.name, options, home, Progress(quiet=options.quiet))


def _steer(options: argparse.Namespace, state: State, sentence: str) -> None:
    home = Home(options.home)
    existing(home, options.name)
    print(sentence.format(name=options.name, running=num_running(home, options.name)), flush=True)
    keep_state(home, options.name, state)


def run_schema(options: argparse.Namespace) -> None:
    """ablations sweep schema."""
    print(json.dumps(schema(), indent=2, ensure_ascii=False))


ACTIONS: dict[str, Callable[[argparse.Namespace], None]] = {
    "plan": run_plan,
    "apply": run_apply,
    "status": run_status,
    "pause": run_pause,
    "resume": run_resume,
    "cancel": run_cancel,
    "retry": run_retry,
    "schema": run_schema,
}
