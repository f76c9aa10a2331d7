"""The same search for every cell before cells are compared again.

A component that is switched off at settings chosen with it on is judged unfairly: the rest could make up for it if it
were tuned without. So each cell with a utility model gets a search of its own, as long as the others', on seeds that
the comparison does not use, and a second study runs the cells at what was found.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from ablations.effects import compared_cell
from ablations.factors import Cell
from ablations.plans import Key, StudyPlan
from cluster.place import Place
from cluster.runtime import connected
from rambo.config import Config
from rambo.errors import InvalidInput, require
from rambo.fields import Value
from rambo.preparation import Prepared, prepare
from rambo.progress import Progress
from rambo.randomness import derive
from tune.driver import Limits
from tune.records import named_search, read_plan
from tune.run import search
from tune.settings import Settings, known_experiments, make_plan
from tune.space import LAMBDA_OT, Choice, Range, Space, default_space, parse_space

SEARCH_SEEDS = (1000, 1001, 1002)
"""Seeds of a search unless others are given: a study that grows by seeds keeps its searches."""


@dataclass(frozen=True)
class Retuning:
    """The search, or searches, that every cell gets."""

    num_trials: int
    seeds: tuple[int, ...]
    """None of them among the study's: settings are chosen on other splits than those they are judged on."""
    spaces: tuple[str, ...] = ()
    """Changes to the default space, as `tune run --space` takes them."""
    num_searches: int = 1
    """Of each cell, independent of one another: what differs between them is luck in tuning."""

    def seeds_of(self, number: int) -> tuple[int, ...]:
        """Of the search with this number, from 1: those that follow, since luck lies in the splits too.

        >>> Retuning(8, (1000, 1001, 1002)).seeds_of(2)
        (1003, 1004, 1005)
        """
        span = max(self.seeds) - min(self.seeds) + 1
        return tuple(seed + (number - 1) * span for seed in self.seeds)

    @property
    def all_seeds(self) -> tuple[int, ...]:
        """Of all searches."""
        return tuple(seed for number in range(1, self.num_searches + 1) for seed in self.seeds_of(number))


@dataclass(frozen=True)
class CellSearch:
    """What is searched for one cell."""

    cell: Cell
    number: int
    """From 1, among the searches of the cell."""
    base: Config
    space: Space
    settings: Settings


def cell_searches(
    plan: StudyPlan, prepared: Mapping[Key, Prepared], retuning: Retuning, place: Place
) -> list[CellSearch]:
    """The searches of each cell that has something to search: the first of all cells, then the second of all cells.

    Raises `InvalidInput` for what cannot be searched, and where a search of the same name was another one: before the
    first study runs, since that may take days.
    """
    require(retuning.num_searches >= 1, f"--retune-searches must be at least 1, got {retuning.num_searches}.")
    compared = set(plan.grid.seeds) & set(retuning.all_seeds)
    require(
        not compared,
        "--retune-seeds must be other seeds than those that are compared, got "
        f"{', '.join(map(str, sorted(compared)))} among both"
        f"{', since each further search takes the seeds that follow' if retuning.num_searches > 1 else ''}.",
    )
    require(
        place.home.is_local,
        f"--retune must have a --home that is a folder, since its searches keep their database there, got "
        f"{place.home.root}; give a folder that every node can reach.",
    )
    require(retuning.num_trials >= 1, f"--retune must be at least 1 trial, got {retuning.num_trials}.")
    numbers, first = range(1, retuning.num_searches + 1), plan.grid.seeds[0]
    try:
        spaces = {
            cell: _space(plan, plan.grid.config(cell, first), prepared[cell.name, first], retuning)
            for cell in plan.grid.studied
        }
        found = [
            _cell_search(plan, cell, number, space, retuning)
            for number in numbers
            for cell, space in spaces.items()
            if space is not None
        ]
        plans = [make_plan(one.base, one.space, one.settings, place.data_dir) for one in found]
    except InvalidInput as error:
        raise InvalidInput(str(error).replace("--space", "--retune-space")) from None
    for searched in plans:
        old = read_plan(place.home, searched.name)
        if old is not None:
            searched.check_same(old)
    require(bool(found), "--retune must have a field to search in at least one cell, got none; see --retune-space.")
    return found


def _cell_search(plan: StudyPlan, cell: Cell, number: int, space: Space, retuning: Retuning) -> CellSearch:
    """The first search is what it was before there could be a second: its name, seeds and sampler's seed."""
    name, seeds = _search_name(plan.name, cell, number), retuning.seeds_of(number)
    sampler_seed = 0 if number == 1 else derive(0, "sampler", name)
    settings = Settings(name, seeds, Limits(retuning.num_trials), sampler_seed=sampler_seed)
    return CellSearch(cell, number, plan.grid.config(cell, seeds[0]), space, settings)


def retune(
    plan: StudyPlan, searches: Sequence[CellSearch], place: Place, progress: Progress
) -> tuple[StudyPlan, dict[Key, Prepared]]:
    """Search for every cell, or go on with it; the study at what was found, and its trials."""
    found: dict[str, list[Mapping[str, Value]]] = {}
    with connected(place.most_workers):  # one Ray for all
        for number, one in enumerate(searches, start=1):
            progress.say(f"search {number} of {len(searches)}: {one.settings.name}")
            its = replace(place, ledger=named_search(one.settings.name, place.home).ledger)
            result = search(one.base, one.space, one.settings, its, progress=progress)
            best = result.plan.best(result.attempts)
            if best is None:
                progress.say(f"{one.cell.name} keeps its settings: no trial of {one.settings.name} is complete")
            found.setdefault(one.cell.name, []).append({} if best is None else best.fields)
    grid = plan.grid.tuned({**found, **followed(plan, found)})
    prepared = {(cell.name, seed): prepare(config, place.data_dir) for cell, seed, config in grid.trials()}
    folders = {key: one.folder for key, one in prepared.items()}
    retuned = once_where_equal(StudyPlan(retuned_name(plan.name), grid, folders, fixed=plan.name))
    return retuned, {key: prepared[key] for key in retuned.folders}


def once_where_equal(plan: StudyPlan) -> StudyPlan:
    """`plan` with one variant of a control that reads nothing of what was found: no search has any luck in it."""

    def is_one(cell: Cell) -> bool:
        kept = {tuple(plan.folders[variant.name, seed] for seed in plan.grid.seeds) for variant in cell.variants}
        return cell.control is not None and len(kept) == 1

    cells = tuple(replace(cell, again=()) if is_one(cell) else cell for cell in plan.grid.cells)
    grid = replace(plan.grid, cells=cells)
    folders = {(cell.name, seed): plan.folders[cell.name, seed] for seed in grid.seeds for cell in grid.variants}
    return replace(plan, grid=grid, folders=folders)


def followed(
    plan: StudyPlan, found: Mapping[str, Sequence[Mapping[str, Value]]]
) -> dict[str, Sequence[Mapping[str, Value]]]:
    """What was found for the cell that a control is compared with: else b, M and the like would differ as well.

    Fields that it does not read leave a control's trials as they were.
    """
    pairs = ((control, compared_cell(plan.grid, control)) for control in plan.grid.controls)
    return {control.name: found[cell.name] for control, cell in pairs if cell is not None and cell.name in found}


def retuned_name(study: str) -> str:
    """What the study of retuned cells is called."""
    return f"{study}-retuned"


def retune_text(searches: Sequence[CellSearch], place: Place) -> str:
    """What `--plan` says of the searches."""
    plans = [make_plan(one.base, one.space, one.settings, place.data_dir) for one in searches]
    known = {one.folder: one for plan in plans for one in known_experiments(plan, place.data_dir)}
    work = place.known_work(known.values())
    settings, firsts = searches[0].settings, [one for one in searches if one.number == 1]
    most = sum(plan.base.evaluation.repeats for plan in plans) * settings.limits.num_trials * len(settings.seeds)
    seeds = dict.fromkeys(", ".join(map(str, one.settings.seeds)) for one in searches)
    each = f"each of {len(firsts)} cells is searched over {settings.limits.num_trials} trials"
    lines = [
        f"Then {each} on seeds {', then again on seeds '.join(seeds)}, and runs again with what was found:",
        *(f"  {one.cell.name}: {', '.join(one.space.dimensions)}" for one in firsts),
        f"Known before the searches and not yet measured: {work.num_trainings} trainings, {work.num_ot} OT distances; "
        f"then up to {most} final trainings in the searches.",
    ]
    return "\n".join(lines)


def _space(plan: StudyPlan, base: Config, prepared: Prepared, retuning: Retuning) -> Space | None:
    """What can be searched for a cell: no factor of the study; None for a strategy without û, or without a choice."""
    if not base.needs_utility_model:
        return None
    default = default_space(base, prepared.dataset.num_classes, len(prepared.pool.unlabelled), ("accuracy",))
    dimensions = dict(parse_space(retuning.spaces, default).dimensions)
    factors = {factor.name for factor in plan.grid.factors}
    offset = dimensions.get(LAMBDA_OT)
    if isinstance(offset, Range) and offset.zero and "switches.ot" in factors:
        dimensions[LAMBDA_OT] = replace(offset, zero=False)  # at 0 the cell would be the one without OT
    kept = {
        name: dimension
        for name, dimension in dimensions.items()
        if name not in factors and not Space(dimensions).is_idle(name, {}, base)
    }
    free = [dimension for dimension in kept.values() if not isinstance(dimension, Choice) or len(dimension.values) > 1]
    return Space(kept) if free else None


def _search_name(study: str, cell: Cell, number: int) -> str:
    """A file name that says which cell is searched; the second and later times with their number."""
    plain = "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in cell.name)
    return f"{study}.{plain}" if number == 1 else f"{study}.{plain}.search-{number}"  # .2 could be another level's
