"""What a plan and a status print: the space, what it measures, what is done and what is spent."""

from collections.abc import Sequence
from dataclasses import replace

from cluster.costs import Later
from cluster.databases import database_url, file_of
from cluster.limits import Spent
from cluster.place import Place
from rambo.console import Table, width
from rambo.errors import InvalidInput
from rambo.formats import percent
from rambo.home import Home
from rambo.preparation import Prepared
from rambo.progress import Progress
from rambo.result import read_result
from rambo.store import Store
from tune.driver import spent_trainings
from tune.records import SEARCH, Attempt, SearchPlan, named_search, read_plan
from tune.search import read_search
from tune.settings import Settings, known_experiments, most_trainings, storage_of
from tune.space import BATCH, Choice, Dimension, Range


def plan_text(plan: SearchPlan, settings: Settings, place: Place, progress: Progress | None = None) -> str:
    """What `tune run --plan` prints; nothing is kept of what is timed."""
    progress = progress or Progress(quiet=True)
    store = Store(place.home)
    with progress.doing("looking up what the store has"):
        experiments = known_experiments(plan, place.data_dir)
        work = place.known_work(experiments, store)
    attempts = _attempts_so_far(plan, settings, place.home)
    finished = sum(one.is_finished for one in attempts)
    left, most = max(0, settings.limits.num_trials - finished), most_trainings(plan, place.data_dir)
    unknown = plan.space.unknown()
    kind = f"trainings, the sets that its {' and '.join(unknown)} bring among them," if unknown else "final trainings"
    lines = [
        space_text(plan),
        f"Trials: {finished} of {settings.limits.num_trials} finished, each on seeds {', '.join(map(str, plan.seeds))}"
        f"{', one after another while it is in the better half' if settings.halves else ''}.",
        f"Known before the first of them and not yet measured: {work.num_trainings} trainings, {work.num_ot} OT "
        "distances.",
        *batch_lines(plan, experiments, place, store),
        f"Then up to {most} {kind} a trial, {left * most} in all.",
    ]
    if left and experiments and (plan.base.classifier.name != "resnet18" or place.device == "cuda"):
        first = experiments[0] if experiments[0].plan is not None else None
        fits = [] if first is None else [first] * (left * len(plan.seeds))
        known = fit_seconds(plan, attempts, place.home)
        later = replace(Later.of([experiments[0]] * (left * len(plan.seeds))), trainings=left * most)
        cost = place.cost(work, later, fits, known, progress)
        lines += ["", cost.table().text(width()), "", place.lasting(cost)]
    return "\n".join(lines)


def fit_seconds(plan: SearchPlan, attempts: Sequence[Attempt], home: Home) -> list[float]:
    """What the fits of û of each finished seed took."""
    folders = {folder for one in attempts for folder in one.folders[: len(one.outcomes)]}
    results = [read_result(home, folder) for folder in sorted(folders)]
    return [one.fit_seconds for one in results if one is not None and one.pair_accuracy is not None]


def space_text(plan: SearchPlan) -> str:
    """A line a dimension."""
    width = max(map(len, plan.space.dimensions))
    lines = [f"{name:{width}}  {_words(dimension)}" for name, dimension in plan.space.dimensions.items()]
    goals = {"accuracy": "mean validation accuracy, the larger the better", "budget": "B, the smaller the better"}
    return "\n".join([*lines, f"Sought: {'; '.join(goals[name] for name in plan.objectives)}."])


def batch_lines(plan: SearchPlan, experiments: Sequence[Prepared], place: Place, store: Store) -> list[str]:
    """What each value of b brings: its missing trainings, and how many of them no other value needs."""
    sizes = plan.space.dimensions.get(BATCH)
    if not isinstance(sizes, Choice) or len(sizes.values) < 2:
        return []

    def missing(wanted: Sequence[Prepared]) -> int:
        return place.known_work(wanted, store).num_trainings

    everything, lines = missing(experiments), []
    for size in sizes.values:
        mine = [one for one in experiments if one.config.acquisition.batch_size == size]
        others = [one for one in experiments if one.config.acquisition.batch_size != size]
        lines.append(f"  b = {size}: {missing(mine)} trainings, {everything - missing(others)} of them for no other b")
    return lines


def status_text(plan: SearchPlan, attempts: Sequence[Attempt], home: Home) -> str:
    """What `tune status` prints."""
    words = {"COMPLETE": "complete", "PRUNED": "stopped early", "RUNNING": "running", "FAIL": "failed"}
    counts = [f"{sum(one.state == state for one in attempts)} {word}" for state, word in words.items()]
    spent = Spent(named_search(plan.name, home))
    lines = [
        space_text(plan),
        f"{plan.name}: {', '.join(counts)}.",
        f"Spent: {spent.seconds:.0f} s, {spent_trainings(spent, attempts)} trainings.",
    ]
    best = plan.best(attempts)
    if best is not None:
        setting = ", ".join(f"{name}={value}" for name, value in best.fields.items())
        lines.append(f"best: trial {best.number}, validation {percent(best.val_accuracy)}: {setting}")
    lines += [f"failed: trial {one.number}: {one.reason}" for one in attempts if one.state == "FAIL"]
    return "\n".join(lines)


def list_table(home: Home) -> Table:
    """What `tune list` prints: the searches of a home, how far they are and what they have cost so far."""
    header = ("search", "done", "running", "failed", "best validation %", "core-seconds", "trainings")
    leaving = ("running", "trainings", "core-seconds", "best validation %")
    return Table(header, [_listed(name, home) for name in home.folders(SEARCH.folder)], leaving=leaving)


def _listed(name: str, home: Home) -> tuple[str, ...]:
    try:
        plan = read_plan(home, name)
        if plan is None:
            return (name, "no plan", *[""] * 5)
        attempts = read_search(plan, storage_of(name, None, home)).attempts()
    except InvalidInput:  # a database elsewhere, whose address the plan does not keep
        return (name, "database elsewhere", *[""] * 5)
    best, running = plan.best(attempts), sum(one.state == "RUNNING" for one in attempts)
    done, failed = sum(one.is_finished for one in attempts), sum(one.state == "FAIL" for one in attempts)
    reached = "" if best is None else f"{100 * best.val_accuracy:.2f}"
    seconds = sum(outcome.seconds for one in attempts for outcome in one.outcomes)
    trainings = spent_trainings(Spent(named_search(name, home)), attempts)
    return (name, str(done), str(running), str(failed), reached, f"{seconds:.0f}", str(trainings))


def _attempts_so_far(plan: SearchPlan, settings: Settings, home: Home) -> list[Attempt]:
    """Those of a search that there is already; opening a database that there is not would make one."""
    old = read_plan(home, plan.name)
    if old is None:
        return []
    plan.check_same(old)
    path = file_of(database_url(storage_of(plan.name, settings.storage, home), "--storage"))
    if path is not None and not path.exists():
        return []
    try:
        return read_search(plan, storage_of(plan.name, settings.storage, home)).attempts()
    except InvalidInput:
        return []


def _words(dimension: Dimension) -> str:
    if isinstance(dimension, Choice):
        values = ", ".join(map(str, dimension.values))
        return values if len(dimension.values) > 1 else f"{values} (fixed)"
    if isinstance(dimension, Range):
        kind = "log-uniform" if dimension.log else "uniform"
        zero = "0, or " if dimension.zero else ""
        return f"{zero}{kind} from {dimension.low:g} to {dimension.high:g}"
    return f"whole numbers from {dimension.low} to {dimension.high}"
