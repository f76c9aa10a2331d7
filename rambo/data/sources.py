"""Readers: each turns one kind of source (a shipped, downloadable or own data set) into plain arrays.

A source is a word (`digits`, `mnist`, …) or `KIND:PATH`. Whatever is wrong with one comes out as one sentence, and
libraries that are slow to import are imported by the reader that needs them.
"""

import socket
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rambo.arrays import Images, Labels
from rambo.errors import InvalidInput, require
from rambo.formats import last_line

SOURCES = ("digits", "mnist", "fashion_mnist", "cifar10", "svhn", "npz:PATH", "images:DIR")

DOWNLOAD_TIMEOUT_SECONDS = 10.0
"""Longest silence of a server before a download counts as failed."""


@dataclass(frozen=True, eq=False)
class SourceImages:
    """What a source holds: `images` (N, C, H, W) uint8, `labels` (N,) int64 in 0..len(class_names)-1."""

    name: str
    images: Images
    labels: Labels
    class_names: tuple[str, ...]
    num_official_test: int = 0
    """This many of the last images are the source's own test split; 0 where it has none."""


def read_source(source: str, data_dir: Path, image_size: int) -> SourceImages:
    """The images of `source`; raises `InvalidInput` where they cannot be had.

    `data_dir` holds (or receives) the downloadable sets; `image_size` is the side in pixels that images:DIR resizes to,
    0 for none.
    """
    require(image_size >= 0, f"data.image_size must be at least 0, got {image_size}; 0 keeps the images as they are.")
    kind, colon, path = source.partition(":")
    if colon and kind in ("npz", "images"):
        require(bool(path), f"data.source must name a path after {kind}:, got {source!r}; add it.")
        full = Path(path).expanduser()
        return read_npz(full) if kind == "npz" else read_folders(full, image_size)
    if source in _OFFICIAL:
        return read_official(source, data_dir.expanduser())
    require(source == "digits", f"data.source must be one of {', '.join(SOURCES)}, got {source!r}; pick one of these.")
    return read_digits()


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


def one_line(error: BaseException) -> str:
    """The first sentence of the last line of an error's text, which says most; its type where there is no text."""
    return last_line(error).split(". ")[0].rstrip(".")


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


# --- npz:PATH --------------------------------------------------------------------------------------------------------


def read_npz(path: Path) -> SourceImages:
    """Arrays `x` and `y`, optionally `classes`, of an .npz file; pickled objects are refused.

    `x` is (N, H, W), (N, H, W, C) or (N, C, H, W) with C = 1 or 3 (channels last where both fit), holding uint8, other
    integers in 0..255, or floats in [0, 1] that are scaled by 255 and rounded. `y` (N,) holds the integers 0..C-1, each
    at least once; `classes` (C,) their names.
    """
    arrays = _read_arrays(path)
    images, y = _channels_first(arrays["x"], path), arrays["y"]
    _check_labels(y, len(images), path)
    names = _class_names(arrays.get("classes"), int(y.max()) + 1, path)
    return SourceImages(path.stem, _to_uint8(images, path), y.astype(np.int64), names)


def _read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays x, y and, where present, classes."""
    require(path.is_file(), f"data.source must name a file that exists, got npz:{path}; check the path.")
    require(zipfile.is_zipfile(path), f"{path} must be an .npz archive, got another format; write it with numpy.savez.")
    try:
        with np.load(path, allow_pickle=False) as archive:
            found = list(archive.files)
            arrays = {name: np.asarray(archive[name]) for name in ("x", "y", "classes") if name in found}
    except (OSError, ValueError, EOFError, NotImplementedError, zipfile.BadZipFile, zlib.error) as error:
        raise InvalidInput(
            f"{path} must hold plain, undamaged arrays, got {one_line(error)}; write it again with numpy.savez."
        ) from error
    require(
        {"x", "y"} <= set(found),
        f"{path} must hold the arrays x (images) and y (labels), got {', '.join(found) or 'none'}; rename them.",
    )
    return arrays


def _channels_first(x: NDArray[Any], path: Path) -> NDArray[Any]:
    """`x` as (N, C, H, W)."""
    fits = x.ndim == 3 or (x.ndim == 4 and (x.shape[3] in (1, 3) or x.shape[1] in (1, 3)))
    require(
        fits and x.size > 0,
        f"x in {path} must be (N, H, W), (N, H, W, C) or (N, C, H, W) with 1 or 3 channels and at least one image, "
        f"got shape {x.shape}; reshape it.",
    )
    if x.ndim == 3:
        return x[:, None]
    return x.transpose(0, 3, 1, 2) if x.shape[3] in (1, 3) else x


def _to_uint8(x: NDArray[Any], path: Path) -> Images:
    kind, where = x.dtype.kind, f"x in {path}"
    require(kind in "uif", f"{where} must hold integers or floats, got dtype {x.dtype}; convert it to uint8.")
    low, high = x.min(), x.max()  # either is NaN if any value is: no mask of the whole array is needed
    if kind in "ui":
        require(bool(low >= 0 and high <= 255), f"{where} must lie in 0..255, got {low}..{high}; rescale it.")
        return x.astype(np.uint8, copy=False)
    require(bool(np.isfinite([low, high]).all()), f"{where} must be finite, got NaN or infinity; remove such images.")
    require(
        bool(low >= 0 and high <= 1),
        f"{where} must lie in [0, 1] where it holds floats, got {low:g}..{high:g}; rescale it or convert it to uint8.",
    )
    images = np.empty(x.shape, dtype=np.uint8)
    for image, values in zip(images, x, strict=True):  # one by one: no float copy of the whole array
        image[...] = np.rint(np.multiply(values, 255, dtype=np.float64))
    return images


def _check_labels(y: NDArray[Any], num_images: int, path: Path) -> None:
    where = f"y in {path}"
    require(y.ndim == 1, f"{where} must be one label an image, shape (N,), got shape {y.shape}; flatten it.")
    require(
        len(y) == num_images, f"{where} must be as long as x, {num_images}, got {len(y)}; drop what has no partner."
    )
    require(y.dtype.kind in "ui", f"{where} must hold integers, got dtype {y.dtype}; number the classes from 0.")
    found = np.unique(y).tolist()
    require(found[0] >= 0, f"{where} must not be negative, got {found[0]}; number the classes from 0.")
    absent = next((label for label, value in enumerate(found) if label != value), None)
    require(
        absent is None,
        f"{where} must number the classes from 0 without a gap, got labels up to {found[-1]} but no image of class "
        f"{absent}; renumber them.",
    )


def _class_names(classes: NDArray[Any] | None, num_classes: int, path: Path) -> tuple[str, ...]:
    if classes is None:
        return tuple(str(label) for label in range(num_classes))
    require(
        classes.dtype.kind == "U" and classes.shape == (num_classes,),
        f"classes in {path} must be {num_classes} strings, one for each class in y, got dtype {classes.dtype} and "
        f"shape {classes.shape}; correct or remove it.",
    )
    return tuple(str(name) for name in classes)


# --- images:DIR ------------------------------------------------------------------------------------------------------

_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".webp")


@dataclass(frozen=True)
class _Form:
    """Pillow's mode of an image and its size (width, height) in pixels."""

    mode: str
    size: tuple[int, int]


def read_folders(folder: Path, image_size: int) -> SourceImages:
    """A folder with one folder of images per class; classes and files are taken in the order of their names.

    Grey where every image is (Pillow's modes L and 1), else RGB; transparency is dropped. Hidden names and files of
    other kinds are passed over.
    """
    classes = _files_by_class(folder)
    paths = [path for files in classes.values() for path in files]
    form = _common_form(paths, image_size)
    images = np.empty((len(paths), len(form.mode), form.size[1], form.size[0]), dtype=np.uint8)
    for image, path in zip(images, paths, strict=True):
        image[...] = _decode(path, form)
    labels = np.repeat(np.arange(len(classes)), [len(files) for files in classes.values()])
    return SourceImages(folder.resolve().name, images, labels, tuple(classes))


def _files_by_class(folder: Path) -> dict[str, list[Path]]:
    require(folder.is_dir(), f"data.source must name a folder that exists, got images:{folder}; check the path.")
    folders = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    require(bool(folders), f"{folder} must hold one folder of images per class, got no folder; sort the images so.")
    found = {path.name: sorted(file for file in path.iterdir() if _is_image(file)) for path in folders}
    for name, files in found.items():
        require(
            bool(files),
            f"{folder / name} must hold images ({' '.join(_SUFFIXES)}), got none; add some or remove the folder.",
        )
    return found


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in _SUFFIXES and not path.name.startswith(".") and path.is_file()


def _common_form(paths: Sequence[Path], image_size: int) -> _Form:
    """The form that all images get; reads headers only, so what does not fit shows before anything is decoded."""
    forms = [_header(path) for path in paths]
    first = forms[0].size
    for path, form in zip(paths, forms, strict=True):
        require(
            bool(image_size) or form.size == first,
            f"Images must share one size, got {first[0]}x{first[1]} in {paths[0]} and {form.size[0]}x{form.size[1]} in "
            f"{path}; set data.image_size to resize them.",
        )
    grey = all(form.mode in ("L", "1") for form in forms)
    return _Form("L" if grey else "RGB", (image_size, image_size) if image_size else first)


def _header(path: Path) -> _Form:
    from PIL import Image

    with _readable(path), Image.open(path) as image:
        form = _Form(image.mode, image.size)
    require(
        not form.mode.startswith(("I", "F")),
        f"{path} must have 8 bits a channel, got Pillow mode {form.mode}; convert it.",
    )
    return form


def _decode(path: Path, form: _Form) -> Images:
    """The pixels (C, H, W) of an image brought into `form`."""
    from PIL import Image

    with _readable(path), Image.open(path) as image:
        # Pillow warns when a palette with transparency goes straight to RGB
        opaque = image.convert("RGBA") if image.mode in ("P", "PA") else image
        converted = opaque.convert(form.mode)
        if converted.size != form.size:
            converted = converted.resize(form.size, Image.Resampling.BILINEAR)
        return np.asarray(converted).reshape(form.size[1], form.size[0], len(form.mode)).transpose(2, 0, 1)


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Inside, whatever Pillow raises for a broken image becomes one sentence."""
    from PIL import Image

    try:
        yield
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        raise InvalidInput(f"{path} must be a readable image, got {one_line(error)}; replace or remove it.") from error
