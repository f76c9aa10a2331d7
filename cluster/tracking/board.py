"""One experiment of MLflow as a projection of a study: its parent run, a child for each trial and cell, its views."""

import hashlib
import json
import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from typing import Any

from cluster.credentials import masked
from cluster.databases import file_of, knock, refuse_tables_of_others
from cluster.tracking.content import TrialContent, as_files, data_input
from cluster.tracking.entries import BoardSummary, CellRun, Entry, fitted
from cluster.tracking.experiment import PARENT, find_experiment, home_id
from cluster.tracking.names import metric_name, short_name
from cluster.tracking.pages import FRONT, View, run_page, runs_page
from cluster.tracking.server import VARIABLE, calm, is_database, tracking_uri
from rambo.home import Home

LONGEST_NOTE = 8000
"""Characters of a run's description; MLflow cuts what is longer in silence."""

LONGEST_EXPERIMENT_NOTE = 20_000
"""The same of an experiment's, beyond which it is refused."""

MOST_METRICS = 1000
"""That MLflow takes at once."""

MOST_PARAMETERS = 100

SHOWN_AS = 2
"""Raised by hand when a run shows other things of the same trial or cell: what stands there is then replaced."""

TRIAL, CELL = "trial", "cell"
"""Tag `kind` of runs, beside that of the parent."""


class Board:
    """One experiment of MLflow, as a projection of a study."""

    def __init__(self, home: Home, experiment: str, views: Sequence[View]) -> None:
        """`views`: what is offered to look at its runs, the best first."""
        calm()
        self._home, self._name, self._views = home, short_name(experiment), views
        self._uri = tracking_uri(home)
        self.uri = masked(self._uri)
        """To be shown; a password that it carries is not."""
        self._client: Any = None
        self._experiment = self._parent = self._front = ""
        self._known: dict[str, tuple[str, str]] = {}
        """By trial: its run and its digest."""
        self._shown: set[str] = set()
        """Trials that were handed over."""
        self._ours: dict[str, str] = {}
        """What the parent says of the home."""
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
        created = int(self._client.get_experiment(self._experiment).creation_time or 0)
        for view in self._views:
            self._client.set_experiment_tag(self._experiment, view.tag, view.content(created))
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
            self._delete(known[0])
        content = TrialContent(self._client, self._uri, self._home, entry)
        started, ended = content.times()
        now = str(time.time_ns())
        tags = {**entry.tags, "kind": TRIAL, "trial": entry.folder, "mlflow.parentRunId": self._parent, "shown": now}
        named = {"tags": tags, "run_name": short_name(entry.name)}
        run_id = self._client.create_run(self._experiment, start_time=started, **named).info.run_id
        if entry.failure is None:
            content.show_on(run_id)
        else:
            self._client.set_tag(run_id, "failure", entry.failure)
        self._client.set_tag(run_id, "digest", digest)  # last: a run without it is not whole
        self._client.set_terminated(run_id, "FAILED" if entry.failure else "FINISHED", end_time=ended)
        self._known[entry.folder] = (run_id, digest)
        self._unsure = False

    def start(self) -> None:
        """Show the parent as running."""
        self._client.update_run(self._parent, status="RUNNING")

    def finish(self, summary: BoardSummary, status: str) -> None:
        """Show `summary` on the parent run and end it with `status`: FINISHED, FAILED or KILLED.

        A trial that was not handed over is the study's no more, unless it was KILLED before it could be; the runs of
        cells are then left as they are, since there is little time.
        """
        if self._unsure:
            self._tidy()
        if status != "KILLED":
            for trial in set(self._known) - self._shown:
                self._delete(self._known.pop(trial)[0])
            self._renew_parent(summary)
            self._show_cells(summary.cells)
        self._front = summary.front if summary.front in summary.files else self._front
        with as_files(summary.files) as folder:
            self._client.log_artifacts(self._parent, folder)
        self._show_above(summary)
        self._client.set_terminated(self._parent, status)

    def update(self, summary: BoardSummary) -> None:
        """Show how things stand on the parent run, which goes on."""
        with as_files(summary.files) as folder:
            self._client.log_artifacts(self._parent, folder)
        self._show_above(summary)

    @property
    def pages(self) -> tuple[str, ...]:
        """Where in the user interface to look: the result at once, the table of runs in each view, the parent run."""
        views = [runs_page(self._experiment, view.key) for view in self._views]
        parent = run_page(self._experiment, self._parent)
        front = [run_page(self._experiment, self._parent, self._front)] if self._front else []
        return (*front, *views, parent)

    def _show_above(self, summary: BoardSummary) -> None:
        """All but the files on the parent run, and the description on the experiment as well."""
        from mlflow.entities import Metric, Param, RunTag

        file = summary.front or "artifacts"
        link = f"[{file}]({run_page(self._experiment, self._parent, self._front).removeprefix('/')})"
        text = f"The whole of it is in {link}.\n\n{summary.description}" if self._front else summary.description
        rest = f"The rest is too long for this place: it is in {link} of the run {self._name}."
        self._client.set_tag(self._parent, "mlflow.note.content", fitted(text, LONGEST_NOTE, rest))
        note = fitted(text, LONGEST_EXPERIMENT_NOTE, rest)
        self._client.set_experiment_tag(self._experiment, "mlflow.note.content", note)
        now = int(time.time() * 1000)
        metrics = [Metric(metric_name(name), value, now, 0) for name, value in summary.metrics.items()]
        for start in range(0, len(metrics), MOST_METRICS):
            self._client.log_batch(self._parent, metrics=metrics[start : start + MOST_METRICS])
        standing = self._client.get_run(self._parent)
        taken = standing.data.params
        parameters = [Param(name, value) for name, value in summary.parameters.items() if name not in taken]
        for start in range(0, len(parameters), MOST_PARAMETERS):
            self._client.log_batch(self._parent, params=parameters[start : start + MOST_PARAMETERS])
        tags = [RunTag(name, value) for name, value in {**summary.tags, FRONT: self._front}.items()]
        self._client.log_batch(self._parent, tags=tags)
        if summary.data is not None and not standing.inputs.dataset_inputs:
            self._client.log_inputs(self._parent, [data_input(*summary.data)])

    def _renew_parent(self, summary: BoardSummary) -> None:
        """Another parent where this one holds what is so no more: MLflow takes no parameter and no metric back."""
        standing, names = self._client.get_run(self._parent).data, set(map(metric_name, summary.metrics))
        moved = {name for name, value in standing.params.items() if summary.parameters.get(name) != value}
        if moved or set(standing.metrics) - names:
            old, self._parent = self._parent, self._new_parent()
            self._delete(old)
            self._tidy()

    def _show_cells(self, cells: Sequence[CellRun]) -> None:
        """One run for each of `cells` as it is now, under the parent; those of others and older ones go."""
        wanted = {cell.cell: (cell, self._digest_of(vars(cell))) for cell in cells}
        for run in list(self._search(f"tags.kind = '{CELL}'")):
            tags = run.data.tags
            kept = wanted.get(tags.get("cell", ""))
            if kept is None or tags.get("digest") != kept[1] or run.info.status == "RUNNING":
                self._discard(run)
                continue
            del wanted[tags["cell"]]
            self._adopt(run)
        for cell, digest in wanted.values():
            self._show_cell(cell, digest)

    def _show_cell(self, cell: CellRun, digest: str) -> None:
        from mlflow.entities import Metric, Param

        now = int(time.time() * 1000)
        tags = {"kind": CELL, "cell": cell.cell, "mlflow.parentRunId": self._parent}
        run_id = self._client.create_run(self._experiment, tags=tags, run_name=short_name(cell.name)).info.run_id
        metrics = [Metric(name, value, now, 0) for name, value in cell.metrics.items()]
        self._client.log_batch(run_id, metrics, [Param(name, value) for name, value in cell.parameters.items()])
        self._client.set_tag(run_id, "digest", digest)
        self._client.set_terminated(run_id, "FINISHED")

    def _is_file(self, local: bool) -> bool:
        return local and file_of(self._uri) is not None

    def _find_parent(self, owner: str) -> str:
        """The newest that stands there, alone; a new one where there is none."""
        self._ours = {"home": owner, "home_path": self._home.root}
        condition = " AND ".join(f"tags.{name} = '{value}'" for name, value in PARENT.items())
        found = [run for run in self._search(condition) if run.data.tags.get("home", owner) == owner]
        if not found:
            return self._new_parent()
        newest, *others = sorted(found, key=lambda run: run.info.start_time, reverse=True)
        for run in others:
            self._discard(run)
        for name, value in self._ours.items():
            self._client.set_tag(newest.info.run_id, name, value)
        self._front = newest.data.tags.get(FRONT, "")
        return str(newest.info.run_id)

    def _new_parent(self) -> str:
        tags = {**PARENT, **self._ours}
        return str(self._client.create_run(self._experiment, tags=tags, run_name=self._name).info.run_id)

    def _tidy(self) -> None:
        """Leave one whole run of each trial, under the parent, and end and delete what is half published or twice."""
        self._known = {}
        runs = [run for run in self._search("tags.trial != ''") if "mlflow.parentRunId" in run.data.tags]
        for run in sorted(runs, key=lambda run: int(run.data.tags.get("shown", 0)), reverse=True):
            trial, digest = run.data.tags["trial"], run.data.tags.get("digest")
            if digest is None or run.info.status == "RUNNING" or trial in self._known:
                self._discard(run)
                continue
            self._adopt(run)
            self._known[trial] = (run.info.run_id, digest)
        self._unsure = False

    def _adopt(self, run: Any) -> None:
        if run.data.tags.get("mlflow.parentRunId") != self._parent:
            self._client.set_tag(run.info.run_id, "mlflow.parentRunId", self._parent)

    def _discard(self, run: Any) -> None:
        if run.info.status == "RUNNING":
            self._client.set_terminated(run.info.run_id, "KILLED")
        self._delete(run.info.run_id)

    def _delete(self, run_id: str) -> None:
        """With its models, which MLflow would go on to show; without a digest, it is not whole where it is restored."""
        for model in self._client.search_logged_models([self._experiment], f"source_run_id = '{run_id}'"):
            self._client.delete_logged_model(model.model_id)
        if "digest" in self._client.get_run(run_id).data.tags:
            self._client.delete_tag(run_id, "digest")
        self._client.delete_run(run_id)

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
        return self._digest_of([entry.name, sorted(entry.tags.items())], content or b"")

    def _digest_of(self, described: Any, content: bytes = b"") -> str:
        return hashlib.sha256(json.dumps([SHOWN_AS, described]).encode() + content).hexdigest()[:16]
