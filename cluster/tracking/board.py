"""One experiment of MLflow as a projection of a study: its parent run, a child for each trial, its view."""

import hashlib
import json
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from cluster.credentials import masked
from cluster.tracking.content import TrialContent, as_files
from cluster.tracking.entries import BoardSummary, Entry
from cluster.tracking.server import calm, tracking_uri
from rambo.errors import require
from rambo.home import Home

VIEW = "study"
"""Key of the view with the right columns."""


class Board:
    """One experiment of MLflow, as a projection of a study."""

    def __init__(self, home: Home, experiment: str, columns: Sequence[str]) -> None:
        """`columns`: what the experiment's view shows, such as `metrics.test_accuracy` or `tags.cell`."""
        calm()
        self._home, self._name, self._columns = home, experiment, columns
        self._uri = tracking_uri(home)
        self.uri = masked(self._uri)
        """To be shown; a password that it carries is not."""
        self._client: Any = None
        self._experiment = self._parent = ""
        self._known: dict[str, tuple[str, str]] = {}
        self._unsure = False
        """Whether a trial was begun and not ended, or a server may have taken what it did not confirm."""

    @property
    def is_open(self) -> bool:
        """Whether the pages are known."""
        return bool(self._parent)

    def open(self) -> None:
        """Find or make the experiment and its parent run; end whatever a killed driver has left RUNNING.

        Raises `InvalidInput` where the experiment is another home's, whose driver may be at work.
        """
        from mlflow import MlflowClient

        local = self._uri.startswith("sqlite:///")
        with self._home.lock("mlflow.lock") if local else nullcontext():  # two that make one database break it
            self._client = MlflowClient(self._uri)
            found = self._client.get_experiment_by_name(self._name)
            self._experiment = found.experiment_id if found else self._create(local)
        parent = self._find_parent()
        self._client.set_experiment_tag(self._experiment, f"mlflow.sharedViewState.{VIEW}", self._view())
        self._parent = parent
        self._tidy()

    def publish(self, entry: Entry) -> None:
        """Show a trial; one that stands there as it is now is left alone, an older one is replaced.

        Raises `InvalidInput` where its folder cannot be shown.
        """
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
        run_id = self._client.create_run(self._experiment, tags=tags, run_name=entry.name).info.run_id
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
        """Show `summary` on the parent run and end it with `status`: FINISHED, FAILED or KILLED."""
        from mlflow.entities import Metric

        if self._unsure:
            self._tidy()
        self._client.set_tag(self._parent, "mlflow.note.content", summary.description)
        self._client.set_experiment_tag(self._experiment, "mlflow.note.content", summary.description)
        now = int(time.time() * 1000)
        self._client.log_batch(self._parent, metrics=[Metric(k, v, now, 0) for k, v in summary.metrics.items()])
        with as_files(summary.files) as folder:
            self._client.log_artifacts(self._parent, folder)
        self._client.set_terminated(self._parent, status)

    def page(self) -> str:
        """Where in the user interface the table of runs is."""
        return f"/#/experiments/{self._experiment}/runs?viewStateShareKey={VIEW}"

    def parent_page(self) -> str:
        """Where in the user interface the parent run is."""
        return f"/#/experiments/{self._experiment}/runs/{self._parent}"

    def _create(self, local: bool) -> str:
        root = Path(self._home.path("mlartifacts")).as_uri() if local else None
        location = f"{root}/{hashlib.sha256(self._name.encode()).hexdigest()[:12]}" if root else None
        created: str = self._client.create_experiment(self._name, artifact_location=location)
        return created

    def _find_parent(self) -> str:
        runs = self._client.search_runs([self._experiment], filter_string="tags.kind = 'study'", max_results=1)
        ours = {"home": self._home_id(), "home_path": self._home.root}
        if not runs:
            tags = {"kind": "study", "cell": "(the study)", **ours}
            return str(self._client.create_run(self._experiment, tags=tags, run_name=self._name).info.run_id)
        [run] = runs
        require(
            run.data.tags.get("home", ours["home"]) == ours["home"],
            f"The experiment {self._name} must be of the home {self._home.root}, got that of "
            f"{run.data.tags.get('home_path')}; choose another --study, or rename the experiment there",
        )
        for name, value in ours.items():
            self._client.set_tag(run.info.run_id, name, value)
        return str(run.info.run_id)

    def _home_id(self) -> str:
        """What tells this home from all others, wherever it is moved to."""
        with self._home.lock("mlflow.lock"):
            content = self._home.read("id")
            if content is None:
                content = uuid.uuid4().hex.encode()
                self._home.write("id", content)
        return content.decode()

    def _tidy(self) -> None:
        """End and delete trials that are half published, and look what stands there."""
        for run in self._search("attributes.status = 'RUNNING'"):
            if run.info.run_id != self._parent:
                self._client.set_terminated(run.info.run_id, "KILLED")
                self._client.delete_run(run.info.run_id)
        self._known = self._children()
        self._unsure = False

    def _children(self) -> dict[str, tuple[str, str]]:
        found = {}
        for run in self._search(f"tags.`mlflow.parentRunId` = '{self._parent}'"):
            found[run.data.tags["trial"]] = (run.info.run_id, run.data.tags.get("digest", ""))
        return found

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
