"""What a run folder holds, written and read in one place."""

import csv
import io
import json
import math
import os
import platform
import subprocess
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

import numpy as np
import torch

from rambo.arrays import Floats, Indices, Labels
from rambo.data.pool import Pool
from rambo.formats import csv_bytes, json_bytes
from rambo.home import Home
from rambo.strategies.request import Selection
from rambo.training.rounding import rounding
from rambo.training.trainer import TRAINING_VERSION
from rambo.utility.pretraining import HeldOut


@dataclass(frozen=True, kw_only=True)
class Result:
    """The content of result.json."""

    data: str
    """Name and fingerprint of the data, as in the run folder's path."""
    config_id: str
    seed: int
    strategy: str
    test_accuracy: float
    """Mean over R trainings on S_1, on images nothing else has touched: the headline."""
    val_accuracy: float
    """The same on S_val: the paper's metric, but RAMBO has learned from S_val."""
    base_test_accuracy: float
    """Mean over R trainings on S_0 alone."""
    base_val_accuracy: float
    num_labelled: int
    """|S_1|."""
    pair_accuracy: float | None
    """Share of held-out pairs that û orders as measured; None for strategies without û."""
    pair_ceiling: float | None
    """Upper bound of the former, from this trial's repeated pairs alone (`rambo.ceiling`)."""
    label_agreement: float | None
    trainings: int
    """Trainings that the store lacked when this run began."""
    seconds: dict[str, float]
    """Wall-clock time by stage of the run that wrote this."""
    saw_validation: bool | None = None
    """Whether labels of S_val entered the choice; None in results older than the field, whose strategy tells."""
    test_accuracy_all: float | None = None
    """Mean over R trainings on S_1 and S_val together, where asked for."""
    base_test_accuracy_all: float | None = None
    """The same on S_0 and S_val: nothing bought, every label used."""
    num_test: int | None = None
    """Test images; None, like the next, where a measurement is older than the bits of its test images."""
    test_correct: str | None = None
    """Which of them each of the R trainings on S_1 got right (`rambo.correctness`)."""
    repeat_agreement: float | None = None
    """Share of the repeated held-out pairs that both trainings order alike; None without û, and in older results."""
    num_ceiling_pairs: int | None = None
    """Held-out pairs that were repeated; None as above."""
    utility_seconds: float | None = None
    """What the fits of û took with what they measured, in whichever run made them; None as above."""
    training_seconds: dict[str, float] | None = None
    """What trainings took, in whichever run measured them: one of f on S_0 (`f on S_0`) and on S_1 (`f on S_1`), in the
    mean over R, and all of the sets that û learned from, by stage (`Prepared.specs`); None in older results."""

    @property
    def fit_seconds(self) -> float:
        """The same, of older results too; that of the stage where there is no û."""
        return self.seconds["utility_model"] if self.utility_seconds is None else self.utility_seconds


_KINDS = get_type_hints(Result)


def read_result(home: Home, folder: str) -> Result | None:
    """The result in a run folder, or None where there is none yet; raises `InvalidInput` where it is damaged."""
    cure = "remove it: the command that made it works it out again from the store"
    return home.record(f"{folder}/result.json", _result_of, cure)


def _result_of(content: bytes) -> Result:
    result = Result(**json.loads(content))
    for name, kind in _KINDS.items():
        value = getattr(result, name)
        if not _is_of(kind, value):
            wanted = "number" if kind is float else kind.__name__ if isinstance(kind, type) else kind
            raise ValueError(f"{name} is {value!r}, no {wanted}")
    return result


def _is_of(kind: Any, value: object) -> bool:
    """Whether a value from JSON, where 1.0 may be 1, is of a field's type: a class, a union, or a dict of numbers."""
    if get_origin(kind) is dict:
        return isinstance(value, dict) and all(_is_of(float, one) for one in value.values())
    if isinstance(kind, UnionType):
        return any(_is_of(one, value) for one in get_args(kind))
    if kind in (int, float) and isinstance(value, bool):
        return False
    return isinstance(value, int | float if kind is float else kind)


def result_json(result: Result) -> bytes:
    """The content of result.json."""
    return json_bytes(asdict(result))


def selected_csv(selection: Selection, pool: Pool, files: Sequence[str] = ()) -> bytes:
    """The picks in order, with the labels that were bought; `pool` is the one after the acquisition.

    A column tells the rounds where there are several, another the files where the source has `files` by index.
    """
    indices, rounds = selection.indices, pool.rounds[selection.indices]
    columns: dict[str, Iterable[object]] = {
        "place": range(len(indices)),
        "index": indices.tolist(),
        "iteration": selection.iterations.tolist(),
        "label": pool.labels[indices].tolist(),
        "score": ["" if np.isnan(score) else repr(float(score)) for score in selection.scores],
    }
    if rounds.max() > 1:
        columns["round"] = rounds.tolist()
    if files:
        columns["file"] = [files[index] for index in indices]
    return csv_bytes([columns, *zip(*columns.values(), strict=True)])


def read_picks(home: Home, folder: str) -> tuple[Indices, Labels] | None:
    """Indices and labels of selected.csv; None where there is none."""
    rows = _read_csv(home, f"{folder}/selected.csv")
    if rows is None:
        return None
    return np.array([int(row["index"]) for row in rows]), np.array([int(row["label"]) for row in rows])


def held_out_csv(held_out: HeldOut) -> bytes:
    """One row a held-out set: pair, û, measured utility, predicted and true OT (empty where the component is off)."""
    table = []
    for pair in range(len(held_out.scores)):
        for member in range(2):
            row: list[object] = [pair, member, held_out.scores[pair, member], held_out.utility[pair, member]]
            for values in (held_out.predicted_ot, held_out.ot):
                row.append("" if values is None else values[pair, member])
            table.append(row)
    return csv_bytes([("pair", "member", "score", "utility", "predicted_ot", "ot"), *table])


def read_held_out(home: Home, folder: str) -> HeldOut | None:
    """What û said of held-out pairs, from held_out.csv and the result; None for strategies without û."""
    rows, result = _read_csv(home, f"{folder}/held_out.csv"), read_result(home, folder)
    if rows is None or result is None or result.pair_accuracy is None or result.pair_ceiling is None:
        return None
    values = {name: _pairs_of([row[name] for row in rows]) for name in ("score", "utility", "predicted_ot", "ot")}
    scores, utility = values["score"], values["utility"]
    assert scores is not None
    assert utility is not None
    return HeldOut(
        scores=scores,
        utility=utility,
        predicted_ot=values["predicted_ot"],
        ot=values["ot"],
        pair_accuracy=result.pair_accuracy,
        pair_ceiling=result.pair_ceiling,
        repeat_agreement=math.nan if result.repeat_agreement is None else result.repeat_agreement,
        num_ceiling_pairs=result.num_ceiling_pairs or 0,
    )


def _pairs_of(texts: Sequence[str]) -> Floats | None:
    """(n, 2) the values of a column of held_out.csv, None where it is empty."""
    return np.array([float(text) for text in texts]).reshape(-1, 2) if all(texts) else None


def _read_csv(home: Home, name: str) -> list[dict[str, str]] | None:
    content = home.read(name)
    return None if content is None else list(csv.DictReader(io.StringIO(content.decode(), newline="")))


def environment(device: torch.device) -> dict[str, object]:
    """When work begins, versions and hardware behind a result; nothing here is part of its identity."""
    packages = ("torch", "torchvision", "numpy", "scipy", "scikit-learn", "pot", "pyarrow")
    return {
        "started": round(time.time(), 3),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "rounding": rounding(device),
        "training_version": TRAINING_VERSION,
        "commit": commit(),
        "packages": {name: version(name) for name in packages},
    }


@cache  # a checkout may move on beneath a long study; a process keeps what it has loaded
def commit() -> str | None:
    """The commit of the code that runs; outside a checkout what RAMBO_COMMIT says, such as in a submitted job."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    found = ""
    with suppress(OSError):  # no git on this machine
        found = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10).stdout.strip()
    return found or os.environ.get("RAMBO_COMMIT") or None
