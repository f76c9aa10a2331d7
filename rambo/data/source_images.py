"""What readers hand on: arrays, names, and what they did to the source, in a line each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rambo.arrays import Inputs, Labels
from rambo.formats import last_line

UNLABELLED = -1
"""In place of a label."""

MOST_NAMED = 3
"""Files that a line names of each sort."""


@dataclass(frozen=True, eq=False)
class SourceImages:
    """What a source holds: images, or embeddings, and `labels` (N,) int64.

    Labels are 0..len(class_names)-1, or −1 where the source has none.
    """

    name: str
    images: Inputs
    """(N, C, H, W) uint8, or (N, d) float32."""
    labels: Labels
    class_names: tuple[str, ...]
    num_official_test: int = 0
    """This many of the last images are the source's own test split; 0 where it has none."""
    files: tuple[str, ...] = ()
    """(N,) where each image was read from, relative to the source; empty where images are no files."""
    notes: tuple[str, ...] = ()
    """A line each of what was taken, what was changed and what was passed over, as far as there is anything to say."""


def one_line(error: BaseException) -> str:
    """The first sentence of the last line of an error's text, which says most; its type where there is no text."""
    return last_line(error).split(". ")[0].rstrip(".")


def counted(sorts: Mapping[str, Sequence[str]]) -> str:
    """How many names there are of each sort, and the first of them.

    >>> counted({"links to nothing": ["a.png"], "hidden": [".b", ".c", ".d", ".e"], "else": []})
    '1 links to nothing (a.png); 4 hidden (.b, .c, .d, …)'
    """
    told = []
    for sort, names in sorts.items():
        if names:
            more = ", …" if len(names) > MOST_NAMED else ""
            told.append(f"{len(names)} {sort} ({', '.join(names[:MOST_NAMED])}{more})")
    return "; ".join(told)
