"""A data set, and everything that it fixes by itself: identity, test images, normalisation.

Whatever else differs between two experiments (seed, method, study), these are the same. The scenarios of §5.5, a noisy
oracle and class imbalance, are pure functions of labels and indices.
"""

import hashlib
import logging
import math
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from rambo.arrays import Images, Indices, Inputs, Labels
from rambo.data.embeddings import moments, row_chunks
from rambo.data.source_images import UNLABELLED, SourceImages
from rambo.data.sources import read_source
from rambo.errors import require
from rambo.randomness import numpy_generator

if TYPE_CHECKING:
    import torch

_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images, or embeddings of what takes their place, with their labels, or those of some: a pool of one's own."""

    name: str
    """Short, safe as the name of a folder."""
    images: Inputs
    """(N, C, H, W) uint8, or embeddings (N, d) float32, C-contiguous; these may lie in a file."""
    labels: Labels
    """(N,) in 0..num_classes-1, each class at least once; −1 where an image has no label."""
    class_names: tuple[str, ...]
    test_candidates: Indices
    """Indices that test images are taken from: the official test split where the source has one, else all; none where
    not every image has a label."""
    files: tuple[str, ...] = ()
    """(N,) where each image was read from, relative to the source; empty where images are no files."""
    validation_candidates: Indices | None = None
    """Of a pool of one's own: the labelled images that S_val is taken from; None for all of them."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "images", np.ascontiguousarray(self.images))
        self._check()

    @property
    def num_classes(self) -> int:
        """C."""
        return len(self.class_names)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """(C, H, W), or (d,) of embeddings."""
        return self.images.shape[1:]

    @property
    def has_pictures(self) -> bool:
        """Whether there is something to show of an image."""
        return self.images.ndim == 4

    @property
    def slug(self) -> str:
        """Name and 12 digits of the fingerprint, as used in paths."""
        return f"{self.name}-{self.fingerprint[:12]}"

    @cached_property
    def fingerprint(self) -> str:
        """64 hex digits of SHA-256 over all that a result can depend on; names of set and classes are not."""
        kind = "" if self.has_pictures else "embeddings, "
        header = f"rambo data 1, {kind}shape {self.images.shape}, {self.num_classes} classes,"
        digest = hashlib.sha256(header.encode())
        digest.update(self.images.data)
        digest.update(self.labels.astype("<i8").data)
        digest.update(self.test_candidates.astype("<i8").data)
        return digest.hexdigest()

    @cached_property
    def labelled(self) -> Indices:
        """Sorted indices of the images that have a label."""
        return np.flatnonzero(self.labels != UNLABELLED)

    @property
    def is_labelled(self) -> bool:
        """Whether every image has a label."""
        return len(self.labelled) == len(self.labels)

    @cached_property
    def image_digest(self) -> str:
        """64 hex digits of SHA-256 over the images alone: labels may come later."""
        digest = hashlib.sha256(f"rambo images 1, {self.images.dtype} of shape {self.images.shape},".encode())
        digest.update(self.images.data)
        return digest.hexdigest()

    def measured_as(self, num_test: int) -> str:
        """What stands for the data in the keys of what is measured, which name the labels that they rest on.

        Of a pool of one's own, without a test set, labels that come later do not change it.
        """
        return f"{self.image_digest}, {self.num_classes} classes" if num_test == 0 else self.fingerprint

    def fixed(self, num_test: int) -> "Fixed":
        """What follows from the data and the size of the test set alone, worked out once."""
        if num_test not in self._fixed:
            test = test_indices(self, num_test) if num_test else np.empty(0, dtype=np.int64)
            self._fixed[num_test] = Fixed(test, normalisation(self, test))
        return self._fixed[num_test]

    @cached_property
    def _fixed(self) -> "dict[int, Fixed]":
        return {}

    def _check(self) -> None:
        images, labels, classes = self.images, self.labels, self.num_classes
        require(
            (images.dtype.name, images.ndim) in (("uint8", 4), ("float32", 2)),
            f"Images of {self.name} must be uint8 (N, C, H, W), or embeddings float32 (N, d), got {images.dtype} of "
            f"shape {images.shape}; convert them.",
        )
        require(
            labels.shape == images.shape[:1],
            f"Labels of {self.name} must be one an image, {len(images)}, got shape {labels.shape}; check its files.",
        )
        require(classes >= 2, f"{self.name} must have at least 2 classes, got {classes}; add another class.")
        present = np.unique(labels[labels != UNLABELLED]).tolist()
        require(
            present == list(range(classes)),
            f"Labels of {self.name} must hold each of its {classes} classes, 0..{classes - 1}, got "
            f"{present[:20]}; check its files.",
        )


def load_dataset(source: str, data_dir: Path, *, image_size: int = 0, labels: str = "") -> Dataset:
    """The data set that `data.source` names.

    digits ships with scikit-learn; mnist, fashion_mnist, cifar10 and svhn are downloaded into `data_dir` on first use;
    npz:PATH and images:DIR are the user's own (`rambo.data.npz` and `rambo.data.folders` say in which form): what was
    taken of them, changed and passed over goes to the log. `image_size` is `data.image_size`, in pixels, and `labels`
    `data.labels`. Raises `InvalidInput` where the source cannot be read.
    """
    return dataset_of(read_source(source, data_dir, image_size, labels))


def dataset_of(found: SourceImages) -> Dataset:
    """What a reader has found; its notes go to the log."""
    for note in found.notes:
        _log.info(note)
    return Dataset(
        name=_folder_name(found.name),
        images=found.images,
        labels=found.labels,
        class_names=found.class_names,
        test_candidates=_fit_for_testing(found.labels, found.num_official_test),
        files=found.files,
    )


def _fit_for_testing(labels: Labels, num_official_test: int) -> Indices:
    if (labels == UNLABELLED).any():
        return np.empty(0, dtype=np.int64)
    return np.arange(len(labels) - num_official_test if num_official_test else 0, len(labels))


def test_indices(dataset: Dataset, num_test: int) -> Indices:
    """(num_test,) sorted indices of the test images, a function of the data alone; a larger test set is a superset.

    Raises `InvalidInput` where there are not so many candidates, or fewer images than classes would be left.
    """
    candidates = dataset.test_candidates
    most = min(len(candidates), len(dataset.labels) - dataset.num_classes)
    require(
        most >= 1,
        f"{dataset.name} must have more images than its {dataset.num_classes} classes, got {len(dataset.labels)}; add "
        "images.",
    )
    require(
        1 <= num_test <= most,
        f"data.num_test must lie in 1..{most} for {dataset.name} ({len(dataset.labels)} images, {len(candidates)} of "
        f"them fit for testing), got {num_test}; change it.",
    )
    return np.sort(test_order(dataset)[:num_test])


def test_order(dataset: Dataset) -> Indices:
    """The order in which candidates become test images, a function of the data alone."""
    return numpy_generator(int(dataset.fingerprint, 16), "test images").permutation(dataset.test_candidates)


@dataclass(frozen=True)
class Normalisation:
    """Mean and standard deviation of each channel's pixels on the scale 0..1, or of each of d numbers; float32."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def apply(self, images: "torch.Tensor") -> "torch.Tensor":
        """(x/255 − mean)/std of uint8 images (n, C, H, W), (x − mean)/std of float32 embeddings (n, d); float32."""
        import torch

        require(
            (images.dtype, images.ndim) in ((torch.uint8, 4), (torch.float32, 2)) and images.shape[1] == len(self.mean),
            f"Images to normalise must be uint8 (n, {len(self.mean)}, H, W), or embeddings float32 "
            f"(n, {len(self.mean)}), got {images.dtype} of shape {tuple(images.shape)}; hand over the data set's own.",
        )
        mean, std = torch.tensor((self.mean, self.std), dtype=torch.float32, device=images.device)
        normalised: torch.Tensor
        if images.ndim == 2:
            normalised = (images - mean) / std
        else:
            normalised = (images.to(torch.float32) / 255 - mean.view(-1, 1, 1)) / std.view(-1, 1, 1)
        return normalised


@dataclass(frozen=True, eq=False)
class Fixed:
    """The same in every experiment on a data set that holds out as many test images."""

    test: Indices
    normalisation: Normalisation


@dataclass(frozen=True, eq=False)
class NormalisedImages:
    """Loads images by dataset index as a network takes them; no label is within reach of who holds this."""

    images: Inputs
    normalisation: Normalisation
    device: "torch.device"

    def __call__(self, indices: Indices) -> "torch.Tensor":
        """(n, C, H, W), or (n, d) of embeddings, float32 on the device."""
        import torch

        return self.normalisation.apply(torch.from_numpy(self.images[indices]).to(self.device))


def normalisation(dataset: Dataset, test_indices: Indices) -> Normalisation:
    """Moments over all images that are not test images, of pixels exact; what is constant has a deviation of 1."""
    rest = np.setdiff1d(np.arange(len(dataset.labels)), test_indices)
    require(len(rest) > 0, "Normalisation must have images outside the test set, got none; lower data.num_test.")
    images = dataset.images
    if images.dtype == np.float32:
        mean, std = moments(images, rest)
        return Normalisation(mean=tuple(mean.tolist()), std=tuple(std.tolist()))
    channels = [_mean_and_std(counts) for counts in _value_counts(images, rest)]
    return Normalisation(mean=tuple(mean for mean, _ in channels), std=tuple(std for _, std in channels))


def flip_labels(
    labels: Labels,
    candidates: Indices,
    fraction: float,
    num_classes: int,
    generator: np.random.Generator,
    *,
    classes: Indices | None = None,
) -> Labels:
    """Labels (N,) of a noisy oracle: round(fraction · n) of the n different `candidates` get another class (§5.5).

    Deviation[noisy-classes]: of all classes by default, where §5.5 also speaks of "certain classes" without naming any;
    of `classes` alone where these are given, which must hold as many candidates. The other class is uniform over the C
    − 1 that are wrong. Equal generators give nested flips: what a small fraction flips, a larger one flips alike, and
    what is flipped under two choices of classes is flipped alike.

    >>> flip_labels(np.array([0, 0, 1]), np.array([0, 2]), 1.0, 2, np.random.default_rng(0)).tolist()
    [1, 0, 0]
    """
    _check_scenario("data.label_noise", fraction, candidates)
    order = generator.permutation(candidates)
    shifts = generator.integers(1, num_classes, size=len(order))
    falls = np.isin(labels[order], np.arange(num_classes) if classes is None else classes)
    flipped, count = labels.copy(), round(fraction * len(order))
    require(
        count <= falls.sum(),
        f"data.label_noise must leave no more labels wrong than the classes that it falls on have, {falls.sum()} of "
        f"{len(order)}, got {fraction}; lower it or raise data.label_noise_classes.",
    )
    hit, shift = order[falls][:count], shifts[falls][:count]
    flipped[hit] = (labels[hit] + shift) % num_classes
    return flipped


def random_classes(num_classes: int, share: float, generator: np.random.Generator) -> Indices:
    """round(share · C) of the C classes, in ascending order; equal generators nest, a larger share draws a superset.

    >>> random_classes(10, 1.0, np.random.default_rng(0)).tolist()
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
    """
    return np.sort(generator.permutation(num_classes)[: round(share * num_classes)])


def thin_classes(
    labels: Labels,
    candidates: Indices,
    num_classes: int,
    class_share: float,
    fraction: float,
    generator: np.random.Generator,
) -> Indices:
    """The `candidates` that class imbalance leaves, in their order (§5.5).

    round(class_share · C) random classes lose round(fraction · count) random candidates each. Equal generators nest:
    more classes or a larger fraction remove a superset.
    """
    _check_scenario("data.imbalance_classes", class_share, candidates)
    _check_scenario("data.imbalance_fraction", fraction, candidates)
    thinned = set(generator.permutation(num_classes)[: round(class_share * num_classes)].tolist())
    removed = [np.empty(0, dtype=np.int64)]
    for label in range(num_classes):
        members = generator.permutation(candidates[labels[candidates] == label])
        removed.append(members[: round(fraction * len(members)) if label in thinned else 0])
    return candidates[~np.isin(candidates, np.concatenate(removed))]


def _check_scenario(name: str, share: float, candidates: Indices) -> None:
    require(0 <= share <= 1, f"{name} must lie in [0, 1], got {share}; give a share.")
    repeated = len(candidates) - len(np.unique(candidates))
    require(repeated == 0, f"Candidates of {name} must differ from each other, got {repeated} repeated; drop those.")


def _folder_name(name: str) -> str:
    """`name` in lower-case letters, digits, dots and underscores, at most 40; "data" where nothing is left."""
    return re.sub(r"[^a-z0-9._]+", "-", name.lower())[:40].strip("-._") or "data"


def _value_counts(images: Images, indices: Indices) -> NDArray[np.int64]:
    """(C, 256) how often each channel of the images at `indices` has each pixel value."""
    counts = np.zeros((images.shape[1], 256), dtype=np.int64)
    for some in row_chunks(indices, images[0].size):  # NumPy counts pixels as int64, eight times their size
        chunk = images[some]
        for channel, row in enumerate(counts):
            row += np.bincount(chunk[:, channel].ravel(), minlength=256)
    return counts


def _mean_and_std(counts: NDArray[np.int64]) -> tuple[float, float]:
    """Moments of pixel values on the scale 0..1 from their counts (256,); Python integers, so sums are exact."""
    weights = counts.tolist()
    number = sum(weights)
    total = sum(value * weight for value, weight in enumerate(weights))
    squares = sum(value**2 * weight for value, weight in enumerate(weights))
    spread = number * squares - total**2  # the variance, times 255² number²
    mean, std = total / (255 * number), math.sqrt(spread) / (255 * number)
    return float(np.float32(mean)), float(np.float32(std)) if spread else 1.0
