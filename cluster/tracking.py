"""MLflow as a projection of trial folders: one writer, nothing that cannot be built again.

Trials write files; the driver alone talks to MLflow. A study is an experiment with one parent run and a child for each
trial, published from its folder by the same code whether the trial has just ended or the whole is rebuilt. A server
that is slow, down or refusing stops nothing: what it did not take is published by the next start, or by a sync.
"""

import hashlib
import json
import os
import queue
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster.credentials import masked
from rambo.errors import InvalidInput, require
from rambo.fields import flatten, from_nested
from rambo.home import Home
from rambo.progress import Progress

ARTIFACTS = ("config.json", "environment.json", "metrics.jsonl", "selected.csv", "held_out.csv", "result.json")
"""Files of a trial's folder that its run shows, beside the figures and the model."""

CURVE_STEPS = 10
"""Every so many steps of a fit's loss one is shown; metrics.jsonl among the artifacts has all."""

EXAMPLE_IMAGES = 4
"""Images in a logged model's input example; the model takes any number."""

VIEW = "study"
"""Key of the view with the right columns."""


@dataclass(frozen=True)
class Entry:
    """A trial as MLflow shall show it."""

    folder: str
    """Of the trial, relative to the home."""
    name: str
    """Of the run."""
    tags: Mapping[str, str]
    failure: str | None = None
    """Why there is no result, if so."""


@dataclass(frozen=True)
class Summary:
    """What the parent run shows at the end."""

    description: str
    """Markdown: the table, the sentences."""
    files: Mapping[str, bytes]
    metrics: Mapping[str, float]


def tracking_uri(home: Home) -> str:
    """MLFLOW_TRACKING_URI where it is set, else a SQLite file in the home."""
    uri = os.environ.get("MLFLOW_TRACKING_URI")
    if uri:
        return uri
    require(
        home.is_local,
        f"MLFLOW_TRACKING_URI must name a tracking server where --home is a URL, got none with {home.root}.",
    )
    return f"sqlite:///{home.path('mlflow.db')}"


def server_address(home: Home) -> str | None:
    """Where the pages of MLflow's server are; None where results are in a database, for which `serve` starts one."""
    uri = masked(tracking_uri(home)).rstrip("/")
    return uri if uri.startswith("http") else None


class Board:
    """One experiment of MLflow, as a projection of a study."""

    def __init__(self, home: Home, experiment: str, columns: Sequence[str]) -> None:
        """`columns`: what the experiment's view shows, such as `metrics.test_accuracy` or `tags.cell`."""
        _calm()
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
            self._fill(run_id, entry.folder)
        else:
            self._client.set_tag(run_id, "failure", entry.failure)
        self._client.set_tag(run_id, "digest", digest)  # last: a run without it is not whole
        self._client.set_terminated(run_id, "FAILED" if entry.failure else "FINISHED")
        self._known[entry.folder] = (run_id, digest)
        self._unsure = False

    def start(self) -> None:
        """Show the parent as running."""
        self._client.update_run(self._parent, status="RUNNING")

    def finish(self, summary: Summary, status: str) -> None:
        """Show `summary` on the parent run and end it with `status`: FINISHED, FAILED or KILLED."""
        from mlflow.entities import Metric

        if self._unsure:
            self._tidy()
        self._client.set_tag(self._parent, "mlflow.note.content", summary.description)
        self._client.set_experiment_tag(self._experiment, "mlflow.note.content", summary.description)
        now = int(time.time() * 1000)
        self._client.log_batch(self._parent, metrics=[Metric(k, v, now, 0) for k, v in summary.metrics.items()])
        with tempfile.TemporaryDirectory() as folder:
            for name, content in summary.files.items():
                path = Path(folder, name)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
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

    def _fill(self, run_id: str, folder: str) -> None:
        """Parameters, metrics, curves, data, files and model of a finished trial."""
        from mlflow.entities import Metric, Param, RunTag

        result, config = self._json(folder, "result.json"), from_nested(self._json(folder, "config.json"))
        now = int(time.time() * 1000)
        numbers = {k: float(v) for k, v in result.items() if isinstance(v, int | float) and k != "seed"}
        numbers |= {f"seconds/{stage}": value for stage, value in result["seconds"].items()}
        parameters = [Param(name, str(value)) for name, value in flatten(config).items()]
        tags = [RunTag("config_id", result["config_id"]), RunTag("data", result["data"])]
        self._client.log_batch(run_id, [Metric(k, v, now, 0) for k, v in numbers.items()], parameters, tags)
        curves = list(self._curves(folder, now))
        for start in range(0, len(curves), 1000):
            self._client.log_batch(run_id, metrics=curves[start : start + 1000])
        self._log_data(run_id, result["data"], config.data.source)
        self._log_files(run_id, folder)
        if self._home.read(f"{folder}/utility_model.json") is not None:
            self._log_model(run_id, folder)

    def _json(self, folder: str, name: str) -> dict[str, Any]:
        content = self._home.read(f"{folder}/{name}")
        if content is None:
            raise InvalidInput(
                f"{self._home.path(folder)} must hold {name}, got a folder without; run the trial again."
            )
        parsed: dict[str, Any] = json.loads(content)
        return parsed

    def _curves(self, folder: str, now: int) -> Iterator[Any]:
        from mlflow.entities import Metric

        for line in (self._home.read(f"{folder}/metrics.jsonl") or b"").splitlines():
            row = json.loads(line)
            stage, step = row.pop("stage"), row.pop("step")
            if step % CURVE_STEPS == 1 or "inner_loss" not in row:
                for name, value in row.items():
                    yield Metric(f"{stage}/{name}", value, now, step)

    def _log_data(self, run_id: str, data: str, source: str) -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag

        name, _, digest = data.rpartition("-")
        described = Dataset(name=name, digest=digest, source_type="local", source=json.dumps({"uri": source}))
        self._client.log_inputs(run_id, [DatasetInput(described, [InputTag("mlflow.data.context", "training")])])

    def _log_files(self, run_id: str, folder: str) -> None:
        names = [*ARTIFACTS, *(f"figures/{name}" for name in self._home.list(f"{folder}/figures"))]
        with tempfile.TemporaryDirectory() as local:
            for name in names:
                content = self._home.read(f"{folder}/{name}")
                if content is not None:
                    path = Path(local, name)
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(content)
            self._client.log_artifacts(run_id, local)

    def _log_model(self, run_id: str, folder: str) -> None:
        """û as a logged model that scores one set of n images, n free: an exported graph, nothing pickled."""
        import mlflow
        import numpy as np
        import torch
        from mlflow.models import ModelSignature
        from mlflow.types import Schema, TensorSpec
        from safetensors import SafetensorError
        from safetensors.torch import load

        from rambo.utility_model import SetUtilityModel

        description = self._json(folder, "utility_model.json")
        model = SetUtilityModel.from_description(description)
        try:
            model.load_state_dict(load(self._home.read(f"{folder}/utility_model.safetensors") or b""))
        except (SafetensorError, RuntimeError) as error:
            raise InvalidInput(
                f"{self._home.path(folder)}/utility_model.safetensors must be the weights that a trial left there, got "
                f"{type(error).__name__}; remove the folder and run the trial again."
            ) from None
        shape = tuple(description["input_shape"])
        example = np.random.default_rng(0).standard_normal((EXAMPLE_IMAGES, *shape), dtype=np.float32)
        floats = np.dtype(np.float32)
        inputs = Schema([TensorSpec(floats, (-1, *shape), name=None)])
        signature = ModelSignature(inputs, Schema([TensorSpec(floats, (-1,), name=None)]))
        with _fluent(self._uri), mlflow.start_run(run_id=run_id):
            mlflow.pytorch.log_model(
                model.eval(),
                name="utility_model",
                signature=signature,
                input_example=example,
                pip_requirements=[f"torch=={torch.__version__.split('+')[0]}", f"numpy=={np.__version__}"],
                metadata={"takes": "normalised images of one set", "returns": "score: larger is better"},
            )

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


class Publisher:
    """Publishes from a thread of its own, so that no trial waits for MLflow, and survives its silence."""

    RETRY_SECONDS = 30.0
    """Time between two attempts at a server that did not answer."""

    def __init__(self, board: Board, progress: Progress) -> None:
        self._board, self._progress = board, progress
        self._queue: queue.Queue[Entry | None] = queue.Queue()
        self._left: list[Entry] = []
        self._refused: dict[str, str] = {}
        self._opened = False
        self.num_published = 0
        """Trials that MLflow has taken, those that it had before included."""
        self._tried = float("-inf")
        self._silence: str | None = None
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    @property
    def reason(self) -> str | None:
        """Why something is not published, None if all is well."""
        if self._silence is not None or not self._refused:
            return self._silence
        return f"{'; '.join(self._refused)}: {next(iter(self._refused.values()))}"

    def publish(self, entry: Entry) -> None:
        """Show `entry` soon."""
        self._queue.put(entry)

    def close(self, summary: Summary, status: str = "FINISHED") -> int:
        """Show all that is left and `summary`; how many trials MLflow did not take."""
        self._queue.put(None)
        self._thread.join()
        self._tried = float("-inf")
        self._flush()
        if not self._left:
            self._attempt(lambda: self._board.finish(summary, status))
        return len(self._left) + len(self._refused)

    def _work(self) -> None:
        self._flush()
        while (entry := self._queue.get()) is not None:
            self._left.append(entry)
            self._flush()

    def _flush(self) -> None:
        if time.monotonic() - self._tried < self.RETRY_SECONDS:
            return
        if not self._opened:
            self._opened = self._attempt(self._open)
        while self._opened and self._left and self._attempt(lambda: self._publish(self._left[0])):
            self._left.pop(0)

    def _open(self) -> None:
        self._board.open()
        self._board.start()

    def _publish(self, entry: Entry) -> None:
        """Show `entry`; what cannot be shown for a reason of its own keeps no other back."""
        from mlflow.exceptions import MlflowException

        try:
            self._board.publish(entry)
            self.num_published += 1
        except (MlflowException, OSError) as error:
            if getattr(error, "error_code", "") != "INVALID_PARAMETER_VALUE":
                raise
            self._refused[entry.name] = masked(_reason(error))
        except Exception as error:  # whatever is wrong with its files: the study goes on and its end says so
            self._refused[entry.name] = masked(_reason(error))

    def _attempt(self, call: Any) -> bool:
        from mlflow.exceptions import MlflowException

        try:
            call()
        except (MlflowException, OSError, InvalidInput) as error:
            if self._silence is None:
                self._progress.say(f"MLflow at {self._board.uri} does not take results now; they are kept in the home.")
            self._silence = masked(_reason(error))
            self._tried = time.monotonic()
            return False
        self._silence = None
        return True


def _reason(error: Exception) -> str:
    """What a server said, in one sentence; what to do where it wants to know who asks."""
    said = (str(error).strip().splitlines() or ["no message"])[0].rstrip(".")
    if getattr(error, "error_code", "") in ("UNAUTHENTICATED", "PERMISSION_DENIED") or "error code 401" in said:
        return f"{said}: MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD must be those of a user there"
    return said


def serve(home: Home, port: int) -> None:
    """MLflow's pages on the home, for this machine alone, until they are stopped."""
    uri = tracking_uri(home)
    require(
        uri.startswith("sqlite:"),
        f"MLFLOW_TRACKING_URI must be unset to serve the home, got {masked(uri)}: look there.",
    )
    exists = home.read("mlflow.db") is not None
    require(exists, f"--home must hold results, got {home.root} without an mlflow.db; run a study first.")
    _calm()
    print(f"http://127.0.0.1:{port} until Ctrl-C", flush=True)
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    place = ["--backend-store-uri", uri, "--artifacts-destination", Path(home.path("mlartifacts")).as_uri()]
    command = [sys.executable, "-m", "mlflow", "server", *place, "--host", "127.0.0.1", "--port", str(port)]
    os.execve(sys.executable, [*command, "--workers", "1"], environment)


@contextmanager
def _fluent(uri: str) -> Iterator[None]:
    """MLflow's module-level functions write to `uri` within.

    They keep it in MLFLOW_TRACKING_URI, where the next study of this process, or of a child, would take it for the
    user's word.
    """
    import mlflow

    before = os.environ.get("MLFLOW_TRACKING_URI")
    mlflow.set_tracking_uri(uri)
    try:
        yield
    finally:
        mlflow.set_tracking_uri(before)  # type: ignore[arg-type]  # None unsets it


def _calm() -> None:
    """No telemetry, few retries, no line for each run: set before MLflow is imported, unless the user has set them."""
    for name, value in (
        ("MLFLOW_LOGGING_LEVEL", "ERROR"),
        ("MLFLOW_DISABLE_TELEMETRY", "true"),
        ("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true"),
        ("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1"),
        ("MLFLOW_HTTP_REQUEST_TIMEOUT", "30"),
        ("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false"),
    ):
        os.environ.setdefault(name, value)
