"""What a plan and a status print: the grid, what is missing, what that costs, and what so many seeds can show."""

from collections.abc import Mapping
from statistics import median

from ablations.effects import contrasts, control_effects, level_effects
from ablations.margin import MARGIN
from ablations.plans import Key, StudyPlan, read_study
from ablations.statistics import analyse, power_text, precision_text, seeds_text
from ablations.study import Study
from cluster.failures import read_failure
from cluster.place import Place
from cluster.trials import missing_fits, unfinished
from cluster.work import Work
from rambo.console import Table, width
from rambo.home import Home
from rambo.inference import attainable
from rambo.preparation import Prepared
from rambo.result import read_result
from rambo.store import Store

PAPER_GPU_SECONDS = {"resnet18": 24.0, "lenet5": 6.0, "mnistnet": 6.0}
"""B.7: 1000 trainings took two A40 200 minutes with ResNet-18, 50 with LeNet-5."""

MARKS = {"done": "●", "failed": "×", "missing": "·"}


def plan_text(plan: StudyPlan, prepared: Mapping[Key, Prepared], place: Place, margin: float = MARGIN) -> str:
    """What `ablations run --plan` prints; trials of it that are there already are its pilot."""
    waiting = unfinished(list(prepared.values()), place.home)
    work = place.known_work(waiting)
    repeats = sum(one.num_later_trainings for one in waiting)
    lines = [
        grid_text(plan, place.home),
        f"{len(set(plan.folders.values()))} different trials; {len(waiting)} to run.",
        f"Missing: {work.num_trainings} trainings known in advance, up to {repeats} later ones, "
        f"{work.num_ot} OT distances, and {len(missing_fits(waiting, Store(place.home)))} utility models to fit.",
    ]
    if work.num_trainings:
        lines += time_lines(prepared, work, repeats, place, waiting)
    power = attainable(len(plan.grid.seeds), max(1, num_tests(plan)))
    pilot = analyse(read_study(plan, place.home), margin=margin, allow_mixed=True)
    return "\n".join(filter(None, [*lines, power_text(power), precision_text(pilot.compared, power, margin)]))


def time_lines(
    prepared: Mapping[Key, Prepared], work: Work, repeats: int, place: Place, waiting: list[Prepared]
) -> list[str]:
    """How long the missing work takes: from a pilot here, and at the paper's speed."""
    name, num_trainings = waiting[0].config.classifier.name, work.num_trainings + repeats
    lines = []
    if name in PAPER_GPU_SECONDS:
        hours = PAPER_GPU_SECONDS[name] * num_trainings / 3600
        lines.append(f"At the paper's speed (B.7, A40) these trainings take about {hours:.1f} GPU-hours.")
    if name == "resnet18" and place.device != "cuda":
        return [*lines, "ResNet-18 is not timed without a GPU."]
    pilot = place.forecast(work)
    workers = place.most_workers or 1
    seconds = pilot.seconds_per_set * num_trainings / workers
    lines.append(
        f"A pilot here took {pilot.seconds_per_set:.2f} s a set: about {seconds / 60:.0f} min for all trainings on "
        f"{workers} such worker{'s' if workers > 1 else ''}."
    )
    fits = fit_seconds(list(prepared.values()), place.home)
    num_fits = len(missing_fits(waiting, Store(place.home)))
    if fits and num_fits:
        lines.append(
            f"Learning û took {fits:.0f} s in trials of this study: about {fits * num_fits / 60:.0f} min on one core."
        )
    return lines


def fit_seconds(experiments: list[Prepared], home: Home) -> float | None:
    """Median time of the stage `utility_model` over finished trials that have one."""
    results = [read_result(home, one.folder) for one in experiments if one.plan is not None]
    seconds = [result.fit_seconds for result in results if result is not None]
    return median(seconds) if seconds else None


def status_text(plan: StudyPlan, home: Home) -> str:
    """What `ablations status` prints."""
    study = read_study(plan, home)
    lines = [grid_text(plan, home), count_line(study)]
    lines += [f"failed: {cell}, seed {seed}: {reason}" for (cell, seed), reason in study.failures.items()]
    return "\n".join(lines)


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
