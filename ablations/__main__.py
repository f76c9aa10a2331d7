"""python -m ablations: which component earns its place, with what certainty."""

import argparse
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from textwrap import fill
from typing import NoReturn

from ablations.asking import Asked, prepare_study, read_reporting, run_asked
from ablations.deep.command import add_depth, verify_deeply
from ablations.export import export_differences, exported, read_folder, write_export
from ablations.paper.asked import add_recipe_flags, asked_studies
from ablations.paper.listing import recipes_table
from ablations.paper.recipes import SIZED, names
from ablations.paper.validation_sizes import run_sizes
from ablations.plans import existing_plan, named_study, read_study
from ablations.retune import SEARCH_SEEDS, retune_text
from ablations.run import Ended, kept_reporting, sync_study, write_report
from ablations.scale import add_scale_flag
from ablations.show import count_line, list_table, plan_text, status_text, together_text
from ablations.statistics import analyse
from ablations.study import Study
from ablations.sweeps.command import add_sweep, run_command_sweep
from ablations.terminal import conclusion
from ablations.verify import differences, disagreements
from cluster.limits import add_spending_flags
from cluster.named import where_to_look
from cluster.place import add_place_flags
from cluster.tracking.server import serve
from rambo import console as terminal
from rambo.cli import (
    Parser,
    add_config_flags,
    add_lab_flags,
    parse,
    port,
    run_command,
    run_script,
)
from rambo.errors import InvalidInput, require
from rambo.formats import counted
from rambo.home import Home
from rambo.progress import Progress
from rambo.strategies.facts import CONTROLS

RUN = f"""\
Run every cell of a study with every seed, and say which factor changes the accuracy, with what certainty.

  python -m ablations run --preset quickstart --seeds 0-2
  python -m ablations run --preset paper_mnist --seeds 0-9 --factor utility.label=interpolated,trained
  python -m ablations run --recipe table4 --data.source npz:images.npz --plan

Without --factor the three switches are studied: bilevel, OT and RankNet, each off and on. Any field of the
configuration can be a factor. Recipes are the paper's tables and figures:
{fill(", ".join(names()), 116)}; one of several data sets is a study of each.
The same command again finishes what is missing; a level, a seed or a factor more runs only what is new.
With --retune N every cell gets a search of N trials on other seeds before it is compared again, as NAME-retuned: a
component is judged beside what the rest can do when tuned without it. --retune-searches 2 searches twice, each time on
seeds of its own, and says what luck in tuning adds to the errors.
"""

NOTHING = "Everything this needs is in the trial folders; nothing is trained."


def read(arguments: Sequence[str]) -> argparse.Namespace:
    """What the command line asks for."""
    parser = Parser(prog="python -m ablations", description=__doc__, allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_run(commands)
    listing = _add(commands, "list", "the studies of a home, how far they are and what they cost", reporting=False)
    listing.add_argument("--recipes", action="store_true", help="the paper's tables and figures instead, by name")
    _add(commands, "status", "what is done, missing and failed", reporting=False)
    _add(commands, "report", "tables and figures from the trial folders", reporting=True)
    verifying = _add(commands, "verify", "recompute everything and say what differs", reporting=True)
    verifying.description = "Work every table and figure out anew from the trial folders and say what differs."
    verifying.add_argument("--exported", metavar="DIR", help="also hold a folder that export has made to the trials")
    add_depth(verifying)
    exporting = _add(commands, "export", "a folder for a paper's supplement: LaTeX, PDF, CSV, README", reporting=False)
    exporting.add_argument("--to", required=True, metavar="DIR", help="new, empty, or with an earlier export")
    _add(commands, "sync", "show in MLflow what the trial folders hold", reporting=True)
    _add(commands, "ui", "start MLflow's pages on the home", reporting=False).add_argument(
        "--port", type=port, default=5000, help="on this machine alone (default %(default)s)"
    )
    add_sweep(commands)
    return parse(parser, arguments)


def main(arguments: Sequence[str]) -> None:
    """Run the subcommand that the command line names."""
    options = read(arguments)
    COMMANDS[options.command](options)


def run_command_run(options: argparse.Namespace) -> None:
    """ablations run."""
    if options.recipe in SIZED:
        terminal.show(*run_sizes(options, Progress(quiet=options.quiet)))
        return
    asked = [prepare_study(one) for one in asked_studies(options)]  # all of them, before the first of them takes hours
    if options.plan:
        _show_plans(asked)
    elif any([show(run_asked(one), one.place.home) for one in asked]):
        sys.exit(1)


def _show_plans(asked: Sequence[Asked]) -> None:
    """One after the other; of several each by its name, then what they come to."""
    costs = []
    for one in asked:
        text, cost = plan_text(
            one.plan, one.prepared, one.place, one.reporting.margin, Progress(quiet=one.options.quiet)
        )
        costs.append(cost)
        terminal.show(f"{one.plan.name}\n{text}" if len(asked) > 1 else text)
        if one.searches:
            terminal.show(retune_text(one.searches, one.place))
    if len(asked) > 1:
        terminal.show(together_text(costs, asked[0].place))


def run_command_list(options: argparse.Namespace) -> None:
    """ablations list."""
    home = Home(options.home)
    found = recipes_table(home) if options.recipes else list_table(home)
    terminal.show(found if found.rows else f"There is no study in {home.root} yet.")


def run_command_status(options: argparse.Namespace) -> None:
    """ablations status."""
    home = Home(options.home)
    terminal.show(status_text(existing_plan(home, options.study), home))


def run_command_report(options: argparse.Namespace) -> None:
    """ablations report."""
    home = Home(options.home)
    study = read_study(existing_plan(home, options.study), home)
    with Progress(quiet=options.quiet).doing("writing tables and figures"):
        write_report(study, home, read_reporting(options, home, study.name))
    terminal.show(*concluded(study, home))
    print(named_study(study.name, home).path())


def run_command_verify(options: argparse.Namespace) -> None:
    """ablations verify."""
    home = Home(options.home)
    plan = existing_plan(home, options.study)
    reporting = read_reporting(options, home, plan.name)
    kept = kept_reporting(home, plan.name)
    with Progress(quiet=options.quiet).doing("working everything out anew"):
        found = differences(plan, home, replace(reporting, allow_mixed=reporting.allow_mixed or kept.allow_mixed))
        if options.exported is not None:
            found += export_differences(exported(plan, home, kept), read_folder(options.exported, "--exported"))
    deeper, told = verify_deeply(plan, home, options)
    found += deeper
    for sentence in (*found, *disagreements(read_study(plan, home)), *told):
        print(sentence)
    if found:
        raise InvalidInput(f"--study {plan.name} must agree with its trial folders, got {len(found)} differences.")
    checked = counted(len(plan.folders), "trial")
    print(f"{checked}, every table and every figure of {plan.name} agree with the trial folders.")
    if options.exported is not None:
        print(f"So does every file in {options.exported}.")
    if failures := read_study(plan, home).failures:
        print(f"{len(failures)} of them failed and {'is' if len(failures) == 1 else 'are'} shown as missing.")


def run_command_export(options: argparse.Namespace) -> None:
    """ablations export."""
    home, to = Home(options.home), read_folder(options.to, "--to")
    plan = existing_plan(home, options.study)
    with Progress(quiet=options.quiet).doing("writing tables and figures"):
        files = exported(plan, home, kept_reporting(home, plan.name))
        write_export(files, plan.name, to)
    check = ["verify", "--study", plan.name, "--home", home.root, "--exported", to.root]
    print(f"{counted(len(files), 'file')}. To check them: python -m ablations {shlex.join(check)}")
    print(to.root)


def run_command_sync(options: argparse.Namespace) -> None:
    """ablations sync."""
    home = Home(options.home)
    plan = existing_plan(home, options.study)
    progress = Progress(quiet=options.quiet)
    with progress.doing("showing trials in MLflow"):
        ended = sync_study(plan, home, read_reporting(options, home, plan.name), progress)
    require(ended.unpublished is None, str(ended.unpublished))
    print(f"{counted(len(plan.entries(home)), f'trial of {plan.name} is', f'trials of {plan.name} are')} in MLflow.")


def run_command_ui(options: argparse.Namespace) -> None:
    """ablations ui."""
    serve(Home(options.home), options.port)


COMMANDS: dict[str, Callable[[argparse.Namespace], None]] = {
    "run": run_command_run,
    "list": run_command_list,
    "status": run_command_status,
    "report": run_command_report,
    "verify": run_command_verify,
    "export": run_command_export,
    "sync": run_command_sync,
    "ui": run_command_ui,
    "sweep": run_command_sweep,
}


def show(ended: Ended, home: Home) -> bool:
    """Two tables, what they come to, and where to look; whether a trial has failed."""
    study = ended.study
    terminal.show(*concluded(study, home))
    if ended.unpublished is not None:
        terminal.show(ended.unpublished)
    named = named_study(study.name, home)
    if ended.over is not None:
        terminal.show(f"{ended.over} {count_line(study)} The same command with more goes on.")
    terminal.show(f"{counted(ended.num_run, 'trial was', 'trials were')} run now.")
    for line in where_to_look(named, ended.pages):  # commands and addresses stay whole
        print(line)
    print(named.path("report.html"))
    return bool(study.failures or (study.fixed is not None and study.fixed.failures))


def concluded(study: Study, home: Home) -> list[terminal.Table | str]:
    """What a study comes to, judged as its last report was."""
    margin, reason = kept_reporting(home, study.name).margin, kept_reporting(home, study.name).reason
    found = analyse(study, margin=margin, reason=reason, allow_mixed=True)
    fixed = None if study.fixed is None else analyse(study.fixed, margin=margin, allow_mixed=True)
    return conclusion(found, fixed)


def _add_run(commands: "argparse._SubParsersAction[Parser]") -> None:
    running = commands.add_parser(
        "run",
        help="run what is missing of a study",
        description=RUN,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    group = running.add_argument_group("what to compare")
    add_recipe_flags(group)
    group.add_argument(
        "--factor", action="append", default=[], metavar="FIELD=LEVEL,LEVEL", help="may be given several times"
    )
    group.add_argument(
        "--design", choices=("factorial", "one-at-a-time"), default="factorial", help="default %(default)s"
    )
    group.add_argument("--controls", metavar="LIST", help=f"none, or some of {','.join(CONTROLS)} (default: all)")
    add_scale_flag(group)
    group.add_argument("--study", metavar="NAME", help="what to call it (default: the recipe or preset)")
    group.add_argument("--plan", action="store_true", help="show the grid, what is missing and how long it takes")
    fair = running.add_argument_group("the same search for every cell, and both results side by side")
    fair.add_argument("--retune", type=int, metavar="N", help="trials of each cell's search (default: no search)")
    fair.add_argument(
        "--retune-searches", type=int, metavar="R", help="searches of each cell, on the seeds that follow (default: 1)"
    )
    fair.add_argument(
        "--retune-seeds", metavar="LIST", help=f"to search on (default: {', '.join(map(str, SEARCH_SEEDS))})"
    )
    fair.add_argument(
        "--retune-space",
        action="append",
        default=[],
        metavar="FIELD=VALUES",
        help="as --space of tune run (default: λ_OT, λ1 to λ3 and b as far as a cell reads them); several times",
    )
    work = running.add_argument_group("how to run it")
    add_place_flags(work)
    add_spending_flags(running.add_argument_group("how far to go, over all commands that run this study"))
    work.add_argument("--retry-failed", action="store_true", help="run trials again whose failure was final")
    work.add_argument(
        "--rerun-outdated", action="store_true", help="run trials again that another training version has measured"
    )
    _add_reporting(running)
    add_config_flags(running, seeds_flag="--seeds")
    add_lab_flags(running)


def _add(commands: "argparse._SubParsersAction[Parser]", name: str, text: str, *, reporting: bool) -> Parser:
    command = commands.add_parser(
        name, help=text, description=f"{text[0].upper()}{text[1:]}. {NOTHING}", allow_abbrev=False
    )
    command.add_argument("--home", default="runs", metavar="DIR", help="default runs/")
    if name not in ("ui", "list"):
        command.add_argument("--study", required=True, metavar="NAME")
        command.add_argument("--quiet", action="store_true", help="no progress on standard error")
    if reporting:
        _add_reporting(command)
    return command


def _add_reporting(parser: Parser) -> None:
    parser.add_argument(
        "--margin",
        type=float,
        metavar="POINTS",
        help="equivalence margin (default: the study's last, at first 0.3); that of the first run is part of the plan",
    )
    parser.add_argument("--margin-reason", metavar="TEXT", help="why it is that one, for the plan and the report")
    parser.add_argument(
        "--allow-mixed", action="store_true", help="compare unequal seeds or training versions, marked as such"
    )


def script() -> NoReturn:
    """The command that an installation has."""
    run_script("ablations", main)


if __name__ == "__main__":
    run_command("ablations", main)
