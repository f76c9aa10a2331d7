"""What a trial's run shows: parameters, metrics, curves, data, files and the learned û, all from the trial's folder."""

import json
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cluster.tracking.entries import Entry
from cluster.tracking.model import log_utility_model
from rambo.errors import InvalidInput
from rambo.fields import from_nested, read_fields
from rambo.home import Home

ARTIFACTS = (
    *("config.json", "environment.json", "strategy.py", "classifier.py"),
    *("metrics.jsonl", "selected.csv", "held_out.csv", "result.json"),
)
"""Files of a trial's folder that its run shows, beside the figures and the model."""

CURVE_STEPS = 10
"""Every so many steps of a fit's loss one is shown; metrics.jsonl among the artifacts has all."""

DECIMALS = 4
"""Of the numbers that tables of runs show; result.json among the artifacts has all."""


class TrialContent:
    """The folder of a trial that has ended, as MLflow's client takes it."""

    def __init__(self, client: Any, uri: str, home: Home, entry: Entry) -> None:
        self._client, self._uri, self._home, self._entry = client, uri, home, entry
        self._folder = entry.folder

    def times(self) -> tuple[int, int]:
        """When the trial began and ended, in milliseconds.

        The environment says when it began; before it did, the last file to be written says when it ended. What took how
        long stands in the result.
        """
        failed = self._entry.failure is not None
        started = json.loads(self._read("environment.json") or b"{}").get("started")
        took = 0.0 if failed else sum(json.loads(self._read("result.json") or b"{}").get("seconds", {}).values())
        written = self._home.modified(f"{self._folder}/{'failure' if failed else 'result'}.json")
        ended = (time.time() if written is None else written) if started is None or failed else started + took
        return int(1000 * min(ended - took if started is None else started, ended)), int(1000 * ended)

    def show_on(self, run_id: str) -> None:
        """Log all of it on a run; raises `InvalidInput` where the folder lacks something or holds something spoilt."""
        from mlflow.entities import Metric, Param, RunTag

        result, config = self._json("result.json"), from_nested(self._json("config.json"))
        _, ended = self.times()
        numbers = {k: v for k, v in result.items() if isinstance(v, int | float) and k != "seed"}
        numbers |= {f"seconds/{stage}": value for stage, value in result["seconds"].items()}
        metrics = [Metric(k, round(float(v), DECIMALS), ended, 0) for k, v in numbers.items()]
        parameters = [Param(name, str(value)) for name, value in read_fields(config).items()]
        tags = {"config_id": result["config_id"], "data": result["data"], **self._source()}
        self._client.log_batch(run_id, metrics, parameters, [RunTag(*item) for item in tags.items()])
        curves = list(self._curves(ended))
        for start in range(0, len(curves), 1000):
            self._client.log_batch(run_id, metrics=curves[start : start + 1000])
        self._client.log_inputs(run_id, [data_input(result["data"], config.data.source)])
        self._log_files(run_id)
        if self._read("utility_model.json") is not None:
            self._log_model(run_id)

    def _source(self) -> dict[str, str]:
        """What the columns Source and Version show."""
        commit = json.loads(self._read("environment.json") or b"{}").get("commit")
        return source_tags("rambo", str(commit) if commit else "")

    def _read(self, name: str) -> bytes | None:
        return self._home.read(f"{self._folder}/{name}")

    def _json(self, name: str) -> dict[str, Any]:
        content = self._read(name)
        if content is None:
            raise InvalidInput(
                f"{self._home.path(self._folder)} must hold {name}, got a folder without; run the trial again."
            )
        parsed: dict[str, Any] = json.loads(content)
        return parsed

    def _curves(self, when: int) -> Iterator[Any]:
        from mlflow.entities import Metric

        for line in (self._read("metrics.jsonl") or b"").splitlines():
            row = json.loads(line)
            stage, step = row.pop("stage"), row.pop("step")
            if step % CURVE_STEPS == 1 or "inner_loss" not in row:
                for name, value in row.items():
                    yield Metric(f"{stage}/{_curve_name(name)}", value, when, step)

    def _log_files(self, run_id: str) -> None:
        names = [*ARTIFACTS, *(f"figures/{name}" for name in self._home.list(f"{self._folder}/figures"))]
        found = {name: content for name in names if (content := self._read(name)) is not None}
        with as_files(found) as local:
            self._client.log_artifacts(run_id, local)

    def _log_model(self, run_id: str) -> None:
        description = self._json("utility_model.json")
        weights = self._read("utility_model.safetensors") or b""
        try:
            log_utility_model(self._client, self._uri, run_id, self._entry, description, weights)
        except InvalidInput as error:
            raise InvalidInput(f"In {self._home.path(self._folder)}: {error}") from None


def data_input(data: str, source: str) -> Any:
    """The data set `data`, a name and a fingerprint, as a run's input from `source`."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    name, _, digest = data.rpartition("-")
    described = Dataset(name=name, digest=digest, source_type="local", source=json.dumps({"uri": source}))
    return DatasetInput(described, [InputTag("mlflow.data.context", "training")])


def source_tags(name: str, commit: str) -> dict[str, str]:
    """What has made a run, as MLflow shows it."""
    made = {"mlflow.source.name": name, "mlflow.source.type": "LOCAL"}
    return made | ({"mlflow.source.git.commit": commit} if commit else {})


def _curve_name(name: str) -> str:
    """metrics.jsonl has the natural logarithms of λ, which hypergradients descend on, under the name of λ."""
    return f"log_{name}" if name.startswith("lambda/") else name


@contextmanager
def as_files(content: Mapping[str, bytes]) -> Iterator[str]:
    """A folder that holds `content` by name, for clients that upload folders."""
    with tempfile.TemporaryDirectory() as folder:
        for name, data in content.items():
            path = Path(folder, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        yield folder
