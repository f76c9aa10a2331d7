"""Labels of images as people keep them: a CSV with the columns file and label, names relative to a folder of images."""

import csv
import io
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from rambo.errors import InvalidInput, require
from rambo.formats import shortened, visible, whole

COLUMNS = ("file", "label")

MOST_LISTED = 10
"""Files that a sentence names, at most."""


def read_labels(paths: Sequence[Path]) -> dict[str, str]:
    """The label of each file, as text, of one or several CSV files; where a label is empty there is none.

    Separated by commas, semicolons or tabs, quoted or not, UTF-8 with or without a byte order mark; other columns are
    passed over, so `to_label.csv` with its labels filled in can be given as it is. Where some labels are whole numbers,
    `5.0` is the label 5: what has written it took an empty label for a missing number. Raises `InvalidInput` for files
    that are no such table, where a file has two labels, and where one number is written in two ways.
    """
    rows = [row for path in paths for row in _rows(path)]
    spelled = _spellings({label for _, label in rows})
    return _once((file, spelled.get(label, label)) for file, label in rows)


def _spellings(labels: Collection[str]) -> dict[str, str]:
    """What stands for a whole number in other words, as `5.0` does for 5; empty where no label is one."""
    numbers = [(number, label) for label in sorted(labels) if (number := whole(label)) is not None]
    there = dict(numbers)
    twice = [(label, there[number]) for number, label in numbers if there[number] != label]
    require(
        not twice,
        f"Each class must be written in one way, got {' and '.join(sorted(twice[0])) if twice else ''}; write one of "
        "them throughout.",
    )
    decimals = {label: whole(label.removesuffix(".0")) for label in labels if label.endswith(".0")} if there else {}
    return {label: there.get(number, str(number)) for label, number in decimals.items() if number is not None}


def _once(rows: Iterable[tuple[str, str]]) -> dict[str, str]:
    """The label of each file; raises `InvalidInput` where one has several."""
    found: dict[str, str] = {}
    twice: dict[str, list[str]] = {}
    for file, label in rows:
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

    Letters with accents count as the same however they are composed, and a name may begin with ./ or with the folder,
    or with as many of its last parts as one likes. Raises `InvalidInput` for labels of files that are not there.
    """
    exact, alike = set(files), Counter(map(_normal, files))
    there = {_normal(file): file for file in files if alike[_normal(file)] == 1}
    found, absent = list[tuple[str, str]](), []
    for file, label in labels.items():
        known = next((file for file in _written(file) if file in exact), None)
        known = known or next(
            (there[name] for name in map(_normal, _inside(file.strip(), folder)) if name in there), None
        )
        if known is None:
            absent.append(file)
        else:
            found.append((known, label))
    require(
        not absent,
        f"The labels file must name files of {visible(folder)}, got {listed(absent)}, which {_is_not(len(absent))} "
        "there; names are relative to that folder: correct them, or give the labels of this pool.",
    )
    return _once(found)


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
    text = _text(path).lstrip("\r\n")
    header = text.splitlines()[0] if text.strip() else ""
    separator = max(",;\t", key=lambda one: (_has_columns(header, one), header.count(one)))
    try:
        yield from _read_rows(path, csv.DictReader(io.StringIO(text, newline=""), delimiter=separator))
    except csv.Error as error:
        raise InvalidInput(
            f"{visible(path)} must be a CSV file, got {error}; look for a quotation mark that is never closed."
        ) from None


def _has_columns(header: str, separator: str) -> bool:
    names = {name.strip().strip('"').lower() for name in header.split(separator)}
    return set(COLUMNS) <= names


def _read_rows(path: Path, reader: "csv.DictReader[str]") -> Iterator[tuple[str, str]]:
    names = {(name or "").strip().lower(): name for name in reader.fieldnames or ()}
    missing = [column for column in COLUMNS if column not in names]
    require(
        not missing,
        f"{visible(path)} must have the columns file and label, got {shortened(list(reader.fieldnames or ()))}; name "
        "them in its first line.",
    )
    file_column, label_column = (names[column] for column in COLUMNS)
    for row in reader:
        file, label = row[file_column] or "", (row[label_column] or "").strip()
        require(
            bool(file.strip()) or not label,
            f"{visible(path)}, line {reader.line_num}, must name a file, got none; add it.",
        )
        if label:
            yield file, label.strip('"')


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None)
        said = f"({reason}); check the path." if reason else "(it is not in UTF-8); save it as UTF-8."
        raise InvalidInput(f"--labels must be a CSV file that can be read, got {visible(path)} {said}") from None


def _written(file: str) -> Iterator[str]:
    """The name as it stands, and as Python writes one that is no UTF-8."""
    yield file
    yield re.sub(r"\\udc([0-9a-f]{2})", lambda found: chr(0xDC00 + int(found[1], 16)), file)


def _inside(file: str, folder: Path) -> Iterator[str]:
    """What the name may be relative to the folder: as it stands, or without the last parts of the folder's own path."""
    path, full = Path(file.replace("\\", "/")), folder.absolute()
    if path.is_absolute() and path.is_relative_to(full):
        path = path.relative_to(full)
    yield path.as_posix()
    for number in range(1, len(path.parts)):
        if path.parts[:number] == full.parts[-number:]:
            yield Path(*path.parts[number:]).as_posix()


def _normal(file: str) -> str:
    return unicodedata.normalize("NFC", file)


def _is_not(number: int) -> str:
    return "is not" if number == 1 else "are not"
