"""Text and bytes as every part reads or writes them: numbers, JSON, CSV, points, p values, the word of an error."""

import csv
import io
import json
import os
from collections.abc import Iterable
from pathlib import Path

from rambo.errors import InvalidInput, require

LARGEST = 2**63 - 1
"""The largest whole number that files, databases and arrays hold."""


def whole(given: object) -> int | None:
    """The whole number that text or a number of JSON's stands for; None where it stands for none, or is too large.

    >>> whole("200"), whole(200.0), whole("1.5"), whole("²"), whole(float("inf")), whole(10**30)
    (200, 200, None, None, None, None)
    """
    if isinstance(given, bool) or (isinstance(given, str) and not given.isascii()):
        return None
    try:
        found = int(given)  # type: ignore[call-overload]  # what has no such number raises
    except (TypeError, ValueError, OverflowError):
        return None
    same = isinstance(given, str) or found == given
    return found if same and abs(found) <= LARGEST else None


def number(given: object) -> float | None:
    """The number that text or a number of JSON's stands for, infinite ones among them; None where it stands for none.

    >>> number("1e-3"), number(2), number("-inf"), number("nan"), number("½"), number(10**400)
    (0.001, 2.0, -inf, None, None, None)
    """
    if isinstance(given, bool) or (isinstance(given, str) and not given.isascii()):
        return None
    try:
        found = float(given)  # type: ignore[arg-type]  # the same
    except (TypeError, ValueError, OverflowError):
        return None
    return None if found != found else found


def shortened(given: object, most: int = 60) -> str:
    """What was given as a sentence shows it: as Python writes it, cut where it is long.

    >>> shortened("x"), shortened("9" * 400, 10)
    ("'x'", "'999999999…")
    """
    try:
        text = repr(given)
    except ValueError:  # a number of thousands of digits, which Python refuses to write
        text = "a number of thousands of digits"
    return text if len(text) <= most else f"{text[:most]}…"


def counted(number: int, one: str, many: str | None = None) -> str:
    """So many of something, as a sentence says it; `many` where it is not `one` with an s.

    >>> counted(1, "trial"), counted(0, "trial"), counted(2, "study is", "studies are")
    ('1 trial', '0 trials', '2 studies are')
    """
    return f"{number} {one if number == 1 else many or one + 's'}"


def json_bytes(content: object) -> bytes:
    r"""Indented JSON.

    >>> json_bytes({"k": 200})
    b'{\n  "k": 200\n}\n'
    """
    return (json.dumps(content, indent=2) + "\n").encode()


def csv_bytes(rows: Iterable[Iterable[object]]) -> bytes:
    r"""`rows`, the header among them.

    >>> csv_bytes([["seed", "name"], [0, "a, b"]])
    b'seed,name\n0,"a, b"\n'
    """
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text_bytes(text.getvalue())


def text_bytes(text: str) -> bytes:
    r"""`text` as UTF-8; what is none, such as the bytes of a file name in Latin-1, as Python writes it.

    >>> text_bytes("café \udce9").decode()
    'café \\udce9'
    """
    return text.encode(errors="backslashreplace")


def visible(name: object) -> str:
    r"""`name` on one line that any terminal takes; what cannot be printed as Python writes it.

    >>> visible("caf\udce9/a\nb.png")
    'caf\\udce9/a\\nb.png'
    """
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in str(name))


def path_of(text: str | Path, name: str) -> Path:
    """The path on this machine that `text` names, with `~` written out.

    `name`: of the field or flag, for the sentence. Raises `InvalidInput` where it names none.
    """
    try:
        require("\0" not in str(text), "it holds a zero byte")
        os.fsencode(text)
        path = Path(text).expanduser()
        path.resolve()
    except (OSError, RuntimeError, ValueError) as error:  # no such user, a link to itself, letters of no encoding
        said = visible(first_line(error)).rstrip(".")
        raise InvalidInput(f"{name} must be a path, got {visible(text)} ({said}); write out one from / on.") from None
    return path


def percent(share: float) -> str:
    """A share as people read it.

    >>> percent(0.9342), percent(1.0)
    ('93.42 %', '100.00 %')
    """
    return f"{100 * share:.2f} %"


def points(difference: float) -> str:
    """A difference of accuracies in percent points, with its sign.

    >>> points(0.0042), points(-0.0142), points(-0.00001)
    ('+0.42', '−1.42', '0.00')
    """
    text = f"{100 * difference:+.2f}"
    return "0.00" if text in ("+0.00", "-0.00") else text.replace("-", "−")


def interval(low: float, high: float) -> str:
    """The ends of an interval in points.

    >>> interval(-0.008, 0.006)
    '−0.80 to 0.60'
    """
    return " to ".join(points(end).removeprefix("+") for end in (low, high))


def p_value(p: float | None) -> str:
    """A p value to three decimals; empty for none.

    >>> p_value(0.0284), p_value(0.0001), p_value(0.9999), p_value(None)
    ('.028', '< .001', '1', '')
    """
    if p is None:
        return ""
    if p < 0.0005:
        return "< .001"
    return "1" if p >= 0.9995 else f"{p:.3f}".removeprefix("0")


def relation(p: float) -> str:
    """The same after its name.

    >>> relation(0.0284), relation(0.0001)
    ('= .028', '< .001')
    """
    text = p_value(p)
    return text if text.startswith("<") else f"= {text}"


def decimals(number: float) -> str:
    """Two decimals, without a zero before the point, as statistics are printed.

    >>> decimals(0.698), decimals(12.0)
    ('.70', '12.00')
    """
    return f"{number:.2f}".removeprefix("0")


def first_line(error: BaseException) -> str:
    r"""What an error says first; its type where it says nothing.

    >>> first_line(OSError("no space left\nat all")), first_line(MemoryError())
    ('no space left', 'MemoryError')
    """
    return _lines(error)[0]


def last_line(error: BaseException) -> str:
    r"""What an error says last, which of a remote one is the cause.

    >>> last_line(RuntimeError("ray::look()\nModuleNotFoundError: No module named 'rambo'"))
    "ModuleNotFoundError: No module named 'rambo'"
    """
    return _lines(error)[-1]


def _lines(error: BaseException) -> list[str]:
    return [line.strip() for line in str(error).strip().splitlines()] or [type(error).__name__]
