"""python -m rambo: train, select, evaluate; one run, or several strategies and seeds side by side."""

import argparse
import sys
from collections.abc import Sequence
from typing import NoReturn

from rambo import console as terminal
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
from rambo.formats import counted
from rambo.home import Home
from rambo.labelling import command as labelling
from rambo.preparation import Prepared, prepare
from rambo.progress import Progress
from rambo.report import CAPTION, comparison, summary
from rambo.result import read_result
from rambo.store import Store
from rambo.training.measuring import missing_specs

DESCRIPTION = """\
Spend a labelling budget on a pool of images in one round, and see what came of it.

  python -m rambo --preset quickstart
  python -m rambo --preset paper_mnist --data.source npz:images.npz --seed 3
  python -m rambo --preset quickstart --seed 0-4 --strategy rambo,random,margin
  python -m rambo --preset paper_mnist --plan

Three subcommands are for a pool of your own, of which few images are labelled; each has a --help:

  select     which images to label next
  train      the classifier that your labels make
  predict    classes for a folder of images

Several seeds or strategies end in a table of paired differences. The last line of the output is the run folder.
The same command again finishes what is missing and repeats nothing.
"""


def read(arguments: Sequence[str]) -> argparse.Namespace:
    """What the command line asks for."""
    if arguments and arguments[0] in labelling.COMMANDS:
        return labelling.read(arguments)
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
    if getattr(options, "command", None) in labelling.COMMANDS:
        labelling.main(options)
        return
    progress = Progress(quiet=options.quiet)
    with progress.doing("reading data and drawing splits"):
        prepared = [prepare(config, options.data_dir) for config in read_configs(options)]
    home = Home(options.home)
    if options.plan:
        with progress.doing("looking up what the store has"):
            print_plan(prepared, home)
        return
    home.check_writable()
    lab = Lab(home, options.data_dir, choose_device(options.device), progress)
    print_results(prepared, lab)


def print_plan(prepared: Sequence[Prepared], home: Home) -> None:
    """Each run's trainings by stage, and how many of them the store has."""
    store = Store(home)
    rows: list[tuple[str, ...]] = []
    seen: set[str] = set()
    for experiment in prepared:
        done = read_result(home, experiment.folder) is not None
        name = f"{experiment.config.strategy}, seed {experiment.config.seed}"
        problem = experiment.problem(experiment.pool)
        for stage, specs in experiment.specs().items():
            missing = {problem.key(spec) for spec in missing_specs(problem, specs, store)} - seen
            seen |= missing
            counts = (len(specs), len(specs) - len(missing), len(missing))
            rows.append((name, stage, *map(str, counts), experiment.config_id))
        later = experiment.num_later_trainings
        rows.append((name, "final trainings", str(later), "", str(0 if done else later), experiment.config_id))
    header = ("run", "stage", "needed", "stored", "missing", "configuration")
    terminal.show(terminal.Table(header, rows, leaving=("configuration", "stored", "needed"), wide=("stage",)))
    known = counted(len(seen), "training known in advance is", "trainings known in advance are")
    print(f"{known} missing from {home.path('store')}.")


def print_results(prepared: Sequence[Prepared], lab: Lab) -> None:
    """Run one after another, a summary each; a table at the end where there are several."""
    results = []
    for experiment in prepared:
        result = run(experiment, lab)
        results.append(result)
        terminal.show(summary(result, experiment.config.data.num_seed_labels))
        sys.stdout.flush()
    if len(results) > 1:
        terminal.show(comparison(results), CAPTION)
    print(lab.home.path(prepared[-1].folder))


def script() -> NoReturn:
    """The command that an installation has."""
    run_script("rambo", main)


if __name__ == "__main__":
    run_command("rambo", main)
