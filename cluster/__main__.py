"""python -m cluster: work that is larger than one process."""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import NoReturn

import torch

from cluster.collect import collect, device_here, pilot
from cluster.inner import read_inner, shipped_name, try_plan
from cluster.jobs import Job, Jobs, Position, Reservation, dashboard
from cluster.runtime import NumWorkers, least_and_most, parse_num_workers
from cluster.shipping import pack
from cluster.work import Work, known_work
from rambo import console as terminal
from rambo.cli import Parser, add_config_flags, add_lab_flags, parse, read_configs, run_command, run_script
from rambo.home import Home
from rambo.preparation import Prepared, prepare
from rambo.progress import Progress
from rambo.store import Store

COLLECT = """\
Measure every set that the given experiments are known to need, ahead of them, each once.

  python -m cluster collect --preset paper_mnist --seeds 0-9 --plan
  python -m cluster collect --preset paper_mnist --seeds 0-9 --num-workers 8

Trainings run in Ray Train workers, one for each GPU of the cluster that RAY_ADDRESS names or each core of this machine;
few of them run in this process. The same command again measures what is missing and repeats nothing.
"""

SUBMIT = """\
Run a command of this project as a job of a Ray cluster.

  python -m cluster submit --address http://127.0.0.1:8265 -- \\
      python -m ablations run --preset quickstart --seeds 0-9 --home /shared/runs

The command is tried here first with --plan. What is typed relative to this folder is made absolute; the code, a
--config file, strategies and classifiers of your own travel with the job, data and results stay where they are, and
must be readable from every node.
The same command again does not run twice: it says what became of it, and goes on after a failure or a stop.
Passwords belong into the environment that Ray is started in on the nodes, never into a command.
"""


def read(arguments: Sequence[str]) -> argparse.Namespace:
    """What the command line asks for; `inner` is the command to be submitted, if any."""
    parser = Parser(prog="python -m cluster", description=__doc__, allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_collect(commands)
    _add_submit(commands)
    _add_job_command(commands, "jobs", "list the jobs of a cluster: what they run, how far they are")
    following = _add_job_command(commands, "logs", "print what a job says; the exit status is 1 where it failed")
    following.add_argument("id", metavar="ID", help="as jobs lists it")
    following.add_argument("--follow", action="store_true", help="until it has ended")
    stopping = _add_job_command(commands, "stop", "stop a job and wait for its end; submit goes on from there")
    stopping.add_argument("id", metavar="ID", help="as jobs lists it")
    here, inner = _parted(arguments)
    options = parse(parser, here)
    options.inner = inner
    return options


def main(arguments: Sequence[str]) -> None:
    """Run the subcommand that the command line names."""
    options = read(arguments)
    COMMANDS[options.command](options)


def _parted(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """What stands before -- and after it."""
    words = list(arguments)
    place = words.index("--") if "--" in words else len(words)
    return words[:place], words[place + 1 :]


def run_submit(options: argparse.Namespace) -> None:
    """Submit a command as a job, unless it is there."""
    inner = read_inner(options.inner)
    extra = {shipped_name(inner.config): inner.config.expanduser()} if inner.config is not None else {}
    shipment = pack(Path.cwd(), without=inner.stays, extra=extra, own=inner.own)
    resources = Reservation(options.entrypoint_num_cpus, options.entrypoint_num_gpus, options.entrypoint_memory)
    address = dashboard(options.address)
    if not options.unchecked:  # before the cluster is asked whether it answers
        with Progress().doing("trying the command here with --plan"):
            try_plan(options.inner)
    job, is_new = Jobs(address).submit(inner, shipment, resources, name=options.name, again=options.again)
    if is_new:
        print(f"submitted: {inner.entrypoint}")
    elif job.status == "SUCCEEDED":
        print("This command has succeeded already and is not run again; --again does.")
    else:
        print(f"This command is there already and is not run twice: {job.status}.")
    print(f"Follow it with python -m cluster logs {job.id} --follow; results are kept in {inner.home.root}.")
    print(job.id)


def run_jobs(options: argparse.Namespace) -> None:
    """List the jobs of a cluster."""
    jobs = Jobs(options.address)
    print_jobs([(job, jobs.position(job)) for job in jobs.list()])


def run_logs(options: argparse.Namespace) -> None:
    """Print a job's log; the exit status tells how the job ended."""

    def write(text: str) -> None:
        print(text, end="", flush=True)

    job = Jobs(options.address).follow(options.id, write, until_end=options.follow)
    print(f"{job.id}: {job.status}", file=sys.stderr)
    if job.status in ("FAILED", "STOPPED"):
        sys.exit(1)


def run_stop(options: argparse.Namespace) -> None:
    """Stop a job."""
    with Progress().doing(f"waiting for {options.id} to end"):
        job, ran = Jobs(options.address).stop(options.id)
    print(f"{job.id}: {job.status}" if ran else f"{job.id} had ended before: {job.status}")


def print_jobs(found: Sequence[tuple[Job, Position]]) -> None:
    """A line for each job, under a heading."""
    header = ("ID", "STUDY", "STATUS", "PROGRESS", "TIME LEFT", "STARTED")
    rows = []
    for job, position in found:
        started = datetime.fromtimestamp(job.started).strftime("%Y-%m-%d %H:%M") if job.started else "-"
        rows.append((job.id, job.study, job.status, position.done or "-", time_left(position.seconds_left), started))
    terminal.show(terminal.Table(header, rows, leaving=("STARTED", "STUDY", "TIME LEFT"), wide=header))


def time_left(seconds: int | None) -> str:
    """`seconds` as people say it.

    >>> time_left(45), time_left(600), time_left(9000), time_left(None)
    ('45 s', '10 min', '2.5 h', '-')
    """
    if seconds is None:
        return "-"
    if seconds < 120:
        return f"{seconds} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def run_collect(options: argparse.Namespace) -> None:
    """Plan or do a collection."""
    num_workers = parse_num_workers(options.num_workers) if options.num_workers is not None else None
    progress = Progress(quiet=options.quiet)
    with progress.doing("reading data and drawing splits"):
        prepared = [prepare(config, options.data_dir) for config in read_configs(options)]
    home, device = Home(options.home), device_here(options.device)
    if not options.plan:
        home.check_writable()
    store = Store(home, compact=not options.plan)  # a plan writes nothing
    with progress.doing("looking up what the store has"):
        work = known_work(prepared, options.data_dir, device, store)
        print_plan(prepared, work, store)
    if options.plan:
        with progress.doing("timing a few trainings, of which nothing is kept"):
            told = time_text(work, num_workers, device, prepared[0].config.classifier.name)
        terminal.show(told)
        return
    collect(work, home, num_workers=num_workers, device=options.device, progress=progress)
    left = known_work(prepared, options.data_dir, device, Store(home))
    print(f"{work.num_trainings - left.num_trainings} trainings and {work.num_ot - left.num_ot} OT distances added.")
    if left.num_trainings or left.num_ot:
        print(f"{left} could not be had, as said above.")
        sys.exit(1)


def time_text(work: Work, num_workers: NumWorkers | None, device: torch.device, classifier: str) -> str:
    """How long a collection takes, from a pilot on this machine of which nothing is kept."""
    if classifier == "resnet18" and device.type == "cpu":
        return "ResNet-18 is not timed without a GPU."
    estimate = pilot(work, None, device)
    here = torch.cuda.device_count() if device.type == "cuda" else os.cpu_count() or 1
    workers = least_and_most(num_workers or here)[1]
    return (
        f"{estimate.seconds_per_set:.2f} s a set in a pilot here: about {estimate.seconds(workers) / 60:.1f} min on "
        f"{workers} such worker{'s' if workers > 1 else ''}, their start of some 20 s apart."
    )


def print_plan(prepared: Sequence[Prepared], work: Work, store: Store) -> None:
    """What the experiments need, what the store has and what is missing."""
    needed = set()
    for experiment in prepared:
        problem = experiment.problem(experiment.pool)
        needed |= {problem.key(spec) for specs in experiment.specs().values() for spec in specs}
    stored = len(store.measurements(list(needed)))
    of = "1 experiment needs" if len(prepared) == 1 else f"{len(prepared)} experiments need"
    print(f"{of} {len(needed)} trainings; {stored} are in {store.home.path('store')}.")
    print(f"Missing: {work}.")


COMMANDS: dict[str, Callable[[argparse.Namespace], None]] = {
    "collect": run_collect,
    "submit": run_submit,
    "jobs": run_jobs,
    "logs": run_logs,
    "stop": run_stop,
}


def _add_collect(commands: "argparse._SubParsersAction[Parser]") -> None:
    collecting = commands.add_parser(
        "collect",
        help="measure all sets that experiments will need",
        description=COLLECT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    collecting.add_argument("--plan", action="store_true", help="show what is missing and how long it takes")
    collecting.add_argument(
        "--num-workers",
        metavar="N",
        help="Ray Train workers (every GPU, else every CPU); 2-8: from 2 to 8, as the cluster has room",
    )
    add_config_flags(collecting, seeds_flag="--seeds")
    add_lab_flags(collecting)


def _add_submit(commands: "argparse._SubParsersAction[Parser]") -> None:
    submitting = _add_job_command(commands, "submit", "run a command of this project as a job", SUBMIT)
    submitting.usage = "python -m cluster submit [flags] -- python -m ablations run …"
    submitting.add_argument("--name", metavar="NAME", help="begins the job's id (default: the study)")
    submitting.add_argument("--again", action="store_true", help="run it once more where it has succeeded")
    submitting.add_argument(
        "--unchecked",
        action="store_true",
        help="without --plan here first, where this machine lacks the data or the home",
    )
    reserved = submitting.add_argument_group("what the driver reserves (default: nothing, on the head node)")
    reserved.add_argument("--entrypoint-num-cpus", type=float, default=0.0, metavar="N")
    reserved.add_argument("--entrypoint-num-gpus", type=float, default=0.0, metavar="N")
    reserved.add_argument("--entrypoint-memory", type=int, default=0, metavar="BYTES")


def _add_job_command(
    commands: "argparse._SubParsersAction[Parser]", name: str, text: str, description: str | None = None
) -> Parser:
    command = commands.add_parser(
        name,
        help=text,
        description=description or f"{text[0].upper()}{text[1:]}.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    command.add_argument(
        "--address", metavar="URL", help="the cluster's dashboard (RAY_API_SERVER_ADDRESS or RAY_ADDRESS)"
    )
    return command


def script() -> NoReturn:
    """The command that an installation has."""
    run_script("cluster", main)


if __name__ == "__main__":
    run_command("cluster", main)
