"""python -m tune: the best setting of the fields, by Ray Tune and Optuna."""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NoReturn

from cluster.limits import add_spending_flags
from cluster.named import where_to_look
from cluster.place import add_place_flags, read_place
from cluster.tracking.server import serve
from rambo import console as terminal
from rambo.cli import (
    Parser,
    add_config_flags,
    add_lab_flags,
    parse,
    parse_seeds,
    port,
    read_configs,
    run_command,
    run_script,
)
from rambo.config import Config
from rambo.errors import require
from rambo.fields import override
from rambo.formats import counted
from rambo.home import Home
from rambo.preparation import prepare
from rambo.progress import Progress
from tune.confirm import compare, comparison
from tune.driver import Limits
from tune.records import existing_plan, named_search
from tune.run import SearchResult, search, write_report
from tune.search import SAMPLERS, read_search
from tune.settings import Settings, make_plan, storage_of
from tune.show import list_table, plan_text, status_text
from tune.space import OBJECTIVES, Objective, Space, default_space, parse_space
from tune.terminal import conclusion

RUN = """\
Search the fields of a configuration for the best validation accuracy, averaged over seeds.

  python -m tune run --preset quickstart --num-trials 40 --seeds 0-2
  python -m tune run --preset paper_mnist --data.source npz:images.npz --num-trials 48 --seeds 0-2 --plan
  python -m tune run --preset quickstart --study wider --num-trials 40 --seeds 0-2 \\
      --space acquisition.candidate_batches=2,5,10 --space utility_model.learning_rate=log:1e-4,1e-2

By default λ_OT (0, or from 1e-3 to 1e2), λ1, λ2, λ3 and b are searched; --plan prints the space and what it costs.
Every --space adds a field or replaces its default:

  FIELD=2,5,10          one of these values; a single one fixes the field
  FIELD=uniform:0,.9    a number between two bounds
  FIELD=log:1e-4,1e-2   the same, uniform in its logarithm; log:1e-3,1e2,0 has 0 as a choice of its own
  FIELD=int:2,20        a whole number between two bounds
  none                  leaves the default fields out

The base configuration is the first trial. A trial runs the seeds one after another, each while it is in the better
half of what was seen there, unless --no-stop. Results are those of trials/, shared with every other command.
The same command again goes on where this one stopped; more --num-trials, --time-budget or --max-trainings go further.
What is found: searches/NAME/best.json, for --config of rambo, ablations and tune.
"""

CONFIRM = """\
Run the best setting of a search and its base on seeds that the search has not seen, and compare them on test images.

  python -m tune confirm --study paper_mnist --seeds 3-12

The best of many trials is optimistic in what it was chosen by; this is what it is worth.
"""

NOTHING = "Everything this needs is in the home and in the search's storage; nothing is trained."


def read(arguments: Sequence[str]) -> argparse.Namespace:
    """What the command line asks for."""
    parser = Parser(prog="python -m tune", description=__doc__, allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_run(commands)
    _add(commands, "list", "the searches of a home, how far they are and what they have cost")
    _add(commands, "status", "the space, what is done, what is spent, what is best")
    _add_confirm(commands)
    _add(commands, "report", "write the tables and figures anew")
    _add(commands, "ui", "start MLflow's pages on the home")
    return parse(parser, arguments)


def main(arguments: Sequence[str]) -> None:
    """Run the subcommand that the command line names."""
    options = read(arguments)
    COMMANDS[options.command](options)


def run_command_run(options: argparse.Namespace) -> None:
    """tune run."""
    configs, progress = read_configs(options), Progress(quiet=options.quiet)
    seeds = tuple(config.seed for config in configs)
    require(len(set(seeds)) == len(seeds), "--strategy must name one strategy here, got several.")
    settings, base, home = read_settings(options, seeds), configs[0], Home(options.home)
    with progress.doing("reading data and drawing splits"):
        space = read_space(options, base, settings.objectives)
    place = read_place(options, home, named_search(settings.name, home).ledger)
    if options.plan:
        storage_of(settings.name, settings.storage, home)
        terminal.show(plan_text(make_plan(base, space, settings, place.data_dir), settings, place, progress))
    else:
        show(search(base, space, settings, place, progress=progress), home)


def run_command_list(options: argparse.Namespace) -> None:
    """tune list."""
    home = Home(options.home)
    found = list_table(home)
    terminal.show(found if found.rows else f"There is no search in {home.root} yet.")


def run_command_status(options: argparse.Namespace) -> None:
    """tune status."""
    home = Home(options.home)
    plan = existing_plan(home, options.study)
    terminal.show(
        status_text(plan, read_search(plan, storage_of(options.study, options.storage, home)).attempts(), home)
    )


def run_command_confirm(options: argparse.Namespace) -> None:
    """tune confirm."""
    home = Home(options.home)
    plan = existing_plan(home, options.study)
    attempts = read_search(plan, storage_of(options.study, options.storage, home)).attempts()
    if options.source is not None:
        plan = replace(plan, base=override(plan.base, {"data.source": options.source}))
    place, seeds = read_place(options, home, named_search(plan.name, home).ledger), parse_seeds(options.seeds)
    found = compare(plan, attempts, seeds, place, progress=Progress(quiet=options.quiet))
    terminal.show(*comparison(plan, found))
    print(named_search(plan.name, home).path("confirm.csv"))


def run_command_report(options: argparse.Namespace) -> None:
    """tune report."""
    home = Home(options.home)
    plan = existing_plan(home, options.study)
    attempts = read_search(plan, storage_of(options.study, options.storage, home)).attempts()
    with Progress().doing("writing tables and figures"):
        write_report(plan, attempts, home)
    terminal.show(*conclusion(plan, attempts))
    print(named_search(plan.name, home).path())


def run_command_ui(options: argparse.Namespace) -> None:
    """tune ui."""
    serve(Home(options.home), options.port)


COMMANDS: dict[str, Callable[[argparse.Namespace], None]] = {
    "run": run_command_run,
    "list": run_command_list,
    "status": run_command_status,
    "confirm": run_command_confirm,
    "report": run_command_report,
    "ui": run_command_ui,
}


def read_settings(options: argparse.Namespace, seeds: tuple[int, ...]) -> Settings:
    """How to search."""
    sought: dict[str, tuple[Objective, ...]] = {",".join(names): names for names in OBJECTIVES}
    require(
        options.objectives in sought, f"--objectives must be one of {' or '.join(sought)}, got {options.objectives}."
    )
    require(options.sampler in SAMPLERS, f"--sampler must be one of {', '.join(SAMPLERS)}; got {options.sampler}.")
    return Settings(
        name=options.study or options.preset or "search",
        seeds=seeds,
        limits=Limits(options.num_trials, options.time_budget, options.max_trainings),
        objectives=sought[options.objectives],
        sampler=options.sampler,
        storage=options.storage,
        stops=not options.no_stop,
        sampler_seed=options.sampler_seed,
    )


def read_space(options: argparse.Namespace, base: Config, objectives: Sequence[str]) -> Space:
    """The default space of `base` with what --space changes in it."""
    prepared = prepare(base, options.data_dir)
    default = default_space(base, prepared.dataset.num_classes, len(prepared.pool.unlabelled), objectives)
    return parse_space(options.space, default)


def show(result: SearchResult, home: Home) -> None:
    """The best, why the search ended, and where to look."""
    terminal.show(
        *conclusion(result.plan, result.attempts),
        f"{result.ended} {counted(result.num_run, 'trial')} ended now; spent in all: {result.seconds:.0f} s, "
        f"{counted(result.trainings, 'training')}.",
    )
    if result.unpublished is not None:
        terminal.show(result.unpublished)
    named = named_search(result.plan.name, home)
    for line in where_to_look(named, result.pages):
        print(line)
    print(named.path("best.json"))


def _add_run(commands: "argparse._SubParsersAction[Parser]") -> None:
    running = commands.add_parser(
        "run",
        help="search, or go on searching",
        description=RUN,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    group = running.add_argument_group("what to search")
    group.add_argument("--space", action="append", default=[], metavar="FIELD=VALUES", help="see above; several times")
    group.add_argument(
        "--objectives", default="accuracy", metavar="LIST", help="accuracy | accuracy,budget: B is searched as well"
    )
    group.add_argument("--study", metavar="NAME", help="what to call it (default: the preset)")
    group.add_argument("--storage", metavar="URL", help="of Optuna's database (default: SQLite in the search's folder)")
    group.add_argument("--sampler", default="tpe", metavar="NAME", help="tpe | gp | random (default %(default)s)")
    group.add_argument("--sampler-seed", type=int, default=0, metavar="N", help="default %(default)s")
    group.add_argument("--no-stop", action="store_true", help="every trial runs every seed")
    group.add_argument("--plan", action="store_true", help="show the space, what is missing and how long it takes")
    limits = running.add_argument_group("how far to go, over all commands that run this search")
    limits.add_argument("--num-trials", type=int, default=64, metavar="N", help="finished ones (default %(default)s)")
    add_spending_flags(limits)
    _add_work_flags(running)
    add_config_flags(running, seeds_flag="--seeds")
    add_lab_flags(running)


def _add_confirm(commands: "argparse._SubParsersAction[Parser]") -> None:
    confirming = commands.add_parser(
        "confirm",
        help="the best beside the base on fresh seeds",
        description=CONFIRM,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    confirming.add_argument("--study", required=True, metavar="NAME")
    confirming.add_argument("--seeds", required=True, metavar="LIST", help="none of those that were searched on")
    confirming.add_argument("--storage", metavar="URL", help="the one that it was run with, if any")
    confirming.add_argument(
        "--data.source", dest="source", metavar="SOURCE", help="where the same data lie now, if elsewhere"
    )
    _add_work_flags(confirming)
    add_lab_flags(confirming)


def _add_work_flags(parser: Parser) -> None:
    work = parser.add_argument_group("how to run it")
    add_place_flags(work)


def _add(commands: "argparse._SubParsersAction[Parser]", name: str, text: str) -> None:
    command = commands.add_parser(
        name, help=text, description=f"{text[0].upper()}{text[1:]}. {NOTHING}", allow_abbrev=False
    )
    command.add_argument("--home", default="runs", metavar="DIR", help="default runs/")
    if name == "ui":
        command.add_argument("--port", type=port, default=5000, help="on this machine alone (default %(default)s)")
    if name in ("ui", "list"):
        return
    command.add_argument("--study", required=True, metavar="NAME")
    command.add_argument("--storage", metavar="URL", help="the one that it was run with, if any")


def script() -> NoReturn:
    """The command that an installation has."""
    run_script("tune", main)


if __name__ == "__main__":
    run_command("tune", main)
