"""The studies that a command line asks for: checked together before the first of them runs for hours."""

import argparse
from dataclasses import dataclass, replace

from ablations.factors import Grid
from ablations.paper.asked import read_grid
from ablations.plans import Key, StudyPlan, make_plan, named_study, read_plan
from ablations.retune import SEARCH_SEEDS, CellSearch, Retuning, cell_searches, retune
from ablations.run import Again, Ended, Reporting, check_plan, kept_reporting, run_study, versions_then
from ablations.scale import named, scaled
from ablations.statistics import check_versions
from cluster.limits import Spending, read_spending
from cluster.place import Place, read_place
from rambo.cli import parse_seeds
from rambo.errors import require
from rambo.home import Home
from rambo.preparation import Prepared, prepare
from rambo.progress import Progress


@dataclass(frozen=True)
class Asked:
    """A study that a command asks for, with its data and splits: nothing of it has run."""

    options: argparse.Namespace
    plan: StudyPlan
    prepared: dict[Key, Prepared]
    place: Place
    reporting: Reporting
    searches: list[CellSearch]
    """Of each cell, where the study is retuned."""
    spending: Spending


def prepare_study(options: argparse.Namespace) -> Asked:
    """Raises `InvalidInput` for whatever can be known to be wrong before it runs."""
    found = scaled(read_grid(options), options.scale)
    grid, name = found.grid, named(options.study or options.recipe or options.preset or "study", options.scale)
    progress, home = Progress(quiet=options.quiet), Home(options.home)
    if options.scale != "full":
        progress.say(found.sentence())
    with progress.doing("reading data and drawing splits"):
        prepared = prepare_all(grid, options)
    plan = replace(make_plan(name, grid, prepared), recipe=options.recipe, scale=options.scale)
    place = read_place(options, home, named_study(name, home).ledger)
    reporting, retuning = read_reporting(options, home, name), read_retuning(options)
    spending = read_spending(options)
    check_plan(plan, home)
    with progress.doing("checking the searches"):
        searches = cell_searches(plan, prepared, retuning, place) if retuning else []
    return Asked(options, plan, prepared, place, reporting, searches, spending)


def run_asked(asked: Asked) -> Ended:
    """Run what is missing of it, and of its searches and the study that follows them."""
    options, plan, prepared, place = asked.options, asked.plan, asked.prepared, asked.place
    reporting, searches, spending, home = asked.reporting, asked.searches, asked.spending, asked.place.home
    progress, again = Progress(quiet=options.quiet), Again(options.retry_failed, options.rerun_outdated)
    ended = run_study(plan, prepared, place, reporting, again=again, progress=progress, spending=spending)
    if searches and ended.over is None:
        fixed = ended
        check_versions(versions_then(plan, home, list(prepared.values())), reporting.allow_mixed)
        plan, prepared = retune(plan, searches, place, progress)
        place = replace(place, ledger=named_study(plan.name, home).ledger)
        ended = run_study(plan, prepared, place, reporting, again=again, progress=progress, spending=spending)
        unpublished = [one.unpublished for one in (fixed, ended) if one.unpublished is not None]
        num_run = fixed.num_run + ended.num_run
        ended = replace(ended, num_run=num_run, unpublished="\n".join(unpublished) or None)
    return ended


def prepare_all(grid: Grid, options: argparse.Namespace) -> dict[Key, Prepared]:
    """Every trial with its data and splits, checked before anything runs."""
    return {(cell.name, seed): prepare(config, options.data_dir) for cell, seed, config in grid.trials()}


def read_retuning(options: argparse.Namespace) -> Retuning | None:
    """The search that each cell gets, if any."""
    if options.retune is None:
        extra = [flag for flag in ("retune_seeds", "retune_space", "retune_searches") if getattr(options, flag)]
        require(not extra, "--retune must say how many trials a search has where --retune-… is given, got no --retune.")
        return None
    seeds = parse_seeds(options.retune_seeds) if options.retune_seeds else SEARCH_SEEDS
    number = 1 if options.retune_searches is None else options.retune_searches
    return Retuning(options.retune, tuple(seeds), tuple(options.retune_space), number)


def read_reporting(options: argparse.Namespace, home: Home, name: str) -> Reporting:
    """How results are judged: as the flags say, else with the margin that the study has had."""
    kept, reason = kept_reporting(home, name), options.margin_reason
    if options.margin is None:
        require(
            reason is None or read_plan(home, name) is None,
            "--margin-reason must stand beside --margin once a study is planned, got no --margin; give both.",
        )
        return replace(kept, allow_mixed=options.allow_mixed, reason=reason or kept.reason)
    require(
        0 < options.margin < 100,
        f"--margin must be positive and below 100, in points of accuracy, got {options.margin:g}.",
    )
    return Reporting(options.margin / 100, options.allow_mixed, reason)
