"""Runs a study: whatever trials are missing, then tables, figures and MLflow, all from the trial folders."""

import json
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace

from ablations.margin import MARGIN
from ablations.plans import Key, StudyPlan, named_study, read_plan, read_study, with_margin
from ablations.report import SOMETIMES, render
from ablations.statistics import analyse, check_versions
from ablations.study import Study
from ablations.summary import DESCRIPTION, summary_of
from cluster.limits import UNLIMITED, Meter, Spending, Spent
from cluster.named import Showing
from cluster.place import Place
from cluster.tracking.pages import View
from cluster.tracking.server import tracking_uri
from cluster.trials import run_trials, unfinished
from rambo.formats import json_bytes
from rambo.home import Home
from rambo.preparation import Prepared
from rambo.progress import Progress
from rambo.training.trainer import TRAINING_VERSION

VIEWS = (
    View(
        key="cells",
        name="Cells: mean, standard error, n",
        columns=("metrics.n", "metrics.test_mean", "metrics.test_se", "metrics.val_mean", "metrics.val_se"),
        condition="tags.kind = 'cell'",
        order_by="metrics.test_mean",
    ),
    View(
        key="trials",
        name="Trials by cell",
        columns=("metrics.pair_accuracy", "metrics.test_accuracy", "metrics.val_accuracy"),
        condition="tags.kind = 'trial'",
        order_by="tags.seed",
        ascending=True,
        group_by="name",
    ),
)
"""How the study's runs can be looked at; MLflow orders metrics by name, and few columns fit a window."""

REPORTING = "reporting.json"
"""Beside the tables: how they judge."""


@dataclass(frozen=True)
class Reporting:
    """How results are judged and shown."""

    margin: float = MARGIN
    """Differences of accuracy below this are called equivalent."""
    allow_mixed: bool = False
    """Compare trials of several training versions, or cells with unequal seeds, and mark the tables."""
    reason: str | None = None
    """Why the margin is what it is, where somebody has said so."""


@dataclass(frozen=True)
class Again:
    """Trials that have ended and are to be run again all the same."""

    failed: bool = False
    """Those whose failure is final."""
    outdated: bool = False
    """Those that another training version than this code's has measured."""


@dataclass(frozen=True)
class Ended:
    """A study after a run: what there is to show."""

    study: Study
    files: Mapping[str, bytes]
    num_run: int
    """Trials that this command ran."""
    unpublished: str | None
    """What MLflow did not take, one sentence; None if it has everything."""
    pages: tuple[str, ...] | None
    """Where to look in MLflow, the report first; None where it never answered."""
    over: str | None = None
    """Why trials were left for another command, one sentence; None where a limit stopped none."""


def run_study(
    plan: StudyPlan,
    prepared: Mapping[Key, Prepared],
    place: Place,
    reporting: Reporting,
    *,
    again: Again,
    progress: Progress,
    spending: Spending = UNLIMITED,
) -> Ended:
    """Run what is missing of `plan`, as far as `spending` goes; tables of a study that it stops are marked.

    Raises `InvalidInput` where the study is another's or being run already, and where its trials would be of several
    training versions, unless `reporting` allows that or `again` brings them up to date.
    """
    home = place.home
    home.check_writable()
    tracking_uri(home)  # what is no address is refused before anything is written
    busy = f"--study {plan.name} must be run by one command at a time, got a second; wait for the first to end."
    with named_study(plan.name, home).alone(busy):
        check_plan(plan, home)
        plan = with_margin(plan, home, reporting.margin, reporting.reason)
        if again.outdated:
            for trial in outdated(plan, home):
                home.remove(f"{trial}/result.json")
        missing = unfinished(list(prepared.values()), home, retry_failed=again.failed)
        check_versions(versions_then(plan, home, missing), reporting.allow_mixed)
        keep_plan(plan, home)
        showing, meter = show_study(plan, home, progress), Meter(Spent(named_study(plan.name, home)), spending)
        run: list[Prepared] = []

        def publish(one: Prepared) -> None:
            run.append(one)
            for entry in plan.entries(home, one.folder):
                showing.publish(entry)

        try:
            for entry in plan.entries(home):
                showing.publish(entry)
            run_trials(missing, place, progress=progress, on_end=publish, meter=meter)
            if missing:
                meter.spent.keep()
            progress.say("writing tables and figures")
            with progress.doing("writing tables and figures"):
                marked = replace(reporting, allow_mixed=reporting.allow_mixed or meter.over is not None)
                files = write_report(read_study(plan, home), home, marked)
                ended = conclude(plan, home, files, marked, showing, num_run=len(run))
            return replace(ended, over=meter.over)
        except BaseException:  # an interrupt as well: what is done is shown, and nothing is left running
            with suppress(Exception):  # a disk that has gone away must not hide what came first
                meter.spent.keep()
                showing.close(summary_of(plan, read_study(plan, home), standing(plan, home)), "KILLED")
            raise


def sync_study(plan: StudyPlan, home: Home, reporting: Reporting, progress: Progress) -> Ended:
    """Show in MLflow what the trial folders hold, and run nothing; raises `InvalidInput` as `render` does."""
    busy = f"--study {plan.name} must be synced while nothing runs it, got one that is running."
    with named_study(plan.name, home).alone(busy):
        files = write_report(read_study(plan, home), home, reporting)
        showing = show_study(plan, home, progress)
        for entry in plan.entries(home):
            showing.publish(entry)
        return conclude(plan, home, files, reporting, showing, num_run=0)


def show_study(plan: StudyPlan, home: Home, progress: Progress) -> Showing:
    """The study's experiment in MLflow."""
    sync = f"python -m ablations sync --study {plan.name} --home {shlex.quote(home.root)}"
    cure = f"nothing is lost: once that is mended, {sync} shows them there."
    return Showing(named_study(plan.name, home), VIEWS, progress, cure=cure)


def conclude(
    plan: StudyPlan,
    home: Home,
    files: Mapping[str, bytes],
    reporting: Reporting,
    showing: Showing,
    *,
    num_run: int,
) -> Ended:
    """The report in MLflow, beside whatever of the trials is not there yet."""
    study = read_study(plan, home)
    found = analyse(study, **asdict(reporting))
    shown = showing.close(summary_of(plan, study, files, found), "FINISHED" if not study.missing else "FAILED")
    return Ended(study, files, num_run, shown.unpublished, shown.pages)


def outdated(plan: StudyPlan, home: Home) -> list[str]:
    """Folders of the finished trials that another training version than this code's has measured."""
    outcomes = read_study(plan, home).outcomes
    old = (plan.folders[key] for key, outcome in outcomes.items() if outcome.training_version != TRAINING_VERSION)
    return list(dict.fromkeys(old))


def versions_then(plan: StudyPlan, home: Home, missing: Sequence[Prepared]) -> Counter[int]:
    """How many trials have each training version once `missing` has run, those of a study that is retuned included."""
    study = read_study(plan, home)
    outcomes = (*study.outcomes.values(), *(study.fixed.outcomes.values() if study.fixed is not None else ()))
    versions = Counter(outcome.training_version for outcome in outcomes)
    to_run = {one.folder for one in missing}
    return versions + Counter(TRAINING_VERSION for folder in plan.folders.values() if folder in to_run)


def check_plan(plan: StudyPlan, home: Home) -> None:
    """Raise `InvalidInput` where `plan` would lose trials of the study that is there."""
    old = read_plan(home, plan.name)
    if old is not None:
        plan.check_extends(old)


def keep_plan(plan: StudyPlan, home: Home) -> None:
    """Write plan.json where it is new or larger than the one there is; refuse to lose trials."""
    check_plan(plan, home)
    named_study(plan.name, home).keep({"plan.json": plan.to_bytes()})


def write_report(study: Study, home: Home, reporting: Reporting) -> Mapping[str, bytes]:
    """Every table and figure of `study`, and how it is judged, written to its folder where it differs from there.

    What an earlier report has left and this one does not make is removed.
    """
    files = render(study, **asdict(reporting))
    named_study(study.name, home).keep_report({**files, REPORTING: json_bytes(asdict(reporting))}, SOMETIMES)
    return files


def kept_reporting(home: Home, name: str) -> Reporting:
    """How the study called `name` was judged when its tables were last written, at first as its plan says."""
    file, plan = f"{named_study(name, home).folder}/{REPORTING}", read_plan(home, name)
    cure = "remove it: the next report is judged as the plan says, or by --margin"
    kept = home.record(file, lambda content: Reporting(**json.loads(content)), cure)
    if kept is None and plan is not None and plan.margin is not None:
        return Reporting(plan.margin.value, reason=plan.margin.reason)
    return kept or Reporting()


def standing(plan: StudyPlan, home: Home) -> dict[str, bytes]:
    """The tables and sentences that the last report has left, for the description of a run that was interrupted."""
    named = named_study(plan.name, home)
    return {name: content for name in DESCRIPTION if (content := named.read(name)) is not None}
