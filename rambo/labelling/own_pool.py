"""A pool of one's own: images of which some are labelled, none to be judged by but those."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from rambo.arrays import Indices
from rambo.config import Config, fitting_sizes
from rambo.data.dataset import Dataset, dataset_of
from rambo.data.folders import read_pictures
from rambo.data.labels_file import listed
from rambo.data.npz import read_npz
from rambo.errors import require
from rambo.fields import Value, override
from rambo.formats import path_of, visible
from rambo.presets import own_pool
from rambo.strategies.facts import FACTS

STRATEGY = "scout_margin"
"""The default: the best on real MNIST where S_val's labels are at hand anyway (docs/results.md)."""

NEUTRAL: dict[str, Value] = {
    "data.label_noise": 0.0,
    "data.imbalance_classes": 0.0,
    "data.imbalance_fraction": 0.0,
    "data.stratified": False,
    "acquisition.rounds": 1,
}
"""What studies change about data, whatever a preset or a file says."""

LARGEST_SIDE = 4096
"""Pixels that images are resized to, at most."""

USUAL_BATCHES = 10
"""Batches that B is picked in, about, by a strategy that picks in batches."""


@dataclass(frozen=True)
class Sources:
    """Where images and labels are."""

    pool: str
    """A folder, or npz:PATH with y = −1 where there is no label."""
    labels: tuple[Path, ...]
    """CSV files; none for npz:."""
    image_size: int = 0

    @property
    def source(self) -> str:
        """As `data.source` names it."""
        kind, colon, path = self.pool.partition(":")
        if colon and kind in ("npz", "images"):
            return f"{kind}:{path_of(path, '--pool').resolve()}"
        return f"images:{path_of(self.pool, '--pool').resolve()}"


def read_pool(sources: Sources) -> Dataset:
    """The images with the labels there are; raises `InvalidInput` where there is nothing to begin with."""
    kind, _, path = sources.source.partition(":")
    if kind == "npz":
        require(not sources.labels, "--labels must be left out beside npz:, whose y holds the labels, got both.")
        return dataset_of(read_npz(Path(path)))
    require(
        bool(sources.labels),
        "--labels must name a CSV file with the columns file and label, got none; label a few images of each class.",
    )
    return dataset_of(read_pictures(Path(path), sources.labels, sources.image_size))


def check_classes(dataset: Dataset) -> None:
    """Raise `InvalidInput` where a class has a single label: one is learned from, another judged by.

    For the first labels; of a class that is found later none is judged by.
    """
    counts = Counter(dataset.labels[dataset.labelled].tolist())
    single = [dataset.class_names[label] for label, count in sorted(counts.items()) if count == 1]
    require(
        not single,
        f"Each class must have at least 2 labels, got 1 of {', '.join(map(visible, single))}; label more images of "
        f"{'it' if len(single) == 1 else 'them'}, or take {'it' if len(single) == 1 else 'them'} out.",
    )


def num_validation(dataset: Dataset, asked: float) -> int:
    """S_val's size: a share of the labelled images below 1, else their number; raises `InvalidInput` for neither."""
    known = len(dataset.labelled)
    number = round(asked * known) if asked < 1 else asked
    require(
        asked > 0 and number == int(number) and 1 <= number <= known - dataset.num_classes,
        f"--validation must be a share between 0 and 1 or a number of images, of which S_val has 1 to "
        f"{known - dataset.num_classes} of the {known} that are labelled, got {asked:g}.",
    )
    return int(number)


def configuration(dataset: Dataset, base: Config | None, fields: dict[str, Value], validation: int) -> Config:
    """What is run: `fields` over `base`, and what the pool fixes by itself; b fits B where nothing else is said."""
    known = len(dataset.labelled)
    fixed: dict[str, Value] = {
        **NEUTRAL,
        "data.num_seed_labels": known - validation,
        "data.num_validation": validation,
        "data.num_test": 0,
    }
    base = base or own_pool(dataset.input_shape)
    budget, strategy = int(fields.get("acquisition.budget", base.acquisition.budget)), fields.get("strategy", STRATEGY)
    judged = FACTS.get(str(strategy))
    require(
        judged is None or not judged.for_study,
        f"--strategy must choose without the labels that it asks for, got {strategy}, which is for studies alone.",
    )
    if "acquisition.batch_size" not in fields and strategy in FACTS:
        starts = (2 * dataset.num_classes, 1) if FACTS[str(strategy)].learns_utility else (None,)
        found = (fitting_sizes(budget, known - validation, least_start=least) for least in starts)
        sizes = next(filter(None, found), [])  # of those that leave too small a start the preparation complains
        fixed |= {"acquisition.batch_size": min(sizes, key=lambda size: abs(budget / size - USUAL_BATCHES), default=1)}
    return override(base, {"strategy": STRATEGY, **fields, **fixed})


def with_validation(dataset: Dataset, validation: Indices) -> Dataset:
    """The pool whose S_val is taken from `validation` alone, as it was for the first labels."""
    return replace(dataset, validation_candidates=np.sort(validation))


def name_of(dataset: Dataset, index: int) -> str:
    """An image as people find it: its file, else its place in the array."""
    return dataset.files[index] if dataset.files else str(index)


def validation_of(dataset: Dataset, names: Sequence[str]) -> Indices:
    """The images of S_val by name; raises `InvalidInput` where they are not all there with their labels."""
    there = {name_of(dataset, index): index for index in dataset.labelled.tolist()}
    missing = [name for name in names if name not in there]
    require(
        not missing,
        f"Labels must name all {len(names)} validation images of the first round, got none of {listed(missing)}; give "
        "the earlier labels as well.",
    )
    return np.array([there[name] for name in names], dtype=np.int64)


def check_apart(sources: Sources, home: str) -> None:
    """Raise `InvalidInput` where the home lies in the pool, which its pictures would then be part of."""
    kind, _, path = sources.source.partition(":")
    if kind == "images" and "://" not in home:
        inside = path_of(home, "--home").resolve().is_relative_to(Path(path))
        require(not inside, f"--home must lie outside the pool {path}, got {home}; give another --home.")
