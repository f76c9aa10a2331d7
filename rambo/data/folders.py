"""images:DIR: a folder with one folder of images per class."""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from rambo.data.decoding import CHANGES, DEEP, Form, decode, form_of, suffixes
from rambo.data.source_images import SourceImages, counted
from rambo.errors import InvalidInput, require
from rambo.formats import visible

PASSED = NOTHING, HIDDEN, ELSEWHERE, BESIDE, OTHER = (
    "links to nothing",
    "hidden",
    "links to folders that are read anyway",
    "beside the folders of the classes",
    "of no image format",
)
"""What is passed over, in words that follow a number of names."""

SPLITS = {"train", "training", "test", "testing", "val", "valid", "validation", "dev", "eval"}
"""Names of folders that hold classes rather than being any."""

DARK = 32
"""Of 16 bits the upper 8 say little where none is as bright as this, as of cameras that fill 12."""


@dataclass
class Found:
    """The images of each class, in the order of their names, and what is passed over; all relative to the folder."""

    classes: dict[str, list[str]] = field(default_factory=dict)
    passed: dict[str, list[str]] = field(default_factory=lambda: {why: [] for why in PASSED})

    def passes(self, why: str, path: str) -> None:
        """Remember that `path` is not taken."""
        self.passed[why].append(visible(path))


def read_folders(folder: Path, image_size: int) -> SourceImages:
    """Every picture in `folder` that Pillow reads, those in folders of a class's folder included.

    Classes and files are taken in the order of their names. Pictures come as they are seen: turned as EXIF says, on
    white where they are transparent, 16 bits by their upper 8, the first of several frames. Grey where every image is
    (Pillow's modes L and 1, and 16 bits), else RGB. `image_size` is the side to resize to, 0 for none.
    """
    try:
        found = _look(folder)
    except OSError as error:
        where = visible(error.filename or folder)
        raise InvalidInput(f"{where} must be readable, got {error.strerror}; change who may read it.") from error
    files = [file for names in found.classes.values() for file in names]
    form = _common_form(folder, files, image_size)
    images = np.empty((len(files), len(form.mode), form.size[1], form.size[0]), dtype=np.uint8)
    changed: dict[str, list[str]] = {change: [] for change in CHANGES}
    brightest = 0
    for image, file in zip(images, files, strict=True):
        decoded = decode(folder / file, form)
        image[...] = decoded.pixels
        for change in decoded.changes:
            changed[change].append(visible(file))
        if DEEP in decoded.changes:
            brightest = max(brightest, int(image.max()))
    labels = np.repeat(np.arange(len(found.classes)), [len(names) for names in found.classes.values()])
    notes = _notes(folder, found, form, changed)
    if changed[DEEP] and brightest < DARK:
        notes.append(f"The brightest of those of 16 bits is {brightest} of 255: scale them if they use fewer bits.")
    return SourceImages(
        folder.resolve().name, images, labels, tuple(found.classes), files=tuple(files), notes=tuple(notes)
    )


def _notes(folder: Path, found: Found, form: Form, changed: dict[str, list[str]]) -> list[str]:
    """What was taken, changed and passed over, a line each."""
    name, files = visible(f"images:{folder}"), [file for names in found.classes.values() for file in names]
    kinds = Counter(Path(file).suffix.lower() for file in files)
    deep = sum(file.count("/") > 1 for file in files)
    taken = f"{name}: {len(files)} images of {len(found.classes)} classes, {form.size[0]}x{form.size[1]} pixels, "
    taken += (
        f"{'grey' if form.mode == 'L' else 'RGB'} ({', '.join(f'{kind} {n}' for kind, n in sorted(kinds.items()))})"
    )
    notes = [f"{taken}{f', {deep} of them in folders of a class' if deep else ''}."]
    notes += [f"{name}, {what}: {told}." for what, told in _told(changed, found.passed) if told]
    return notes


def _told(changed: dict[str, list[str]], passed: dict[str, list[str]]) -> Iterator[tuple[str, str]]:
    yield "changed", counted(changed)
    yield "passed over", counted(passed)


def _look(folder: Path) -> Found:
    """The files of each class; raises `InvalidInput` where there is no class, or one without images."""
    name = visible(f"images:{folder}")
    require(folder.is_dir(), f"data.source must name a folder that exists, got {name}; check the path.")
    found, visited = Found(), set[Path]()
    for name in sorted(os.listdir(folder)):
        path = folder / name
        real = path.resolve() if path.is_dir() else None
        if name.startswith("."):
            found.passes(HIDDEN, name)
        elif real is not None and path.is_symlink() and (real in visited or _is_read_anyway(real, folder.resolve())):
            found.passes(ELSEWHERE, name)
        elif real is not None:
            visited.add(real)
            found.classes[name] = sorted(_walk(folder, name, found, {real}), key=lambda file: file.split("/"))
        else:
            found.passes(BESIDE if path.exists() else NOTHING, name)
    _check(folder, found)
    return found


def _walk(folder: Path, inside: str, found: Found, visited: set[Path]) -> Iterator[str]:
    """The images in one folder of `folder`, and in those below it, each folder once."""
    for name in sorted(os.listdir(folder / inside)):
        file = f"{inside}/{name}"
        path = folder / file
        if name.startswith("."):
            found.passes(HIDDEN, file)
        elif path.is_dir():
            real = path.resolve()
            if real in visited or (path.is_symlink() and _is_read_anyway(real, folder.resolve())):
                found.passes(ELSEWHERE, file)
            else:
                visited.add(real)
                yield from _walk(folder, file, found, visited)
        elif not path.exists() and path.is_symlink():
            found.passes(NOTHING, file)
        elif path.suffix.lower() in suffixes() and path.is_file():
            yield file
        else:
            found.passes(OTHER, file)


def _is_read_anyway(real: Path, root: Path) -> bool:
    """Whether a link leads to what is read of the source itself, or to a folder that holds all of it."""
    if real.is_relative_to(root):
        return not any(part.startswith(".") for part in real.relative_to(root).parts)
    return root.is_relative_to(real)


def _check(folder: Path, found: Found) -> None:
    shown, classes = visible(folder), found.classes
    require(bool(classes), f"{shown} must hold one folder of images per class, got no folder; sort the images so.")
    files = [file for names in classes.values() for file in names]
    deep = bool(files) and all(file.count("/") > 1 for file in files)
    first = visible(next(iter(classes)))
    require(
        not (deep and {name.lower() for name in classes} <= SPLITS),
        f"{shown} must hold one folder of images per class, got {', '.join(map(visible, classes))}, which hold folders "
        f"of their own; name one of them, such as images:{shown}/{first}.",
    )
    for name, files in classes.items():
        require(
            bool(files),
            f"{visible(folder / name)} must hold images of a format that Pillow reads, got none; add some or remove "
            "the folder.",
        )


def _common_form(folder: Path, files: Sequence[str], image_size: int) -> Form:
    """The form that all images get; reads headers alone where these tell, so what does not fit shows soon."""
    forms = [form_of(folder / file, any_size=image_size > 0) for file in files]
    first = forms[0].size
    for file, form in zip(files, forms, strict=True):
        require(
            bool(image_size) or form.size == first,
            f"Images must share one size, got {first[0]}x{first[1]} in {visible(folder / files[0])} and "
            f"{form.size[0]}x{form.size[1]} in {visible(folder / file)}; set data.image_size to resize them.",
        )
    grey = all(form.mode == "L" for form in forms)
    return Form("L" if grey else "RGB", (image_size, image_size) if image_size else first)
