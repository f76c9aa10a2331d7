"""A pool of embedded digits as PNG files in folders, with the labels of some."""

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

FOLDERS = ("Zürich 2024", "lab A", "lab A/Öst", "nacht")


@dataclass(frozen=True)
class Pool:
    """Images, and the truth, which is beside them."""

    folder: Path
    labels: Path
    truth: dict[str, str]
    """Of every file."""

    def label(self, asked: Path, to: Path) -> Path:
        """Fill in the column label of `asked`."""
        with asked.open(newline="") as file:
            rows = list(csv.DictReader(file))
        with to.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows({**row, "label": self.truth[row["file"]]} for row in rows)
        return to


def make_pool(root: Path, number: int = 240, labelled: int = 100) -> Pool:
    digits, generator = load_digits(), np.random.default_rng(0)
    truth = {}
    for place, row in enumerate(generator.permutation(len(digits.target))[:number]):
        file = f"{FOLDERS[place % 4]}/bild {place:03}{('.png', '.PNG')[place % 2]}"
        path = root / "pool" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.rint(digits.images[row] * 255 / 16).astype(np.uint8)).save(path, format="PNG")
        truth[file] = f"digit {digits.target[row]}"
    labels = root / "labels.csv"
    with labels.open("w", newline="") as file:
        csv.writer(file, delimiter=";").writerows([("file", "label"), *list(truth.items())[:labelled]])
    return Pool(root / "pool", labels, truth)


@pytest.fixture(scope="session")
def shared_pool(tmp_path_factory):
    return make_pool(tmp_path_factory.mktemp("shared_pool"))
