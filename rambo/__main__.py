"""python -m rambo: train, select, evaluate; one run, or several strategies and seeds side by side."""

import argparse
from collections.abc import Sequence
from typing import NoReturn

from rambo.cli import (
    Parser,
    add_config_flags,
    add_lab_flags,
    choose_device,
    parse,
    read_configs,
    run_command,
    run_script,
)
from rambo.experiment import Lab, run
from rambo.home import Home
from rambo.preparation import Prepared, prepare
from rambo.progress import Progress
from rambo.report import comparison, summary
from rambo.result import read_result
from rambo.store import Store
from rambo.strategies.facts import STRATEGIES
from rambo.training.measuring import missing_specs

DESCRIPTION = f"""\
Spend a labelling budget on a pool of images in one round, and see what came of it.

  python -m rambo --preset quickstart
  python -m rambo --preset paper_mnist --data.source npz:images.npz --seed 3
  python -m rambo --preset quickstart --seed 0-4 --strategy {",".join(STRATEGIES)}
  python -m rambo --preset paper_mnist --plan

Several seeds or strategies end in a table of paired differences. The last line of the output is the run folder.
The same command again finishes what is missing and repeats nothing.
"""


def read(arguments: Sequence[str]) -> argparse.Namespace:
    """What the command line asks for."""
    parser = Parser(
        prog="python -m rambo",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--plan", action="store_true", help="show what would be trained, and train nothing")
    add_config_flags(parser)
    add_lab_flags(parser)
    return parse(parser, arguments)


def main(arguments: Sequence[str]) -> None:
    """Run what the command line asks for."""
    options = read(arguments)
    prepared = [prepare(config, options.data_dir) for config in read_configs(options)]
    home = Home(options.home)
    if options.plan:
        print_plan(prepared, home)
        return
    home.check_writable()
    lab = Lab(home, options.data_dir, choose_device(options.device), Progress(quiet=options.quiet))
    print_results(prepared, lab)


def print_plan(prepared: Sequence[Prepared], home: Home) -> None:
    """Each run's trainings by stage, and how many of them the store has."""
    store = Store(home)
    print(f"{'run':52} {'stage':16} {'needed':>7} {'stored':>7} {'missing':>8}")
    seen: set[str] = set()
    for experiment in prepared:
        done = read_result(home, experiment.folder) is not None
        name = f"{experiment.config.strategy}, seed {experiment.config.seed}, {experiment.config_id}"
        problem = experiment.problem(experiment.pool)
        for stage, specs in experiment.specs().items():
            missing = {problem.key(spec) for spec in missing_specs(problem, specs, store)} - seen
            seen |= missing
            print(f"{name:52} {stage:16} {len(specs):7} {len(specs) - len(missing):7} {len(missing):8}")
        later = experiment.num_later_trainings
        print(f"{name:52} {'final trainings':16} {later:7} {'':7} {0 if done else later:8}")
    print(f"{len(seen)} trainings known in advance are missing from {home.path('store')}.")


def print_results(prepared: Sequence[Prepared], lab: Lab) -> None:
    """Run one after another, a summary each; a table at the end where there are several."""
    results = []
    for experiment in prepared:
        result = run(experiment, lab)
        results.append(result)
        print(summary(result, experiment.config.data.num_seed_labels), flush=True)
    if len(results) > 1:
        print(comparison(results))
    print(lab.home.path(prepared[-1].folder))


def script() -> NoReturn:
    """The command that an installation has."""
    run_script("rambo", main)


if __name__ == "__main__":
    run_command("rambo", main)
