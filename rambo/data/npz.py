"""npz:PATH: images or embeddings, and labels, as arrays of an .npz file."""

import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rambo.arrays import Features, Images, Inputs, Labels
from rambo.data.embeddings import mapped, to_float32
from rambo.data.source_images import UNLABELLED, SourceImages, one_line
from rambo.errors import InvalidInput, require
from rambo.formats import counted, visible

Array = NDArray[Any]

NAMES = ("x", "y", "classes")

PLAIN = {
    "x": "stack images of one size, as numpy.stack(list(x)).astype(numpy.uint8) does",
    "y": "save y.astype(str)",
    "classes": "save classes.astype(str)",
}
"""What makes an array of Python objects one of numbers or text."""

UNIQUE = "numpy.unique(y, return_inverse=True)[1] does it"
"""What numbers any labels from 0 without a gap."""


@dataclass(frozen=True, eq=False)
class Classes:
    """Labels (N,) of 0..C-1, the classes' names, and by what rule they were made of what stood there."""

    labels: Labels
    names: tuple[str, ...]
    rule: str | None


def read_npz(path: Path) -> SourceImages:
    """Arrays `x` and `y`, optionally `classes`, of an .npz file; pickled objects are refused.

    `x` is (N, H, W), (N, H, W, C) or (N, C, H, W) with C = 1 or 3 (channels last where both fit), holding uint8, other
    integers in 0..255, floats in [0, 1] that are scaled by 255 and rounded, or truth values, black and white; or (N, d)
    floats, which are embeddings and stay as they are, mapped from the file where it holds them as float32. `y` (N,)
    or (N, 1) holds the integers 0..C-1, each at least once, also as whole floats or truth values, and −1 where an image
    has no label; or it is one-hot, (N, C); or text, whose classes are its values in order, and which is empty where an
    image has no label. `classes` (C,) names them.
    """
    shown = visible(path)
    arrays, others = _read_arrays(path, shown)
    inputs, form, rules = _embeddings(arrays["x"], shown) if arrays["x"].ndim == 2 else _images(arrays["x"], shown)
    classes = _classes(arrays["y"], arrays.get("classes"), len(inputs), arrays["x"].shape, shown)
    name, kind = visible(f"npz:{path}"), "images" if inputs.ndim == 4 else "embeddings"
    notes = [f"{name}: {len(inputs)} {kind} of {len(classes.names)} classes, {form}."]
    changes = [rule for rule in (*rules, classes.rule) if rule]
    notes += [f"{name}, changed: {'; '.join(changes)}."] if changes else []
    notes += [f"{name}, passed over: {', '.join(map(visible, others))}."] if others else []
    return SourceImages(path.stem, inputs, classes.labels, classes.names, notes=tuple(notes))


def read_inputs(path: Path) -> Inputs:
    """`x` of an .npz file alone, as `read_npz` takes it: images (N, C, H, W) or embeddings (N, d)."""
    shown = visible(path)
    arrays, _ = _read_arrays(path, shown, needed=("x",))
    x = arrays["x"]
    return _embeddings(x, shown)[0] if x.ndim == 2 else _images(x, shown)[0]


def _images(x: Array, shown: str) -> tuple[Images, str, tuple[str | None, ...]]:
    """Images, their form in words, and by what rules they were made of `x`."""
    images, layout = _channels_first(x, shown)
    pixels, scale = _to_uint8(images, shown)
    _, channels, height, width = pixels.shape
    return pixels, f"{width}x{height} pixels, {'grey' if channels == 1 else 'RGB'}", (layout, scale)


def _embeddings(x: Array, shown: str) -> tuple[Features, str, tuple[str | None, ...]]:
    """The same of embeddings."""
    embeddings = to_float32(x, shown)
    rule = None if embeddings.dtype == x.dtype else f"{x.dtype} of x became float32"
    held = "mapped from the file" if isinstance(embeddings, np.memmap) else "in memory"
    return embeddings, f"{x.shape[1]} numbers each, {held}", (rule,)


def _read_arrays(path: Path, shown: str, needed: tuple[str, ...] = ("x", "y")) -> tuple[dict[str, Array], list[str]]:
    """The arrays `needed` and, where present, others of `NAMES`; and the names of all others."""
    try:
        require(path.is_file(), f"data.source must name a file that exists, got npz:{shown}; check the path.")
        is_archive = zipfile.is_zipfile(path)
    except OSError as error:
        raise InvalidInput(
            f"{shown} must be readable, got {error.strerror}; check the path and who may read it."
        ) from error
    require(is_archive, f"{shown} must be an .npz archive, got another format; write it with numpy.savez.")
    arrays: dict[str, Array] = {}
    found, name = list[str](), "its list"
    try:
        with np.load(path, allow_pickle=False) as archive:
            found = list(archive.files)
            for name in (name for name in NAMES if name in found):
                there = mapped(archive.zip, path, name) if name == "x" else None
                arrays[name] = np.asarray(archive[name]) if there is None else there
    except (OSError, ValueError, EOFError, NotImplementedError, zipfile.BadZipFile, zlib.error) as error:
        said = one_line(error)
        cure = PLAIN[name] if said.startswith("Object arrays") else "write it again with numpy.savez"
        raise InvalidInput(f"{shown} must hold plain, undamaged arrays, got {said} in {name}; {cure}.") from error
    wanted = {"x": "x (images)", "y": "y (labels)"}
    require(
        set(needed) <= set(found),
        f"{shown} must hold the arrays {' and '.join(wanted[name] for name in needed)}, got "
        f"{', '.join(map(visible, found)) or 'none'}; rename them.",
    )
    return arrays, [name for name in found if name not in NAMES]


def _channels_first(x: Array, shown: str) -> tuple[Array, str | None]:
    """`x` as (N, C, H, W), and what it was taken for where it could be something else."""
    last, first = x.ndim == 4 and x.shape[3] in (1, 3), x.ndim == 4 and x.shape[1] in (1, 3)
    cure = "keep three, as x[..., :3] does" if x.ndim == 4 and x.shape[3] == 4 else "reshape it"
    require(
        (x.ndim == 3 or last or first) and x.size > 0,
        f"x in {shown} must be (N, H, W), (N, H, W, C) or (N, C, H, W) with 1 or 3 channels and at least one image, "
        f"got shape {x.shape}; {cure}.",
    )
    if x.ndim == 3:
        return x[:, None], None
    if last:
        return x.transpose(0, 3, 1, 2), f"x of shape {x.shape} is taken to have its channels last" if first else None
    return x, None


def _to_uint8(x: Array, shown: str) -> tuple[Images, str | None]:
    """`x` as bytes, and by what rule."""
    kind, where = x.dtype.kind, f"x in {shown}"
    require(kind in "uifb", f"{where} must hold integers or floats, got dtype {x.dtype}; convert it to either.")
    if kind == "b":
        return np.where(x, np.uint8(255), np.uint8(0)), "truth values of x are 0 and 255"
    low, high = x.min(), x.max()  # either is NaN if any value is: no mask of the whole array is needed
    if kind in "ui":
        require(bool(low >= 0 and high <= 255), f"{where} must lie in 0..255, got {low}..{high}; rescale it.")
        return x.astype(np.uint8, copy=False), None
    require(bool(np.isfinite([low, high]).all()), f"{where} must be finite, got NaN or infinity; remove such images.")
    require(
        bool(low >= 0 and high <= 1),
        f"{where} must lie in [0, 1] where it holds floats, got {low:g}..{high:g}; save "
        f"{'x.astype(numpy.uint8)' if low >= 0 and high <= 255 else '(x - x.min()) / (x.max() - x.min())'}.",
    )
    images = np.empty(x.shape, dtype=np.uint8)
    for image, values in zip(images, x, strict=True):  # one by one: no float copy of the whole array
        image[...] = np.rint(np.multiply(values, 255, dtype=np.float64))
    return images, "floats of x are multiplied by 255 and rounded"


def _as_long(y: Array, num_images: int, axes: tuple[int, ...]) -> str:
    """What brings labels and images, stored in the shape `axes`, to one length."""
    if y.size == num_images:
        return "save y.reshape(-1)"
    if y.ndim and len(y) in axes:
        return f"save numpy.moveaxis(x, {axes.index(len(y))}, 0) where images lie along that axis"
    return "drop what has no partner"


def _classes(y: Array, given: Array | None, num_images: int, axes: tuple[int, ...], shown: str) -> Classes:
    """What stands in `y`, in whichever form."""
    where, length = f"y in {shown}", len(y) if y.ndim else 0
    require(
        length == num_images,
        f"{where} must be as long as x, {num_images}, got shape {y.shape}; {_as_long(y, num_images, axes)}.",
    )
    if y.ndim == 2 and y.shape[1] > 1:
        return _numbered(
            _one_hot(y, where), y.shape[1], given, shown, "one-hot rows of y became the places of their ones"
        )
    require(
        y.size == length,
        f"{where} must be one label an image, shape (N,), or one-hot, (N, C), got shape {y.shape}; reshape it.",
    )
    flat = y.reshape(-1)
    if flat.dtype.kind in "US":
        return _named(_text(flat), given, shown)
    rule = {"f": "floats of y, all whole, became integers", "b": "truth values of y became 0 and 1"}.get(
        flat.dtype.kind
    )
    labels = _whole(flat, where)
    rule = _with_unlabelled(rule, int((labels == UNLABELLED).sum()), "y = -1")
    return _numbered(labels, int(labels.max()) + 1, given, shown, rule)


def _with_unlabelled(rule: str | None, number: int, mark: str) -> str | None:
    """`rule`, and how many images have no label, as `mark` says of them."""
    said = [f"{counted(number, 'image has', 'images have')} no label, {mark}"] if number else []
    return "; ".join(filter(None, [rule, *said])) or None


def _one_hot(y: Array, where: str) -> Array:
    """The places (N,) of the ones in rows (N, C)."""
    fits = y.dtype.kind in "uifb" and bool(((y == 0) | (y == 1)).all() and ((y == 1).sum(axis=1) == 1).all())
    require(
        fits,
        f"{where} must be one label an image, shape (N,), or one-hot, (N, C), got shape {y.shape} with rows that do "
        "not hold a single 1 among zeros; save numpy.argmax(y, axis=1) where the largest is meant.",
    )
    labels = np.argmax(y, axis=1)
    absent = np.flatnonzero(~y.any(axis=0))
    require(
        len(absent) == 0,
        f"{where} must hold an image of every class, got none in column {absent[:1].tolist()} of {y.shape[1]}; leave "
        "out such columns, as y[:, y.any(axis=0)] does.",
    )
    return labels


def _whole(y: Array, where: str) -> Array:
    """Labels of any numeric kind as integers."""
    kinds = f"{where} must hold integers, whole floats, truth values or text"
    require(y.dtype.kind in "uifb", f"{kinds}, got dtype {y.dtype}; {UNIQUE}.")
    if y.dtype.kind != "f":
        return y.astype(np.int64) if y.dtype.kind == "b" else y
    require(bool(np.isfinite(y).all()), f"{kinds}, got NaN or infinity; remove such images.")
    strange = y[(y != np.rint(y)) | (np.abs(y) > 2**53)]
    require(len(strange) == 0, f"{kinds}, got {strange[:1].tolist()}; number the classes from 0: {UNIQUE}.")
    return y.astype(np.int64)


def _numbered(labels: Array, num_classes: int, given: Array | None, shown: str, rule: str | None) -> Classes:
    """Classes that are numbered already."""
    where, found = f"y in {shown}", np.unique(labels).tolist()
    require(
        found[0] >= UNLABELLED,
        f"{where} must not be negative but for -1, an image without a label, got {found[0]}; number the classes from "
        f"0: {UNIQUE}.",
    )
    if found[0] == UNLABELLED:
        found = found[1:]
        require(
            len(found) >= 2,
            f"{where} must have two classes beside -1, which stands for no label, got {len(found)}; label images of "
            f"each, or number the classes from 0 if -1 is one: {UNIQUE}.",
        )
    absent = next((label for label, value in enumerate(found) if label != value), None)
    require(
        absent is None,
        f"{where} must number the classes from 0 without a gap, got labels up to {found[-1]} but no image of class "
        f"{absent}; renumber them: {UNIQUE}.",
    )
    names = tuple(map(str, range(num_classes))) if given is None else _names(given, num_classes, shown)
    return Classes(labels.astype(np.int64), names, rule)


def _named(y: Array, given: Array | None, shown: str) -> Classes:
    """Classes that are named in y, in the order of their names or, where `classes` is given, in its order."""
    is_labelled = y != ""
    found, places = np.unique(y[is_labelled], return_inverse=True)
    require(
        len(found) >= 2 or bool(is_labelled.all()),
        f"y in {shown} must have two classes beside empty text, which stands for no label, got {len(found)}; label "
        "images of each.",
    )
    rule, labels = "text of y became classes in", np.full(len(y), UNLABELLED, dtype=np.int64)
    unlabelled = int((~is_labelled).sum())
    if given is None:
        labels[is_labelled] = places
        rule = f"{rule} alphabetical order"
        return Classes(labels, tuple(map(str, found)), _with_unlabelled(rule, unlabelled, "y is empty"))
    names = _names(given, len(found), shown)
    require(
        set(names) == set(found.tolist()),
        f"classes in {shown} must be the {len(found)} values of y, got {visible(names[:5])} where y has "
        f"{visible(tuple(found[:5].tolist()))}; correct or remove it.",
    )
    place = {name: label for label, name in enumerate(names)}
    ordered = np.array([place[name] for name in found.tolist()])
    labels[is_labelled] = ordered[places]
    return Classes(labels, names, _with_unlabelled(f"{rule} the order of classes", unlabelled, "y is empty"))


def _names(classes: Array, num_classes: int, shown: str) -> tuple[str, ...]:
    require(
        classes.dtype.kind in "US" and classes.shape == (num_classes,),
        f"classes in {shown} must be {num_classes} strings, one for each class in y, got dtype {classes.dtype} and "
        f"shape {classes.shape}; correct or remove it.",
    )
    return tuple(_text(classes).tolist())


def _text(values: Array) -> Array:
    """Text as it is, bytes as UTF-8; what is none is kept, as Python keeps it in the names of files."""
    return values if values.dtype.kind == "U" else np.char.decode(values, "utf-8", "surrogateescape")
