"""python -m cluster: work that is larger than one process."""

import argparse
from collections.abc import Sequence

from cluster.collect import collect, pilot
from cluster.runtime import least_and_most, parse_num_workers
from cluster.work import Work, missing_work
from rambo.cli import Parser, add_config_flags, add_lab_flags, choose_device, parse, read_configs, run_command
from rambo.home import Home
from rambo.preparation import Prepared, prepare
from rambo.progress import Progress
from rambo.representation import planned_distances
from rambo.store import Store

COLLECT = """\
Measure every set that the given experiments are known to need, ahead of them, each once.

  python -m cluster collect --preset paper_mnist --seeds 0-9 --plan
  python -m cluster collect --preset paper_mnist --seeds 0-9 --num-workers 8

Trainings run in Ray Train workers, one for each GPU of the cluster that RAY_ADDRESS names or each core of this machine;
few of them run in this process. The same command again measures what is missing and repeats nothing.
"""


def main(arguments: Sequence[str]) -> None:
    """Run the subcommand that the command line names."""
    parser = Parser(prog="python -m cluster", description=__doc__, allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
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
    run_collect(parse(parser, arguments))


def run_collect(options: argparse.Namespace) -> None:
    """Plan or do a collection."""
    num_workers = parse_num_workers(options.num_workers) if options.num_workers is not None else None
    prepared = [prepare(config, options.data_dir) for config in read_configs(options)]
    home, device = Home(options.home), choose_device(options.device)
    progress = Progress(quiet=options.quiet)
    if not options.plan:
        home.check_writable()
    store = Store(home)
    trainings = [(one.problem(one.pool), specs) for one in prepared for specs in one.specs().values()]
    distances = [found for one in prepared for found in planned_distances(one, options.data_dir, device)]
    work = missing_work(trainings, distances, store)
    print_plan(prepared, work, store)
    if options.plan:
        estimate = pilot(work, None, device)
        workers = least_and_most(num_workers or 1)[1]
        print(
            f"{estimate.seconds_per_set:.2f} s a set in a pilot here: about {estimate.seconds(workers) / 60:.1f} min "
            f"on {workers} such worker{'s' if workers > 1 else ''}."
        )
        return
    collect(work, home, num_workers=num_workers, device=device, progress=progress)
    left = missing_work(trainings, distances, Store(home))
    print(f"{work.num_trainings - left.num_trainings} trainings and {work.num_ot - left.num_ot} OT distances added.")


def print_plan(prepared: Sequence[Prepared], work: Work, store: Store) -> None:
    """What the experiments need, what the store has and what is missing."""
    needed = set()
    for experiment in prepared:
        problem = experiment.problem(experiment.pool)
        needed |= {problem.key(spec) for specs in experiment.specs().values() for spec in specs}
    stored = len(store.measurements(list(needed)))
    print(f"{len(prepared)} experiments need {len(needed)} trainings; {stored} are in {store.home.path('store')}.")
    print(f"Missing: {work.num_trainings} trainings and {work.num_ot} OT distances.")


if __name__ == "__main__":
    run_command("cluster", main)
