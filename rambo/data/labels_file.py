"""Labels of images as people keep them: a CSV with the columns file and label, names relative to a folder of images."""

import csv
import io
import unicodedata
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path

from rambo.errors import InvalidInput, require
from rambo.formats import shortened, visible, whole

COLUMNS = ("file", "label")

MOST_LISTED = 10
"""Files that a sentence names, at most."""


def read_labels(paths: Sequence[Path]) -> dict[str, str]:
    """The label of each file, as text, of one or several CSV files; where a label is empty there is none.

    Separated by commas, semicolons or tabs, quoted or not, UTF-8 with or without a byte order mark; other columns are
    passed over, so `to_label.csv` with its labels filled in can be given as it is. Raises `InvalidInput` for files that
    are no such table, and where a file has two labels.
    """
    found: dict[str, str] = {}
    twice: dict[str, list[str]] = {}
    for path in paths:
        for file, label in _rows(path):
            if found.setdefault(file, label) != label:
                twice.setdefault(file, [found[file]]).append(label)
    require(
        not twice,
        f"Each file must have one label, got several for {listed(twice, lambda file: ' and '.join(twice[file]))}; "
        "correct the labels file.",
    )
    return found


def named_of(files: Sequence[str], labels: Mapping[str, str], folder: Path) -> dict[str, str]:
    """`labels` by the names that `files` of `folder` have.

    Letters with accents count as the same however they are composed, and a name may begin with ./ or the folder. Raises
    `InvalidInput` for labels of files that are not there.
    """
    there = {_normal(file): file for file in files}
    found, absent = {}, []
    for file, label in labels.items():
        known = there.get(_normal(_inside(file, folder)))
        if known is None:
            absent.append(file)
        else:
            found[known] = label
    require(
        not absent,
        f"The labels file must name files of {visible(folder)}, got {listed(absent)}, which {_is_not(len(absent))} "
        "there; names are relative to that folder: correct them, or give the labels of this pool.",
    )
    return found


def classes_of(labels: Mapping[str, str]) -> tuple[str, ...]:
    """The classes that are named, numbers by value and before text by letters."""

    def place(name: str) -> tuple[bool, int, str]:
        number = whole(name)
        return number is None, number or 0, name

    return tuple(sorted(set(labels.values()), key=place))


def listed(names: Collection[str], told: Callable[[str], str] | None = None) -> str:
    """Up to ten of `names`, and how many more; `told` adds what is to be said of each."""
    shown = [visible(name) + (f" ({told(name)})" if told else "") for name in list(names)[:MOST_LISTED]]
    more = f" and {len(names) - MOST_LISTED} more" if len(names) > MOST_LISTED else ""
    return ", ".join(shown) + more


def _rows(path: Path) -> Iterator[tuple[str, str]]:
    text = _text(path)
    header = text.splitlines()[0] if text.strip() else ""
    separator = max(",;\t", key=header.count)
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True)
    names = {(name or "").strip().lower(): name for name in reader.fieldnames or ()}
    missing = [column for column in COLUMNS if column not in names]
    require(
        not missing,
        f"{visible(path)} must have the columns file and label, got {shortened(list(reader.fieldnames or ()))}; name "
        "them in its first line.",
    )
    file_column, label_column = (names[column] for column in COLUMNS)
    for row in reader:
        file, label = ((row[column] or "").strip() for column in (file_column, label_column))
        require(bool(file), f"{visible(path)}, line {reader.line_num}, must name a file, got none; add it.")
        if label:
            yield file, label


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not in UTF-8"
        raise InvalidInput(
            f"--labels must be a CSV file that can be read, got {visible(path)} ({reason}); save it as UTF-8."
        ) from None


def _inside(file: str, folder: Path) -> str:
    """The name relative to the folder."""
    path = Path(file.replace("\\", "/"))
    if path.is_absolute() and path.is_relative_to(folder.absolute()):
        path = path.relative_to(folder.absolute())
    return path.as_posix()


def _normal(file: str) -> str:
    return unicodedata.normalize("NFC", file)


def _is_not(number: int) -> str:
    return "is not" if number == 1 else "are not"
