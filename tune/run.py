"""Runs a search: one collection of what is known before, trials until a limit, then tables, figures and MLflow."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from cluster.collect import collect
from cluster.limits import Spent
from cluster.named import Showing
from cluster.nodes import check_nodes, files_of, own_of
from cluster.place import Place, settle
from cluster.runtime import connected
from cluster.tracking.content import DECIMALS, source_tags
from cluster.tracking.entries import BoardSummary
from cluster.tracking.names import last_parts
from cluster.tracking.pages import View
from cluster.tracking.server import tracking_uri
from rambo.config import Config
from rambo.fields import read_fields
from rambo.home import Home
from rambo.progress import Progress
from rambo.result import commit
from tune.driver import Driver
from tune.records import Attempt, SearchPlan, alone, entries, named_search
from tune.report import render, summary_text
from tune.search import Search, open_search
from tune.settings import Settings, check_plan, keep_plan, known_experiments, make_plan, most_trainings, storage_of
from tune.space import BATCH, Space

if TYPE_CHECKING:
    from tune.trials import Evaluate


@dataclass(frozen=True)
class SearchResult:
    """A search after a run."""

    plan: SearchPlan
    best: Config | None
    """The base configuration with the setting of the best complete trial; None where no trial is complete."""
    attempts: tuple[Attempt, ...]
    files: Mapping[str, bytes]
    num_run: int
    """Trials that ended in this run, those that were told what was known included."""
    ended: str
    """Why no further trial was begun, one sentence."""
    trainings: int
    """That the search has paid for so far."""
    seconds: float
    """That it has taken so far."""
    unpublished: str | None = None
    """What MLflow did not take, one sentence; None if it has everything."""
    pages: tuple[str, ...] | None = None
    """Where to look in MLflow, the table of runs first."""


def search(
    base: Config,
    space: Space,
    settings: Settings,
    place: Place,
    *,
    progress: Progress,
    run_seed: "Evaluate | None" = None,
) -> SearchResult:
    """Search `space` around `base` until a limit is reached, going on from what an earlier call has left.

    `run_seed` stands in for the experiment itself. Raises `InvalidInput` where the space, the settings or the place
    cannot be, where the name belongs to another search, or where this one is being run already.
    """
    plan = make_plan(base, space, settings, place.data_dir)
    home = place.home
    home.check_writable()
    with alone(settings.name, home):
        check_plan(plan, home)
        if settings.publishes:
            tracking_uri(home)  # what is no address is refused before anything is written
        with home.lock("searches/storage.lock"):  # two that make one database at once break it
            shared = None if settings.storage is None else home.root
            storage = storage_of(settings.name, settings.storage, home)
            memory = open_search(plan, storage, settings.sampler, settings.sampler_seed, shared)
        keep_plan(plan, home)
        memory.close_orphans()
        memory.start_from_base()
        return _Run(plan, settings, place, progress, memory).result(run_seed)


def write_report(plan: SearchPlan, attempts: Sequence[Attempt], home: Home) -> Mapping[str, bytes]:
    """Every table and figure of a search, written to its folder where it differs from what stands there."""
    files = render(plan, attempts)
    named_search(plan.name, home).keep_report(files)
    return files


def views(plan: SearchPlan) -> tuple[View, ...]:
    """How the search's runs can be looked at: the best first, with what was varied under names that fit a column."""
    fields = (f"tags.{name}" for name in last_parts(plan.space.dimensions).values())
    return (
        View(
            key="trials",
            name="Trials, the best first",
            columns=("metrics.val_accuracy", *fields, "tags.state"),
            condition="tags.kind = 'trial'",
            order_by="metrics.val_accuracy",
        ),
    )


def described(plan: SearchPlan) -> dict[str, Any]:
    """What its page says of how it was made."""
    base = read_fields(plan.base)
    return {
        "parameters": {
            name: str(value) for name, value in base.items() if name not in {"seed", *plan.space.dimensions}
        },
        "tags": {
            "seeds": ", ".join(map(str, plan.seeds)),
            "space": "; ".join(f"{name}={value}" for name, value in plan.space.described().items()),
            "data": plan.data,
            **source_tags("python -m tune", commit() or ""),
        },
        "data": (plan.data, plan.base.data.source),
    }


class _Run:
    """One command's part of a search, under its lock."""

    def __init__(self, plan: SearchPlan, settings: Settings, place: Place, progress: Progress, memory: Search) -> None:
        self._plan, self._settings, self._place = plan, settings, place
        self._progress, self._memory = progress, memory
        self._spent = Spent(named_search(plan.name, place.home))
        named, cure = named_search(plan.name, place.home), "the same command shows them later."
        self._showing = Showing(named, views(plan), progress, cure=cure) if settings.publishes else None
        self._driver = Driver(
            memory,
            plan,
            settings.limits,
            self._spent,
            place.home,
            place.data_dir,
            most_a_trial=0 if settings.limits.max_trainings is None else most_trainings(plan, place.data_dir),
            stops=settings.halves,
            on_end=self._publish,
        )
        self._num_run = 0

    def result(self, run_seed: "Evaluate | None") -> SearchResult:
        """Run what the limits allow, then write and show what came of it."""
        try:
            self._publish(None)
            if self._driver.why_over() is None:
                self._work(run_seed)
            self._spent.keep()
            self._progress.say("writing tables and figures")
            with self._progress.doing("writing tables and figures"):
                return self._conclude(str(self._driver.why_over()))
        except BaseException:  # an interrupt as well: nothing is left running, and its settings are tried again
            with suppress(Exception):  # a disk or a database that has gone away must not hide what came first
                self._memory.close_orphans()
                self._spent.keep()
                if self._showing:
                    self._showing.close(self._summary({}), "KILLED")
            raise

    def _work(self, run_seed: "Evaluate | None") -> None:
        place, limits = self._place, self._settings.limits
        with ExitStack() as inside:
            with self._progress.doing("starting Ray"):
                inside.enter_context(connected(place.most_workers))
                from tune.trials import evaluate, run_jobs

                share, resources = settle(place, self._progress)
                room = share.concurrency(resources)
                check_nodes(place.home, files_of([self._plan.base]), own_of([self._plan.base]))
            if run_seed is None:
                self._collect()
            finished = self._driver.num_finished
            self._progress.say(f"searching: {finished} of {limits.num_trials} trials are finished, {room} at a time")
            with self._progress.units("trials", limits.num_trials - finished) as units:
                run_jobs(
                    self._driver,
                    place,
                    share,
                    room=room,
                    run_seed=run_seed or evaluate,
                    on_step=self._spent.tick,
                    units=units,
                )

    def _collect(self) -> None:
        """Measure once for all trials what is known before the first of them."""
        place = self._place
        with self._progress.doing("looking up what the store has"):
            work = place.known_work(known_experiments(self._plan, place.data_dir))
        spent = self._driver.trainings + max(0, work.num_trainings - self._spent.collected)
        cure = f"list fewer values of {BATCH} and the like"
        self._settings.limits.spending.check_collection(work.num_trainings, spent, cure)
        if work.num_trainings or work.num_ot:
            self._spent.collect(work.num_trainings)
            self._progress.say(f"collecting {work}")
            collect(work, place.home, num_workers=place.num_workers, device=place.device, progress=self._progress)

    def _publish(self, number: int | None) -> None:
        """Show a trial that has ended in MLflow; None shows all that have."""
        self._num_run += number is not None
        if self._showing:
            for entry in entries(self._plan, self._memory.attempts()):
                if number is None or entry.tags["number"] == str(number):
                    self._showing.publish(entry)

    def _conclude(self, ended: str) -> SearchResult:
        attempts = self._memory.attempts()
        files = write_report(self._plan, attempts, self._place.home)
        best = self._plan.best(attempts)
        result = SearchResult(
            plan=self._plan,
            best=None if best is None else self._plan.config(best.fields),
            attempts=tuple(attempts),
            files=files,
            num_run=self._num_run,
            ended=ended,
            trainings=self._driver.trainings,
            seconds=self._spent.seconds,
        )
        if self._showing is None:
            return result
        shown = self._showing.close(self._summary(files))
        return replace(result, unpublished=shown.unpublished, pages=shown.pages)

    def _summary(self, files: Mapping[str, bytes]) -> BoardSummary:
        attempts = self._memory.attempts()
        best = self._plan.best(attempts)
        metrics = {"trials_finished": float(sum(one.is_finished for one in attempts))}
        metrics["trials_failed"] = float(sum(one.state == "FAIL" for one in attempts))
        metrics["trainings"] = float(self._driver.trainings)
        if best is not None:
            accuracies = {"val_accuracy": best.val_accuracy, "test_accuracy": best.test_accuracy}
            metrics |= {name: round(value, DECIMALS) for name, value in accuracies.items()}
        return BoardSummary(summary_text(self._plan, attempts), files, metrics, **described(self._plan))
