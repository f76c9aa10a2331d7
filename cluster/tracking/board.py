"""One experiment of MLflow as a projection of a study: its parent run, a child for each trial, its view."""

import hashlib
import json
import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from typing import Any

from cluster.credentials import masked
from cluster.databases import file_of, knock, refuse_tables_of_others
from cluster.tracking.content import TrialContent, as_files
from cluster.tracking.entries import BoardSummary, Entry
from cluster.tracking.experiment import PARENT, find_experiment, home_id
from cluster.tracking.names import metric_name, short_name
from cluster.tracking.server import VARIABLE, calm, is_database, tracking_uri
from rambo.home import Home

VIEW = "study"
"""Key of the view with the right columns."""

LONGEST_NOTE = 7900
"""Characters of a description; MLflow cuts what is longer with a warning, or refuses it."""

MOST_METRICS = 1000
"""That MLflow takes at once."""


class Board:
    """One experiment of MLflow, as a projection of a study."""

    def __init__(self, home: Home, experiment: str, columns: Sequence[str]) -> None:
        """`columns`: what the experiment's view shows, such as `metrics.test_accuracy` or `tags.cell`."""
        calm()
        self._home, self._name, self._columns = home, short_name(experiment), columns
        self._uri = tracking_uri(home)
        self.uri = masked(self._uri)
        """To be shown; a password that it carries is not."""
        self._client: Any = None
        self._experiment = self._parent = ""
        self._known: dict[str, tuple[str, str]] = {}
        """By trial: its run and its digest."""
        self._shown: set[str] = set()
        """Trials that were handed over."""
        self._unsure = False
        """Whether a trial was begun and not ended, or a server may have taken what it did not confirm."""

    @property
    def is_open(self) -> bool:
        """Whether the pages are known."""
        return bool(self._parent)

    def open(self) -> None:
        """Find or make the experiment and its parent run; end whatever a killed driver has left RUNNING.

        Raises `InvalidInput` where the experiment is another home's, whose driver may be at work, or something else's.
        """
        owner, local = home_id(self._home), is_database(self._uri)
        with self._home.lock("mlflow.lock") if self._is_file(local) else nullcontext():  # two that make one break it
            if local:
                tables = knock(self._uri)  # MLflow would try for minutes
                refuse_tables_of_others(self._uri, tables, "experiments", VARIABLE)
            from mlflow import MlflowClient

            self._client = MlflowClient(self._uri)
            location = f"{self._home.url('mlartifacts')}/{hashlib.sha256(self._name.encode()).hexdigest()[:12]}"
            self._experiment = find_experiment(self._client, self._name, self._home, owner, location if local else None)
        parent = self._find_parent(owner)
        self._client.set_experiment_tag(self._experiment, f"mlflow.sharedViewState.{VIEW}", self._view())
        self._parent = parent
        self._tidy()

    def publish(self, entry: Entry) -> None:
        """Show a trial; one that stands there as it is now is left alone, an older one is replaced.

        Raises `InvalidInput` where its folder cannot be shown.
        """
        self._shown.add(entry.folder)
        if self._unsure:
            self._tidy()
        digest = self._digest(entry)
        known = self._known.get(entry.folder)
        if known is not None and known[1] == digest:
            return
        self._unsure = True
        if known is not None:
            self._client.delete_run(known[0])
        tags = {**entry.tags, "trial": entry.folder, "mlflow.parentRunId": self._parent}
        run_id = self._client.create_run(self._experiment, tags=tags, run_name=short_name(entry.name)).info.run_id
        if entry.failure is None:
            TrialContent(self._client, self._uri, self._home, entry.folder).show_on(run_id)
        else:
            self._client.set_tag(run_id, "failure", entry.failure)
        self._client.set_tag(run_id, "digest", digest)  # last: a run without it is not whole
        self._client.set_terminated(run_id, "FAILED" if entry.failure else "FINISHED")
        self._known[entry.folder] = (run_id, digest)
        self._unsure = False

    def start(self) -> None:
        """Show the parent as running."""
        self._client.update_run(self._parent, status="RUNNING")

    def finish(self, summary: BoardSummary, status: str) -> None:
        """Show `summary` on the parent run and end it with `status`: FINISHED, FAILED or KILLED.

        A trial that was not handed over is the study's no more, unless it was KILLED before it could be.
        """
        from mlflow.entities import Metric

        if self._unsure:
            self._tidy()
        for trial in set(self._known) - self._shown if status != "KILLED" else ():
            self._client.delete_run(self._known.pop(trial)[0])
        note = summary.description[:LONGEST_NOTE]
        self._client.set_tag(self._parent, "mlflow.note.content", note)
        self._client.set_experiment_tag(self._experiment, "mlflow.note.content", note)
        now = int(time.time() * 1000)
        metrics = [Metric(metric_name(name), value, now, 0) for name, value in summary.metrics.items()]
        for start in range(0, len(metrics), MOST_METRICS):
            self._client.log_batch(self._parent, metrics=metrics[start : start + MOST_METRICS])
        with as_files(summary.files) as folder:
            self._client.log_artifacts(self._parent, folder)
        self._client.set_terminated(self._parent, status)

    def page(self) -> str:
        """Where in the user interface the table of runs is."""
        return f"/#/experiments/{self._experiment}/runs?viewStateShareKey={VIEW}"

    def parent_page(self) -> str:
        """Where in the user interface the parent run is."""
        return f"/#/experiments/{self._experiment}/runs/{self._parent}"

    def _is_file(self, local: bool) -> bool:
        return local and file_of(self._uri) is not None

    def _find_parent(self, owner: str) -> str:
        """The newest that stands there, alone; a new one where there is none."""
        ours = {"home": owner, "home_path": self._home.root}
        condition = " AND ".join(f"tags.{name} = '{value}'" for name, value in PARENT.items())
        found = [run for run in self._search(condition) if run.data.tags.get("home", owner) == owner]
        if not found:
            tags = {**PARENT, **ours}
            return str(self._client.create_run(self._experiment, tags=tags, run_name=self._name).info.run_id)
        newest, *others = sorted(found, key=lambda run: run.info.start_time, reverse=True)
        for run in others:
            self._discard(run)
        for name, value in ours.items():
            self._client.set_tag(newest.info.run_id, name, value)
        return str(newest.info.run_id)

    def _tidy(self) -> None:
        """Leave one whole run of each trial, under the parent, and end and delete what is half published or twice."""
        self._known = {}
        runs = [run for run in self._search("tags.trial != ''") if "mlflow.parentRunId" in run.data.tags]
        for run in sorted(runs, key=lambda run: run.info.start_time, reverse=True):
            trial, digest = run.data.tags["trial"], run.data.tags.get("digest")
            if digest is None or run.info.status == "RUNNING" or trial in self._known:
                self._discard(run)
                continue
            if run.data.tags["mlflow.parentRunId"] != self._parent:
                self._client.set_tag(run.info.run_id, "mlflow.parentRunId", self._parent)
            self._known[trial] = (run.info.run_id, digest)
        self._unsure = False

    def _discard(self, run: Any) -> None:
        if run.info.status == "RUNNING":
            self._client.set_terminated(run.info.run_id, "KILLED")
        self._client.delete_run(run.info.run_id)

    def _search(self, condition: str) -> Iterator[Any]:
        token = None
        while True:
            page = self._client.search_runs([self._experiment], condition, max_results=1000, page_token=token)
            yield from page
            token = page.token
            if not token:
                return

    def _digest(self, entry: Entry) -> str:
        content = self._home.read(f"{entry.folder}/result.json") if entry.failure is None else entry.failure.encode()
        described = json.dumps([entry.name, sorted(entry.tags.items())]).encode()
        return hashlib.sha256(described + (content or b"")).hexdigest()[:16]

    def _view(self) -> str:
        state = {
            "orderByKey": "tags.`cell`",  # by time, children would be folded away under their parent
            "orderByAsc": True,
            "searchFilter": "",
            "startTime": "ALL",
            "lifecycleFilter": "Active",
            "modelVersionFilter": "All Runs",
            "datasetsFilter": [],
            "selectedColumns": [f"{kind}.`{name}`" for kind, _, name in (c.partition(".") for c in self._columns)],
            "runsExpanded": {},
            "runsPinned": [],
            "runsHidden": [],
        }
        return json.dumps(state)
