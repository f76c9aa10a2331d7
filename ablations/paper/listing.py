"""All names of the paper: what each is about, what it costs, and how much of it a home has."""

import csv
from collections.abc import Iterator

from ablations.factors import Grid, make_grid
from ablations.paper.recipes import DATA, PAPER_SEEDS, RECIPES, SIZED, Recipe
from ablations.paper.validation_sizes import FOLDER, NUM_SETS
from ablations.plans import StudyPlan, read_plan
from ablations.show import PAPER_GPU_SECONDS
from rambo.cli import parse_seeds
from rambo.config import Config
from rambo.console import Table
from rambo.errors import InvalidInput
from rambo.fields import flatten, in_force, override
from rambo.home import Home
from rambo.presets import preset
from rambo.result import read_result
from rambo.utility.samples import num_measured

HEADER = ("name", "what", "trials", "trainings", "GPU-hours", "here")

DONE = "done"

SEED_SET = ("data.source", "data.num_seed_labels", "data.label_noise")
"""Fields by which the recipes' seed sets differ."""

UTILITY = (*SEED_SET, "acquisition.batch_size")
"""The same of the sets that are measured for û; B, λ and the strategy move none."""


def recipes_table(home: Home) -> Table:
    """A row a study; no data are read for it."""
    sized = [_sized(name, data, home) for name, data in SIZED.items()]
    rows = [_listed(name, chosen, home) for name, chosen in RECIPES.items()]
    return Table(HEADER, [*rows, *sized], leaving=("GPU-hours", "trainings"), wide=("what",))


def num_known(chosen: Recipe) -> int:
    """Trainings known before any trial runs, at the paper's scale: of û's sets, of S_0 and of scouts.

    As many as an empty store lacks, but for sets that happen to be drawn twice; refits and the R final trainings of a
    trial are not known ahead.
    """
    grid = _grid(chosen)
    configs = [in_force(grid.config(cell, 0)) for cell in grid.cells]
    shared = {_values(one, UTILITY): one for one in configs if one.needs_utility_model}
    whole = {found for one in configs for found in _whole_sets(one)}
    return (sum(map(_num_sets, shared.values())) + len(whole)) * len(grid.seeds)


def _listed(name: str, chosen: Recipe, home: Home) -> tuple[str, ...]:
    grid, trainings = _grid(chosen), num_known(chosen)
    trials = len(grid.cells) * len(grid.seeds)
    finals = sum(grid.config(cell, 0).evaluation.repeats for cell in grid.cells) * len(grid.seeds)
    hours = PAPER_GPU_SECONDS[grid.base.classifier.name] * (trainings + finals) / 3600
    return (name, chosen.about, str(trials), str(trainings), f"{hours:.0f}", _done(name, grid, home))


def _sized(name: str, data: tuple[str, ...], home: Home) -> tuple[str, ...]:
    num_seeds = len(parse_seeds(PAPER_SEEDS))
    seconds = (PAPER_GPU_SECONDS[preset(f"paper_{one}").classifier.name] for one in data)
    hours = sum(seconds) * NUM_SETS * num_seeds / 3600
    about = f"utility of {NUM_SETS} random sets over |S_val| on {', '.join(DATA[one] for one in data)}"
    trainings, here = NUM_SETS * num_seeds * len(data), _seeds_done(name, data, num_seeds, home)
    return (name, about, "0", str(trainings), f"{hours:.0f}", here)


def _grid(chosen: Recipe) -> Grid:
    base = override(preset(chosen.preset), chosen.fields)
    seeds = parse_seeds(PAPER_SEEDS)
    return make_grid(base, chosen.factors, controls=chosen.controls, seeds=seeds, design="factorial")


def _values(config: Config, names: tuple[str, ...]) -> tuple[object, ...]:
    fields = flatten(config)
    return tuple(fields[name] for name in names)


def _whole_sets(config: Config) -> Iterator[tuple[object, ...]]:
    """Trainings on S_0, and on S_val beside it where a scout has seen that, each by what tells it from others."""
    where, first = _values(config, SEED_SET), config.evaluation.first_repeat
    yield from ((where, "seed", repeat) for repeat in range(first, first + config.evaluation.repeats))
    if config.needs_utility_model:
        yield (where, "seed", 0)
    yield from ((where, config.acquisition.scout, repeat) for repeat in range(config.num_scouts))


def _num_sets(config: Config) -> int:
    """Both sets of each pair, the growing sets below S_0, and once more those that tell the ceiling."""
    pairs = config.offline.num_pairs + config.evaluation.num_held_out_pairs + config.evaluation.num_ceiling_pairs
    iterations = config.num_pretraining_iterations
    return 2 * (pairs + iterations * num_measured(config, config.pretraining.num_pairs)) + iterations


def _done(name: str, grid: Grid, home: Home) -> str:
    """How many of the recipe's trials the study of that name has; other seeds and levels are none of them."""
    try:
        plan = read_plan(home, name)
    except InvalidInput:
        return "not readable"
    return "" if plan is None else _share(plan, grid, home)


def _share(plan: StudyPlan, grid: Grid, home: Home) -> str:
    keys = [(cell.name, seed) for cell in grid.cells for seed in grid.seeds]
    folders = [plan.folders[key] for key in keys if key in plan.folders]
    finished = {folder: read_result(home, folder) is not None for folder in set(folders)}
    return _of(sum(finished[folder] for folder in folders), len(keys))


def _seeds_done(name: str, data: tuple[str, ...], num_seeds: int, home: Home) -> str:
    """The same of seeds of each data set, where no trial is run."""
    content = home.read(f"{FOLDER}/{name}/table.csv")
    if content is None:
        return ""
    rows = csv.DictReader(content.decode().splitlines())
    known = {row["data"]: min(int(row["n"]), num_seeds) for row in rows}
    found = _of(sum(known.get(one, 0) for one in data), num_seeds * len(data))
    return found if found == DONE else f"{found} seeds"


def _of(done: int, planned: int) -> str:
    return DONE if done == planned else f"{done} of {planned}"
