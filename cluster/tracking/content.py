"""What a trial's run shows: parameters, metrics, curves, data, files and the learned û, all from the trial's folder."""

import json
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cluster.tracking.server import writing_to
from rambo.errors import InvalidInput
from rambo.fields import flatten, from_nested
from rambo.home import Home

ARTIFACTS = (
    *("config.json", "environment.json", "strategy.py"),
    *("metrics.jsonl", "selected.csv", "held_out.csv", "result.json"),
)
"""Files of a trial's folder that its run shows, beside the figures and the model."""

CURVE_STEPS = 10
"""Every so many steps of a fit's loss one is shown; metrics.jsonl among the artifacts has all."""

EXAMPLE_IMAGES = 4
"""Images in a logged model's input example; the model takes any number."""


class TrialContent:
    """A finished trial's folder, as MLflow's client takes it."""

    def __init__(self, client: Any, uri: str, home: Home, folder: str) -> None:
        self._client, self._uri, self._home, self._folder = client, uri, home, folder

    def show_on(self, run_id: str) -> None:
        """Log all of it on a run; raises `InvalidInput` where the folder lacks something or holds something spoilt."""
        from mlflow.entities import Metric, Param, RunTag

        result, config = self._json("result.json"), from_nested(self._json("config.json"))
        now = int(time.time() * 1000)
        numbers = {k: float(v) for k, v in result.items() if isinstance(v, int | float) and k != "seed"}
        numbers |= {f"seconds/{stage}": value for stage, value in result["seconds"].items()}
        parameters = [Param(name, str(value)) for name, value in flatten(config).items()]
        tags = [RunTag("config_id", result["config_id"]), RunTag("data", result["data"])]
        self._client.log_batch(run_id, [Metric(k, v, now, 0) for k, v in numbers.items()], parameters, tags)
        curves = list(self._curves(now))
        for start in range(0, len(curves), 1000):
            self._client.log_batch(run_id, metrics=curves[start : start + 1000])
        self._log_data(run_id, result["data"], config.data.source)
        self._log_files(run_id)
        if self._read("utility_model.json") is not None:
            self._log_model(run_id)

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

    def _curves(self, now: int) -> Iterator[Any]:
        from mlflow.entities import Metric

        for line in (self._read("metrics.jsonl") or b"").splitlines():
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

    def _log_files(self, run_id: str) -> None:
        names = [*ARTIFACTS, *(f"figures/{name}" for name in self._home.list(f"{self._folder}/figures"))]
        found = {name: content for name in names if (content := self._read(name)) is not None}
        with as_files(found) as local:
            self._client.log_artifacts(run_id, local)

    def _log_model(self, run_id: str) -> None:
        """û as a logged model that scores one set of n images, n free: an exported graph, nothing pickled."""
        import mlflow
        import numpy as np
        import torch
        from mlflow.models import ModelSignature
        from mlflow.types import Schema, TensorSpec

        from rambo.utility.kinds import load_utility_model

        description = self._json("utility_model.json")
        try:
            model = load_utility_model(description, self._read("utility_model.safetensors") or b"")
        except InvalidInput as error:
            raise InvalidInput(f"In {self._home.path(self._folder)}: {error}") from None
        shape = tuple(description["input_shape"])
        example = np.random.default_rng(0).standard_normal((EXAMPLE_IMAGES, *shape), dtype=np.float32)
        floats = np.dtype(np.float32)
        inputs = Schema([TensorSpec(floats, (-1, *shape), name=None)])
        signature = ModelSignature(inputs, Schema([TensorSpec(floats, (-1,), name=None)]))
        with writing_to(self._uri), mlflow.start_run(run_id=run_id):
            mlflow.pytorch.log_model(
                model.eval(),
                name="utility_model",
                signature=signature,
                input_example=example,
                pip_requirements=[f"torch=={torch.__version__.split('+')[0]}", f"numpy=={np.__version__}"],
                metadata={"takes": "normalised images of one set", "returns": "score: larger is better"},
            )


@contextmanager
def as_files(content: Mapping[str, bytes]) -> Iterator[str]:
    """A folder that holds `content` by name, for clients that upload folders."""
    with tempfile.TemporaryDirectory() as folder:
        for name, data in content.items():
            path = Path(folder, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        yield folder
