"""Ask once: which images of a pool of one's own to label next, and how good f is now."""

import csv
import io
import json
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.stats import norm

from rambo.data.dataset import Dataset
from rambo.drawing import drawing
from rambo.errors import require
from rambo.experiment import Choice, Lab, choose
from rambo.figures import contact_sheet
from rambo.formats import csv_bytes, json_bytes
from rambo.home import Home
from rambo.labelling.own_pool import name_of
from rambo.preparation import Prepared

ASKED, SHEET, ANSWER = "to_label.csv", "to_label.png", "result.json"

KEYS = ("val_right", "num_validation")


@dataclass(frozen=True)
class Share:
    """Right among judged, with what so few images can tell."""

    right: int
    judged: int

    @property
    def value(self) -> float:
        """In [0, 1]."""
        return self.right / self.judged

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's, of 95 %: where the share over all such images lies.

        >>> [round(end, 3) for end in Share(9, 10).interval]
        [0.596, 0.982]
        """
        z, n, p = float(norm.ppf(0.975)), self.judged, self.value
        middle, spread = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
        return (middle - spread) / (1 + z * z / n), (middle + spread) / (1 + z * z / n)

    def text(self) -> str:
        """For people."""
        low, high = self.interval
        return (
            f"{100 * self.value:.1f} % of {self.judged} validation images right (95 % interval {100 * low:.0f} to "
            f"{100 * high:.0f} %)"
        )


def ask(prepared: Prepared, lab: Lab, folder: str, labels: bytes, remember: Callable[[tuple[str, ...]], None]) -> None:
    """Choose, and leave in `folder` what to label, the labels so far, a contact sheet and what f is worth now.

    `remember` is told the names of the images, in order, before anybody can see and label them.
    """
    lab.home.write(f"{folder}/labels.csv", labels)
    choice, dataset = choose(prepared, lab, folder), prepared.dataset
    remember(tuple(name_of(dataset, index) for index in choice.selection.indices.tolist()))
    if not lab.home.read(f"{folder}/{ASKED}"):
        lab.home.write(f"{folder}/{ASKED}", to_label(choice, dataset))
    _draw(choice, dataset, lab, folder)
    lab.home.write(f"{folder}/{ANSWER}", json_bytes(_result(choice, prepared)))


def refuse_filled_in(home: Home, folder: str) -> None:
    """Raise `InvalidInput` where somebody has labelled what lies in the folder of a round that is not known."""
    content = home.read(f"{folder}/{ASKED}")
    rows = csv.DictReader(io.StringIO((content or b"").decode(), newline=""))
    require(
        not any(row.get("label") for row in rows),
        f"{home.path(folder)} must hold no labels that a new round would replace, got some in {ASKED}; move that file "
        "away and give it with --labels.",
    )
    home.remove(f"{folder}/{ASKED}")


def to_label(choice: Choice, dataset: Dataset) -> bytes:
    """One row an image, the most wanted first, with an empty column for its label.

    `margin` and `likeliest` are those of what scores the pool, else of f now; `score` is û's where there is one.
    """
    indices, scores = choice.selection.indices, choice.selection.scores
    guesses, margins = choice.scout.likeliest(indices), choice.scout.margins(indices)
    rows = [
        [rank, name_of(dataset, index), "", batch, f"{margin:.4f}", dataset.class_names[guess], score]
        for rank, index, batch, margin, guess, score in zip(
            range(1, len(indices) + 1),
            indices.tolist(),
            (choice.selection.iterations + 1).tolist(),
            margins.tolist(),
            guesses.tolist(),
            ["" if np.isnan(score) else repr(float(score)) for score in scores],
            strict=True,
        )
    ]
    return csv_bytes([("rank", "file", "label", "batch", "margin", "likeliest", "score"), *rows])


def accuracy_now(correct: bytes, num_validation: int) -> Share:
    """Of the bits of S_val."""
    bits = np.unpackbits(np.frombuffer(correct, dtype=np.uint8))[:num_validation]
    return Share(int(bits.sum()), num_validation)


def _result(choice: Choice, prepared: Prepared) -> dict[str, object]:
    share = accuracy_now(choice.now.measurement.val_correct, len(prepared.split.validation))
    held_out = choice.held_out
    return {
        "strategy": prepared.config.strategy,
        "seed": prepared.config.seed,
        "num_labelled": len(prepared.dataset.labelled),
        "num_asked": len(choice.selection.indices),
        "val_right": share.right,
        "num_validation": share.judged,
        "val_accuracy": share.value,
        "val_interval": list(share.interval),
        "pair_accuracy": held_out.pair_accuracy if held_out else None,
        "pair_ceiling": held_out.pair_ceiling if held_out else None,
    }


def _draw(choice: Choice, dataset: Dataset, lab: Lab, folder: str) -> None:
    indices = choice.selection.indices
    if not dataset.has_pictures:
        return
    with drawing(SHEET, f"the same command, after its {SHEET} is removed"):
        figure = contact_sheet(dataset, indices, choice.scout.likeliest(indices))
        for name, content in figure.files(SHEET.removesuffix(".png")).items():
            lab.home.write(f"{folder}/{name}", content)


def share_of(home: Home, path: str) -> Share:
    """What f got right of S_val, as a finished round has it."""
    found = home.record(path, lambda content: Share(*(json.loads(content)[key] for key in KEYS)), "ask anew")
    assert found is not None, "a round that has asked has an answer"
    return found
