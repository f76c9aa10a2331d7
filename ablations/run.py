"""Runs a study: whatever trials are missing, then tables, figures and MLflow, all from the trial folders."""

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean

from ablations.plans import Key, Plan, read_plan, read_study, study_folder
from ablations.report import render
from ablations.study import Study
from cluster.tracking import Board, Publisher, Summary
from cluster.trials import Place, run_trials, unfinished
from rambo.home import Home
from rambo.preparation import Prepared
from rambo.progress import Progress

COLUMNS = (
    "tags.cell",
    "tags.seed",
    "metrics.test_accuracy",
    "metrics.val_accuracy",
    "metrics.base_test_accuracy",
    "metrics.pair_accuracy",
    "metrics.pair_ceiling",
    "metrics.label_agreement",
    "metrics.num_labelled",
)
"""What the experiment's page shows of each run, factors apart."""

LONGEST_DESCRIPTION = 7900
"""Characters; MLflow cuts what is longer with a warning."""


@dataclass(frozen=True)
class Reporting:
    """How results are judged and shown."""

    margin: float = 0.003
    """Differences of accuracy below this are called equivalent."""
    allow_mixed: bool = False
    """Compare trials of several training versions, or cells with unequal seeds, and mark the tables."""


@dataclass(frozen=True)
class Ended:
    """A study after a run: what there is to show."""

    study: Study
    files: Mapping[str, bytes]
    num_run: int
    """Trials that this command ran."""
    unpublished: str | None
    """What MLflow did not take, one sentence; None if it has everything."""
    pages: tuple[str, str]
    """In MLflow: the table of runs, and the study's own page."""


def run_study(
    plan: Plan,
    prepared: Mapping[Key, Prepared],
    place: Place,
    reporting: Reporting,
    *,
    retry_failed: bool,
    progress: Progress,
) -> Ended:
    """Run what is missing of `plan`; raises `InvalidInput` where the study is another's or being run already."""
    home, folder = place.home, study_folder(plan.name)
    home.check_writable()
    busy = f"--study {plan.name} must be run by one command at a time, got a second; wait for the first to end."
    with home.lock(f"{folder}/lock", busy):
        keep_plan(plan, home)
        missing = unfinished(list(prepared.values()), home, retry_failed=retry_failed)
        board = Board(home, f"ablations/{plan.name}", view_columns(plan))
        publisher = Publisher(board, progress)

        def publish(one: Prepared) -> None:
            for entry in plan.entries(home, plan.keys_of(one.folder)):
                publisher.publish(entry)

        try:
            for entry in plan.entries(home):
                publisher.publish(entry)
            run_trials(missing, place, progress=progress, on_end=publish)
            progress.say("writing tables and figures")
            return _conclude(plan, home, reporting, board, publisher, num_run=len(missing))
        except BaseException:  # an interrupt as well: what is done is shown, and nothing is left running
            study = read_study(plan, home)
            publisher.close(summary_of(study, {}), "KILLED")
            raise


def sync_study(plan: Plan, home: Home, reporting: Reporting, progress: Progress) -> Ended:
    """Show in MLflow what the trial folders hold, and run nothing."""
    busy = f"--study {plan.name} must be synced while nothing runs it, got one that is running."
    with home.lock(f"{study_folder(plan.name)}/lock", busy):
        board = Board(home, f"ablations/{plan.name}", view_columns(plan))
        publisher = Publisher(board, progress)
        for entry in plan.entries(home):
            publisher.publish(entry)
        return _conclude(plan, home, reporting, board, publisher, num_run=0)


def _conclude(
    plan: Plan, home: Home, reporting: Reporting, board: Board, publisher: Publisher, *, num_run: int
) -> Ended:
    """The report from the trial folders, in the study's folder and in MLflow."""
    study = read_study(plan, home)
    files = write_report(study, home, Reporting(reporting.margin, allow_mixed=True))
    left = publisher.close(summary_of(study, files), "FINISHED" if not study.missing else "FAILED")
    unpublished = None if publisher.reason is None else unpublished_sentence(plan, board, left, publisher.reason)
    return Ended(study, files, num_run, unpublished, (board.page(), board.parent_page()))


def keep_plan(plan: Plan, home: Home) -> None:
    """Write plan.json where it is new or larger than the one there is; refuse to lose trials."""
    name = f"{study_folder(plan.name)}/plan.json"
    old = read_plan(home, plan.name)
    if old is not None:
        plan.check_extends(old)
    if home.read(name) != plan.to_bytes():
        home.write(name, plan.to_bytes())


def write_report(study: Study, home: Home, reporting: Reporting) -> Mapping[str, bytes]:
    """Every table and figure of `study`, written to its folder where it differs from what stands there."""
    files = render(study, margin=reporting.margin, allow_mixed=reporting.allow_mixed)
    for name, content in files.items():
        path = f"{study_folder(study.name)}/{name}"
        if home.read(path) != content:
            home.write(path, content)
    return files


def summary_of(study: Study, files: Mapping[str, bytes]) -> Summary:
    """What the study's own page in MLflow shows."""
    text = [files[name].decode() for name in ("both.md", "table.md", "sentences.txt") if name in files]
    total = len(study.grid.cells) * len(study.grid.seeds)
    metrics = {
        "trials": float(total),
        "trials_finished": float(len(study.outcomes)),
        "trials_failed": float(len(study.failures)),
    }
    for cell in study.grid.cells:  # the description is folded on the study's page, metrics are not
        found = list(study.accuracies(cell).values())
        if found:
            metrics[f"test_accuracy/{cell.name.replace('=', ' ')}"] = fmean(found)
    return Summary("\n\n".join([f"# {study.name}", *text])[:LONGEST_DESCRIPTION], files, metrics)


def view_columns(plan: Plan) -> list[str]:
    """Columns of the experiment's page: the factors, then what came of them."""
    return [*(f"params.{factor.name}" for factor in plan.grid.factors), *COLUMNS]


def unpublished_sentence(plan: Plan, board: Board, left: int, reason: str) -> str:
    """What to do about results that MLflow did not take."""
    what = f"{left} trials" if left else "the study's summary"
    return (
        f"MLflow at {board.uri} did not take {what} ({reason}); nothing is lost: when it answers again, "
        f"python -m ablations sync --study {plan.name} shows them there."
    )
