"""What a plan and a status print: the grid, what is missing, what that costs, and what so many seeds can show."""

from collections.abc import Mapping, Sequence

from ablations.effects import contrasts, control_effects, level_effects
from ablations.margin import MARGIN
from ablations.plans import STUDY, Key, StudyPlan, named_study, read_plan, read_study
from ablations.statistics import analyse, power_text, precision_text, seeds_text
from ablations.study import Study
from cluster.costs import Cost, Later, hours
from cluster.failures import read_failure
from cluster.limits import Spent
from cluster.place import Place
from cluster.trials import missing_fits, unfinished
from cluster.work import Work
from rambo.console import Table, width
from rambo.errors import InvalidInput
from rambo.home import Home
from rambo.inference import attainable
from rambo.preparation import Prepared
from rambo.progress import Progress
from rambo.result import read_result
from rambo.store import Store

PAPER_GPU_SECONDS = {"resnet18": 24.0, "lenet5": 6.0, "mnistnet": 6.0}
"""B.7: 1000 trainings took two A40 200 minutes with ResNet-18, 50 with LeNet-5."""

MARKS = {"done": "●", "failed": "×", "missing": "·"}


def plan_text(
    plan: StudyPlan,
    prepared: Mapping[Key, Prepared],
    place: Place,
    margin: float = MARGIN,
    progress: Progress | None = None,
) -> tuple[str, Cost | None]:
    """What `ablations run --plan` prints, and what it costs, None where nothing is missing or it cannot be timed.

    Trials of it that are there already are its pilot.
    """
    progress = progress or Progress(quiet=True)
    with progress.doing("looking up what the store has"):
        waiting = unfinished(list(prepared.values()), place.home)
        store = Store(place.home)
        work, fits = place.known_work(waiting, store), missing_fits(waiting, store)
    later, cost = Later.of(waiting) if waiting else None, None
    most = later.trainings if later else 0
    lines = [
        grid_text(plan, place.home),
        f"{len(set(plan.folders.values()))} different trials; {len(waiting)} to run.",
        f"Missing: {work.num_trainings} trainings known in advance, up to {most} later ones, {work.num_ot} OT "
        f"distances, and {len(fits)} utility models to fit.",
    ]
    if later is not None:
        known = fit_seconds(list(prepared.values()), place.home)
        told, cost = cost_lines(work, later, list(fits.values()), known, place, progress)
        lines += told
    power = attainable(len(plan.grid.seeds), max(1, num_tests(plan)))
    pilot = analyse(read_study(plan, place.home), margin=margin, allow_mixed=True)
    precision = precision_text(pilot.compared, power, margin)
    return "\n".join([*lines, power_text(power), *([] if precision is None else [precision])]), cost


def together_text(costs: Sequence[Cost | None], place: Place) -> str:
    """What the studies of one command cost; what two of them share is in each."""
    found = [one for one in costs if one is not None]
    total = Cost(tuple(part for one in found for part in one.parts), on_gpu=any(one.on_gpu for one in found))
    unit, (low, high) = "GPU-hours" if total.on_gpu else "core-hours", total.interval
    said = f"All {len(costs)} studies: {hours(total.seconds)} {unit} ({hours(low)} to {hours(high)})"
    untimed = len([one for one in costs if one is None])
    said += f", without {untimed} of them, of which nothing is missing or that cannot be timed here" if untimed else ""
    return f"{said}. {place.lasting(total)}" if found else f"{said}."


def cost_lines(
    work: Work,
    later: Later,
    fits: list[Prepared],
    known_fits: list[float],
    place: Place,
    progress: Progress,
) -> tuple[list[str], Cost | None]:
    """What the missing work costs in all, timed here and from trials that are there; and at the paper's speed."""
    name, num_trainings = later.example.config.classifier.name, work.num_trainings + later.trainings
    lines = []
    if name in PAPER_GPU_SECONDS:
        theirs = PAPER_GPU_SECONDS[name] * num_trainings / 3600
        lines.append(f"At the paper's speed (B.7, A40) these trainings take about {theirs:.1f} GPU-hours.")
    if name == "resnet18" and place.device != "cuda":
        return [*lines, "ResNet-18 is not timed without a GPU."], None
    cost = place.cost(work, later, fits, known_fits, progress)
    return ["", cost.table().text(width()), "", *lines, place.lasting(cost)], cost


def fit_seconds(experiments: list[Prepared], home: Home) -> list[float]:
    """Time of the stage `utility_model` in finished trials that have one."""
    results = [read_result(home, one.folder) for one in experiments if one.plan is not None]
    return [result.fit_seconds for result in results if result is not None]


def status_text(plan: StudyPlan, home: Home) -> str:
    """What `ablations status` prints."""
    study = read_study(plan, home)
    lines = [grid_text(plan, home), count_line(study)]
    lines += [f"failed: {cell}, seed {seed}: {reason}" for (cell, seed), reason in study.failures.items()]
    return "\n".join(lines)


def list_table(home: Home) -> Table:
    """What `ablations list` prints: the studies of a home, how far they are and what they have cost so far."""
    header = ("study", "trials", "done", "missing", "failed", "core-seconds", "trainings")
    leaving = ("trials", "trainings", "core-seconds")
    return Table(header, [_listed(name, home) for name in home.folders(STUDY.folder)], leaving=leaving)


def _listed(name: str, home: Home) -> tuple[str, ...]:
    try:
        plan = read_plan(home, name)
        if plan is None:
            return (name, "", "no plan", *[""] * 4)
        study, spent = read_study(plan, home), Spent(named_study(name, home))
    except InvalidInput:
        return (name, "", "not readable", *[""] * 4)
    results = [result for one in set(plan.folders.values()) if (result := read_result(home, one)) is not None]
    total, done, failed = len(study.grid.variants) * len(study.grid.seeds), len(study.outcomes), len(study.failures)
    seconds = sum(sum(result.seconds.values()) for result in results)
    trainings = spent.collected + sum(result.trainings for result in results)
    return (name, *map(str, (total, done, total - done - failed, failed)), f"{seconds:.0f}", str(trainings))


def count_line(study: Study) -> str:
    """How many trials are done, missing and failed."""
    total, failed = len(study.grid.variants) * len(study.grid.seeds), len(study.failures)
    done = len(study.outcomes)
    return f"{study.name}: {done} of {total} trials finished, {failed} failed, {total - done - failed} missing."


def grid_text(plan: StudyPlan, home: Home) -> str:
    """A row a cell, a mark a seed."""
    rows = []
    for cell in plan.grid.variants:
        marks = [MARKS[_state(plan, home, (cell.name, seed))] for seed in plan.grid.seeds]
        tens = ("".join(marks[start : start + 10]) for start in range(0, len(marks), 10))
        rows.append((cell.name, " ".join(tens)))
    seeds = f"seeds {seeds_text(plan.grid.seeds)}"
    table = Table(("cell", seeds), rows, wide=(seeds,)).text(width())
    return f"{table}\n{MARKS['done']} finished  {MARKS['failed']} failed  {MARKS['missing']} missing"


def num_tests(plan: StudyPlan) -> int:
    """Effects that Holm's correction runs over."""
    study = Study(plan.name, plan.grid, {}, {})
    return len(contrasts(study) or level_effects(study) or control_effects(study))


def _state(plan: StudyPlan, home: Home, key: Key) -> str:
    folder = plan.folders[key]
    if read_result(home, folder) is not None:
        return "done"
    return "failed" if read_failure(home, folder) is not None else "missing"
