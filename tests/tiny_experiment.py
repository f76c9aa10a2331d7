"""A whole experiment on real digits that ends in a second or two: the configuration that most tests run."""

from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

TINY = {
    "data.num_seed_labels": 60,
    "data.num_validation": 100,
    "data.num_test": 100,
    "training.max_epochs": 3,
    "offline.num_pairs": 6,
    "pretraining.num_pairs": 6,
    "utility.num_audited": 3,
    "utility_model.num_outer_steps": 3,
    "utility_model.num_inner_steps": 3,
    "acquisition.budget": 40,
    "acquisition.batch_size": 20,
    "acquisition.candidate_batches": 3,
    "evaluation.repeats": 2,
    "evaluation.num_held_out_pairs": 5,
    "evaluation.num_ceiling_pairs": 3,
}
"""Overrides of quickstart."""

TINY_FLAGS = ["--preset=quickstart", *(f"--{name}={value}" for name, value in TINY.items())]
"""The same on a command line."""


def embedded_digits(folder: Path) -> dict[str, str]:
    """Overrides that take the digits' pixels as embeddings of 64 numbers, from a file that is written into `folder`."""
    pixels, labels = load_digits(return_X_y=True)
    np.savez(folder / "digits.npz", x=pixels.astype(np.float32), y=labels)
    source = {"data.source": f"npz:{folder / 'digits.npz'}"}
    return {**source, "classifier.name": "linear", "utility_model.extractor": "features"}
