"""How every room draws: by settings of our own, names as plain text, and never so that a result hangs on a picture.

Matplotlib takes settings from the working folder, the user's own and the environment. None of them counts here: the
same numbers give the same picture, as a PNG and as a PDF, and `verify` may compare it. What the rooms need of
Matplotlib they have from here, since its import reads those settings.
"""

import io
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, chdir, contextmanager
from dataclasses import dataclass
from functools import cache, wraps
from pathlib import Path
from typing import Literal, ParamSpec

from rambo.formats import first_line

_log = logging.getLogger(__name__)

_P = ParamSpec("_P")


@contextmanager
def _unread() -> Iterator[None]:
    """Inside, an import of Matplotlib finds no settings: it fails at a name of no backend, or bytes of no UTF-8."""
    hidden = {name: os.environ.pop(name) for name in ("MPLBACKEND", "MATPLOTLIBRC") if name in os.environ}
    os.environ["MATPLOTLIBRC"] = os.devnull
    try:
        with ExitStack() as elsewhere:
            if Path("matplotlibrc").exists():  # which goes before all others
                elsewhere.enter_context(chdir(Path(__file__).parent))
            yield
    finally:
        del os.environ["MATPLOTLIBRC"]
        os.environ.update(hidden)


with _unread():
    import matplotlib
    from matplotlib import colormaps
    from matplotlib.axes import Axes
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.backends.backend_pdf import FigureCanvasPdf
    from matplotlib.figure import Figure
    from matplotlib.font_manager import FontProperties, findfont, get_font
    from matplotlib.ticker import NullFormatter

__all__ = [
    "Axes", "Drawn", "Figure", "NullFormatter", "colormaps", "drawing", "drawn_of", "picture", "plain", "png",
    "quick_picture", "sheet",
]  # fmt: skip

DPI = 200
"""Dots an inch of a PNG."""

TRUETYPE, TYPE_3 = 42, 3
"""Kinds of fonts in a PDF; many a publisher refuses the latter."""

MOST_INCHES = 300.0
"""Of a figure's side; Agg draws no more than 2^16 dots."""


@dataclass(frozen=True)
class Drawn:
    """A picture as files."""

    png: bytes
    """For screens."""
    pdf: bytes
    """The same for print: lines and letters at any size."""

    def files(self, name: str) -> dict[str, bytes]:
        """Both as files called `name`."""
        return {f"{name}.png": self.png, f"{name}.pdf": self.pdf}


def picture(draw: Callable[_P, Figure]) -> Callable[_P, Drawn]:
    """`draw`, with its figure as files."""
    return _drawn(draw, TRUETYPE)


def quick_picture(draw: Callable[_P, Figure]) -> Callable[_P, Drawn]:
    """The same for those that every trial has: letters in the PDF take a fifth of the time."""
    return _drawn(draw, TYPE_3)


def _drawn(draw: Callable[_P, Figure], fonts: int) -> Callable[_P, Drawn]:
    @wraps(draw)
    def drawn(*args: _P.args, **kwargs: _P.kwargs) -> Drawn:
        with matplotlib.rc_context():
            matplotlib.rcdefaults()
            matplotlib.rcParams["text.parse_math"] = False  # a name may hold a pair of $
            matplotlib.rcParams["pdf.fonttype"] = fonts
            figure = draw(*args, **kwargs)
            content = png(figure)
            figure.set_layout_engine("none")  # what has found its place keeps it
            return Drawn(content, _pdf(figure))

    return drawn


def sheet(width: float, height: float, layout: Literal["constrained"] | None = "constrained") -> Figure:
    """An empty figure of that size in inches, as far as it can be drawn."""
    return Figure(figsize=(min(width, MOST_INCHES), min(height, MOST_INCHES)), dpi=DPI, layout=layout)


def png(figure: Figure) -> bytes:
    """The picture as a PNG."""
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_png(buffer)
    return buffer.getvalue()


def _pdf(figure: Figure) -> bytes:
    """The picture as a PDF that does not say when it was made."""
    buffer = io.BytesIO()
    FigureCanvasPdf(figure).print_pdf(buffer, metadata={"CreationDate": None})
    return buffer.getvalue()


def drawn_of(pictures: Mapping[str, Callable[[], Drawn]], again: str) -> dict[str, bytes]:
    """The files of each of `pictures`; one that fails is a line in the log, which says that `again` draws it again."""
    drawn: dict[str, bytes] = {}
    for name, draw in pictures.items():
        with drawing(f"{name}.png", again):
            drawn |= draw().files(name)
    return drawn


@contextmanager
def drawing(name: str, again: str) -> Iterator[None]:
    """Nothing that goes wrong inside, where the picture `name` is made or kept, is more than a line in the log."""
    try:
        yield
    except Exception as error:  # whatever it is, the numbers that were to be drawn are kept and others are drawn
        said = f"{type(error).__name__}: {first_line(error)}"
        _log.warning("%s could not be drawn (%s); nothing else is missing: %s draws it again.", name, said, again)


def plain(name: str) -> str:
    r"""`name` in characters that the font of our figures has, any other written as Python does.

    >>> plain("caf\u00e9 $1_$5"), plain("caf\udce9\n"), plain("\u732b")
    ('café $1_$5', 'caf\\udce9\\n', '\\u732b')
    """
    return "".join(letter if _is_drawn(letter) else letter.encode("unicode_escape").decode() for letter in name)


@cache
def _is_drawn(letter: str) -> bool:
    font = get_font(findfont(FontProperties(family=["DejaVu Sans"])))
    return letter.isprintable() and font.get_char_index(ord(letter)) > 0
