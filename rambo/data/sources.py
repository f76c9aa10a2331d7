"""Readers: each turns one kind of source (a shipped, downloadable or own data set) into plain arrays.

A source is a word (`digits`, `mnist`, …) or `KIND:PATH`. Whatever is wrong with one comes out as one sentence, and
libraries that are slow to import are imported by the reader that needs them.
"""

import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any

import numpy as np

from rambo.arrays import Images, Labels
from rambo.data.folders import read_folders, read_pictures
from rambo.data.npz import read_npz
from rambo.data.source_images import SourceImages, one_line
from rambo.errors import InvalidInput, require
from rambo.formats import path_of

SOURCES = ("digits", "mnist", "fashion_mnist", "cifar10", "svhn", "npz:PATH", "images:DIR")

DOWNLOAD_TIMEOUT_SECONDS = 10.0
"""Longest silence of a server before a download counts as failed."""


def read_source(source: str, data_dir: Path, image_size: int, labels: str = "") -> SourceImages:
    """The images of `source`; raises `InvalidInput` where they cannot be had.

    `data_dir` holds (or receives) the downloadable sets; `image_size` is the side in pixels that images:DIR resizes to,
    0 for none; `labels` is the CSV file that labels its images, empty where folders do.
    """
    require(image_size >= 0, f"data.image_size must be at least 0, got {image_size}; 0 keeps the images as they are.")
    kind, colon, path = source.partition(":")
    require(
        not labels or (kind == "images" and bool(colon)),
        f"data.labels must stand beside a source images:DIR, got {source!r}; leave it out: others hold their labels.",
    )
    if colon and kind in ("npz", "images"):
        require(bool(path), f"data.source must name a path after {kind}:, got {source!r}; add it.")
        full = path_of(path, "data.source")
        if labels:
            return read_pictures(full, [path_of(labels, "data.labels")], image_size)
        return _npz(full, image_size) if kind == "npz" else read_folders(full, image_size)
    if source in _OFFICIAL:
        return read_official(source, path_of(data_dir, "--data-dir"))
    require(source == "digits", f"data.source must be one of {', '.join(SOURCES)}, got {source!r}; pick one of these.")
    return read_digits()


def _npz(path: Path, image_size: int) -> SourceImages:
    found = read_npz(path)
    require(
        image_size == 0 or found.images.ndim == 4,
        f"data.image_size must be 0 for embeddings, which have no size to change, got {image_size}; leave it out.",
    )
    return found


def read_digits() -> SourceImages:
    """scikit-learn's 1797 handwritten digits, 8x8; its grey values 0..16 become 0..255."""
    from sklearn.datasets import load_digits

    loaded = load_digits()
    images = np.rint(loaded.images * (255 / 16)).astype(np.uint8)
    return SourceImages("digits", images[:, None], loaded.target.astype(np.int64), _DIGITS)


# --- sets with an official test split, through torchvision -----------------------------------------------------------


@dataclass(frozen=True)
class _Official:
    """A class of `torchvision.datasets` and the files it reads from `folder` under its root."""

    class_name: str
    folder: str
    files: Mapping[str, str]
    """Each file as published, and what it is unpacked to (itself where it is read as it is)."""
    class_names: tuple[str, ...]
    splits: tuple[Mapping[str, Any], ...] = ({"train": True}, {"train": False})


_DIGITS = tuple("0123456789")
_FASHION = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
_CIFAR = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_IDX = [f"{part}-{what}-ubyte" for part in ("train", "t10k") for what in ("images-idx3", "labels-idx1")]
_IDX_FILES = {f"{name}.gz": name for name in _IDX}
_SVHN_FILES = {name: name for name in ("train_32x32.mat", "test_32x32.mat")}
_OFFICIAL = {
    "mnist": _Official("MNIST", "MNIST/raw", _IDX_FILES, _DIGITS),
    "fashion_mnist": _Official("FashionMNIST", "FashionMNIST/raw", _IDX_FILES, _FASHION),
    "cifar10": _Official("CIFAR10", "", {"cifar-10-python.tar.gz": "cifar-10-batches-py"}, _CIFAR),
    "svhn": _Official("SVHN", "", _SVHN_FILES, _DIGITS, splits=({"split": "train"}, {"split": "test"})),
}
_UNREADABLE = (HTTPException, OSError, RuntimeError, ValueError, TypeError, KeyError, AssertionError, EOFError)
"""What torchvision and the file readers under it raise when a download fails or a file is damaged."""


def read_official(name: str, data_dir: Path) -> SourceImages:
    """A torchvision data set under `data_dir`, downloaded on first use: its training part, then its test part."""
    official = _OFFICIAL[name]
    try:
        with impatient_downloads():
            parts = [_read_part(official, data_dir, split) for split in official.splits]
        images, labels = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    except _UNREADABLE as error:
        raise InvalidInput(_official_problem(name, data_dir / official.folder, one_line(error))) from error
    return SourceImages(name, images, labels, official.class_names, num_official_test=len(parts[1][1]))


@contextmanager
def impatient_downloads() -> Iterator[None]:
    """Inside, a download gives up after `DOWNLOAD_TIMEOUT_SECONDS` of silence; by itself urllib waits for ever."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(DOWNLOAD_TIMEOUT_SECONDS)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _read_part(official: _Official, data_dir: Path, split: Mapping[str, Any]) -> tuple[Images, Labels]:
    """Images (n, C, H, W) and labels (n,) of one part."""
    from torchvision import datasets

    part = getattr(datasets, official.class_name)(root=str(data_dir), download=True, **split)
    images = np.asarray(part.data)
    labels = np.asarray(part.labels if official.class_name == "SVHN" else part.targets, dtype=np.int64)
    if len(images) != len(labels):
        raise ValueError(f"{len(images)} images with {len(labels)} labels")
    if images.ndim == 3:  # MNIST is (n, H, W), CIFAR-10 (n, H, W, C), SVHN (n, C, H, W)
        return images[:, None], labels
    return (images.transpose(0, 3, 1, 2) if official.class_name == "CIFAR10" else images), labels


def _official_problem(name: str, folder: Path, got: str) -> str:
    """The sentence for files that could not be downloaded, or for files that are there and cannot be read."""
    files = _OFFICIAL[name].files
    missing = [file for file, unpacked in files.items() if not any((folder / f).exists() for f in (file, unpacked))]
    if missing:
        return f"data.source {name} must be on disk or downloadable, got {got}; put {', '.join(missing)} into {folder}."
    present = sorted(f for f in {*files, *files.values()} if (folder / f).exists())
    return (
        f"The files of {name} in {folder} must be the undamaged official ones, got damaged ones ({got}); "
        f"delete {', '.join(present)} and run again to download them, or replace them."
    )
