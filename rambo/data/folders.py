"""images:DIR: a folder with one folder of images per class."""

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from rambo.arrays import Images
from rambo.data.decoding import CHANGES, DEEP, Form, decode, form_of, suffixes
from rambo.data.labels_file import MOST_LISTED, classes_of, named_of, read_labels
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
    with _readable_folder(folder):
        found = _look(folder)
    files = [file for names in found.classes.values() for file in names]
    read = _decoded(folder, files, image_size)
    labels = np.repeat(np.arange(len(found.classes)), [len(names) for names in found.classes.values()])
    deep = sum(file.count("/") > 1 for file in files)
    what = f"{len(files)} images of {len(found.classes)} classes"
    notes = _notes(folder, read, what, found.passed, f", {deep} of them in folders of a class" if deep else "")
    return SourceImages(
        folder.resolve().name, read.images, labels, tuple(found.classes), files=tuple(files), notes=tuple(notes)
    )


def read_pictures(folder: Path, labels_files: Sequence[Path], image_size: int) -> SourceImages:
    """Every picture in `folder`, in whatever folders below it, with the labels that CSV files give them.

    Files that these do not name have no label, −1. Classes are the labels there are. Otherwise as `read_folders`.
    """
    given, found = read_labels(labels_files), Found()
    files = _pictures(folder, found)
    known = named_of(files, given, folder)
    classes = classes_of(known)
    require(
        len(classes) >= 2,
        f"The labels file must name at least 2 classes, got {len(classes)} among {len(known)} labels; label more.",
    )
    place = {name: number for number, name in enumerate(classes)}
    labels = np.array([place[known[file]] if file in known else -1 for file in files], dtype=np.int64)
    read = _decoded(folder, files, image_size)
    what = f"{len(files)} images, {len(known)} of them labelled, {len(classes)} classes"
    notes = _notes(folder, read, what, found.passed, "")
    return SourceImages(folder.resolve().name, read.images, labels, classes, files=tuple(files), notes=tuple(notes))


def picture_files(folder: Path) -> list[str]:
    """Every picture in `folder` and below it, relative to it, in the order of names."""
    return _pictures(folder, Found())


def _pictures(folder: Path, found: Found) -> list[str]:
    shown = visible(folder)
    require(folder.is_dir(), f"A folder of images must be one that exists, got {shown}; check the path.")
    with _readable_folder(folder):
        files = sorted(_walk(folder, "", found, {folder.resolve()}), key=lambda file: file.split("/"))
    require(bool(files), f"{shown} must hold images of a format that Pillow reads, got none; add some.")
    return files


@dataclass(frozen=True, eq=False)
class Read:
    """Pictures (N, C, H, W), the form that all have, and what each of `CHANGES` was done to."""

    images: Images
    form: Form
    files: Sequence[str]
    changed: Mapping[str, Sequence[str]]
    brightest: int
    """Of those of 16 bits."""


def _decoded(folder: Path, files: Sequence[str], image_size: int) -> Read:
    """All `files` in one form; those that cannot be read are named together."""
    form = _common_form(folder, files, image_size)
    images = np.empty((len(files), len(form.mode), form.size[1], form.size[0]), dtype=np.uint8)
    changed: dict[str, list[str]] = {change: [] for change in CHANGES}
    brightest = 0
    with gathered(files) as attempts:
        for image, file in zip(images, files, strict=True):
            with attempts():
                decoded = decode(folder / file, form)
                image[...] = decoded.pixels
                for change in decoded.changes:
                    changed[change].append(visible(file))
                if DEEP in decoded.changes:
                    brightest = max(brightest, int(image.max()))
    return Read(images, form, files, changed, brightest)


@contextmanager
def gathered(files: Sequence[str]) -> Iterator[Callable[[], AbstractContextManager[None]]]:
    """Inside, what is refused in each attempt is kept; at the end all of it is one sentence, up to ten files."""
    refused: list[str] = []

    @contextmanager
    def attempt() -> Iterator[None]:
        try:
            yield
        except InvalidInput as error:
            refused.append(str(error))

    yield attempt
    if len(refused) == 1:
        raise InvalidInput(refused[0])
    if refused:
        shown = " ".join(refused[:MOST_LISTED])
        more = f" And {len(refused) - MOST_LISTED} more." if len(refused) > MOST_LISTED else ""
        raise InvalidInput(f"{len(refused)} of {len(files)} images cannot be read. {shown}{more}")


@contextmanager
def _readable_folder(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        where = visible(error.filename or folder)
        raise InvalidInput(f"{where} must be readable, got {error.strerror}; change who may read it.") from error


def _notes(folder: Path, read: Read, what: str, passed: Mapping[str, Sequence[str]], more: str) -> list[str]:
    """What was taken, changed and passed over, a line each."""
    name, form = visible(f"images:{folder}"), read.form
    kinds = Counter(Path(file).suffix.lower() for file in read.files)
    colour = "grey" if form.mode == "L" else "RGB"
    told = ", ".join(f"{kind} {n}" for kind, n in sorted(kinds.items()))
    notes = [f"{name}: {what}, {form.size[0]}x{form.size[1]} pixels, {colour} ({told}){more}."]
    for did, names in (("changed", counted(read.changed)), ("passed over", counted(passed))):
        notes += [f"{name}, {did}: {names}."] if names else []
    if read.changed[DEEP] and read.brightest < DARK:
        notes.append(
            f"The brightest of those of 16 bits is {read.brightest} of 255: scale them if they use fewer bits."
        )
    return notes


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
        file = f"{inside}/{name}" if inside else name
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
    forms: list[Form] = []
    with gathered(files) as attempts:
        for file in files:
            with attempts():
                forms.append(form_of(folder / file, any_size=image_size > 0))
    first = forms[0].size
    for file, form in zip(files, forms, strict=True):
        require(
            bool(image_size) or form.size == first,
            f"Images must share one size, got {first[0]}x{first[1]} in {visible(folder / files[0])} and "
            f"{form.size[0]}x{form.size[1]} in {visible(folder / file)}; set data.image_size to resize them.",
        )
    grey = all(form.mode == "L" for form in forms)
    return Form("L" if grey else "RGB", (image_size, image_size) if image_size else first)
