"""Learned û as the store keeps it, under a key of exactly what its fits read.

That is the seed set with its labels, S_val, how f is trained, the sets of the plan, and the settings and switches of û:
neither the budget nor who asks. What is kept gives the same model, held-out scores and curves as fits anew, and lets
a learner go on where more labels come in.
"""

import hashlib
import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from rambo.data.features import FEATURES_VERSION
from rambo.identity import described
from rambo.store import Store
from rambo.utility.ot_distance import OT_VERSION
from rambo.utility.pretraining import HeldOut, LearnedUtility, LearnerState, UtilityLearner
from rambo.utility.samples import SamplePlan

UTILITY_VERSION = 1
"""Raised by hand when fits of û compute something else (a golden test notices): what is kept is then fitted anew."""

READ = ("utility.", "utility_model.", "switches.", "evaluation.num_ceiling_pairs")
"""Fields that fits read beside the sets and how these are measured."""

CHECKSUM_DIGITS = 64

Row = dict[str, object]

_JUDGED = ("pair_accuracy", "pair_ceiling", "repeat_agreement", "num_ceiling_pairs")


def utility_key(seed_set_key: str, plan: SamplePlan, fields: Mapping[str, Any], seed: int) -> str:
    """32 hex digits that name û.

    `seed_set_key` is the key of f trained on S_0, which digests how sets are measured and what images are; `fields` are
    the effective ones.
    """
    read = sorted((name, value) for name, value in fields.items() if name.startswith(READ))
    common = [("version", UTILITY_VERSION), ("ot_version", OT_VERSION), ("seed", seed), ("f", seed_set_key)]
    if fields["utility_model.extractor"] == "resnet18":
        common.append(("features_version", FEATURES_VERSION))
    digest = hashlib.sha256(described("UtilityModel", [*common, *read]).encode())
    digest.update(plan.digest)
    return digest.hexdigest()[:32]


@dataclass(frozen=True, eq=False)
class KeptUtility:
    """What is kept of one û."""

    weights: Mapping[str, Tensor]
    held_out: HeldOut
    label_agreement: float | None
    state: LearnerState
    rows: Sequence[Row]
    """Of metrics.jsonl, in order."""
    seconds: float
    """What the fits and their measurements took where they were made."""

    def resume(self, learner: UtilityLearner, plan: SamplePlan, inputs: Tensor) -> LearnedUtility:
        """û as `learner` would have learned it from `plan`; the learner can go on from there."""
        learner.resume(plan, inputs, self.weights, self.state)
        return LearnedUtility(learner.model, self.label_agreement, self.held_out)


def take(store: Store, key: str) -> KeptUtility | None:
    """What is kept for `key`, None where nothing is; a file that cannot be read is moved away."""
    content = store.utility(key)
    kept = None if content is None else from_bytes(content)
    if kept is None and content is not None:
        store.set_aside_utility(key, content)
    return kept


def to_bytes(learned: LearnedUtility, state: LearnerState, rows: Sequence[Row], seconds: float) -> bytes:
    """One safetensors file; the same of the same û, but for the seconds."""
    held_out = learned.held_out
    arrays = {
        "held_out.scores": held_out.scores,
        "held_out.utility": held_out.utility,
        "held_out.predicted_ot": held_out.predicted_ot,
        "held_out.ot": held_out.ot,
        "state.utility": state.utility,
        "state.ot": state.ot,
    }
    tensors = {
        name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items() if array is not None
    }
    weights = {f"model.{name}": value.cpu().contiguous() for name, value in learned.model.state_dict().items()}
    numbers = {
        **{name: getattr(held_out, name) for name in _JUDGED},
        "label_agreement": learned.label_agreement,
        "log_penalties": state.log_penalties,
        "ot_unit": state.ot_unit,
        "iterations": state.iterations,
        "rows": list(rows),
        "seconds": seconds,
    }
    text = json.dumps(numbers)
    everything = {**tensors, **weights}
    content: bytes = save(everything, {"kept": _checksum(everything, text) + text})  # of two entries the order is free
    return content


def from_bytes(content: bytes) -> KeptUtility | None:
    """`to_bytes` undone; None where the content is spoilt."""
    try:
        tensors = load(content)
        [size] = struct.unpack("<Q", content[:8])
        told = json.loads(content[8 : 8 + size])["__metadata__"]["kept"]
        checksum, text = told[:CHECKSUM_DIGITS], told[CHECKSUM_DIGITS:]
        numbers = json.loads(text)
    except (SafetensorError, struct.error, ValueError, KeyError, TypeError):
        return None
    if checksum != _checksum(tensors, text):
        return None
    arrays = {name: value.numpy() for name, value in tensors.items() if not name.startswith("model.")}
    penalties = numbers["log_penalties"]
    return KeptUtility(
        weights={name.removeprefix("model."): value for name, value in tensors.items() if name.startswith("model.")},
        held_out=HeldOut(
            scores=arrays["held_out.scores"],
            utility=arrays["held_out.utility"],
            predicted_ot=arrays.get("held_out.predicted_ot"),
            ot=arrays.get("held_out.ot"),
            **{name: numbers[name] for name in _JUDGED},
        ),
        label_agreement=numbers["label_agreement"],
        state=LearnerState(
            utility=arrays.get("state.utility"),
            ot=arrays.get("state.ot"),
            log_penalties=None if penalties is None else tuple(penalties),
            ot_unit=numbers["ot_unit"],
            iterations=numbers["iterations"],
        ),
        rows=numbers["rows"],
        seconds=numbers["seconds"],
    )


def _checksum(tensors: Mapping[str, Tensor], text: str) -> str:
    digest = hashlib.sha256(text.encode())
    for name, value in sorted(tensors.items()):
        digest.update(name.encode())
        digest.update(value.numpy().tobytes())
    return digest.hexdigest()
