"""What commands print at their end: tables that fit the terminal, and sentences whose words stay whole.

A pipe is 80 columns wide unless COLUMNS says otherwise. There is colour on a terminal alone, and none where NO_COLOR is
set.
"""

import os
import sys
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from rich.cells import cell_len

from rambo.formats import whole

PLAIN_WIDTH = 80
"""Columns where there is no terminal."""

LEAST_WIDTH = 40

NAME_WIDTH = 24
"""What the first column gives up before others are left out: it wraps between words."""

GAP = 2

STYLES = {"bold": "\x1b[1m", "dim": "\x1b[2m", "red": "\x1b[31m", "green": "\x1b[32m", "yellow": "\x1b[33m"}
PLAIN = "\x1b[0m"

Row = Sequence[str]


@dataclass(frozen=True)
class Table:
    """Text by row and column; the first column holds names, others numbers."""

    header: Row
    rows: Sequence[Row]
    title: str = ""
    leaving: Row = ()
    """Columns in the order in which they are left out where there is not room for all."""
    styles: Mapping[str, str] = field(default_factory=dict)
    """Of a cell by its text, one of `STYLES`, on a terminal."""
    wide: Row = ()
    """Columns of text, which wraps between words as the first one does."""

    def within(self, columns: int) -> "Table":
        """As much of it as fits into so many columns of a terminal."""
        left_out: list[str] = []
        while self._least_width(left_out) > columns and len(left_out) < len(self.leaving):
            left_out.append(self.leaving[len(left_out)])
        kept = [place for place, name in enumerate(self.header) if name not in left_out]
        rows = [[row[place] for place in kept] for row in self.rows]
        return replace(self, header=[self.header[place] for place in kept], rows=rows, leaving=())

    def text(self, columns: int = PLAIN_WIDTH, *, coloured: bool = False) -> str:
        """It as people read it."""
        table = self.within(columns)
        widths = table._widths(columns)
        rule = "─" * (sum(widths) + GAP * (len(widths) - 1))
        lines = [line for row in table.rows for line in table._lines(row, widths, table.styles if coloured else {})]
        head = table._lines(table.header, widths, dict.fromkeys(table.header, "bold") if coloured else {})
        return "\n".join([*([table.title] if table.title else []), *head, rule, *lines])

    def _lines(self, row: Row, widths: Sequence[int], styles: Mapping[str, str]) -> list[str]:
        """A row, in as many lines as its longest text takes."""
        folded = [
            textwrap.wrap(cell, width, break_long_words=False, break_on_hyphens=False) or [""]
            for cell, width in zip(row, widths, strict=True)
        ]
        lines = []
        for number in range(max(map(len, folded))):
            parts = []
            for place, (lines_of, width) in enumerate(zip(folded, widths, strict=True)):
                part = lines_of[number] if number < len(lines_of) else ""
                space = " " * (width - cell_len(part))
                style = STYLES.get(styles.get(row[place], ""))
                shown = f"{style}{part}{PLAIN}" if style and part else part
                parts.append(f"{shown}{space}" if self._is_text(place) else f"{space}{shown}")
            lines.append((" " * GAP).join(parts).rstrip())
        return lines

    def _is_text(self, place: int) -> bool:
        return place == 0 or self.header[place] in self.wide

    def _widest(self, place: int) -> int:
        return max(cell_len(row[place]) for row in [self.header, *self.rows])

    def _narrowest(self, place: int) -> int:
        """Texts are broken between words, numbers are not."""
        if not self._is_text(place):
            return self._widest(place)
        words = [cell_len(word) for row in [self.header, *self.rows] for word in row[place].split()]
        return min(self._widest(place), max(NAME_WIDTH, *words, 0))

    def _least_width(self, left_out: Sequence[str]) -> int:
        kept = [place for place, name in enumerate(self.header) if name not in left_out]
        return sum(map(self._narrowest, kept)) + GAP * (len(kept) - 1)

    def _widths(self, columns: int) -> list[int]:
        """Of each column; what room there is goes to texts, from the left."""
        widths = [self._narrowest(place) for place in range(len(self.header))]
        room = columns - sum(widths) - GAP * (len(widths) - 1)
        for place in range(len(widths)):
            more = max(0, min(room, self._widest(place) - widths[place]))
            widths[place], room = widths[place] + more, room - more
        return widths


def width() -> int:
    """Columns of standard output."""
    told = whole(os.environ.get("COLUMNS", ""))
    if told is not None and told > 0:
        return max(told, LEAST_WIDTH)
    if not sys.stdout.isatty():
        return PLAIN_WIDTH
    try:
        return max(os.get_terminal_size(sys.stdout.fileno()).columns, LEAST_WIDTH)
    except OSError:
        return PLAIN_WIDTH


def show(*parts: "Table | str") -> None:
    """Print `parts` on standard output, an empty line after each table."""
    columns, coloured = width(), sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    for part in parts:
        if isinstance(part, Table):
            print(part.text(columns, coloured=coloured), end="\n\n")
        else:
            print(wrapped(part, columns))


def wrapped(text: str, columns: int) -> str:
    """`text` in lines of at most `columns`, broken between words alone; lines that begin indented stay so."""
    return "\n".join(_wrapped(line, columns) for line in text.split("\n"))


def _wrapped(line: str, columns: int) -> str:
    indent = " " * (len(line) - len(line.lstrip()))
    return textwrap.fill(line, columns, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
