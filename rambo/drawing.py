"""How every room draws: by settings of our own, names as plain text, and never so that a result hangs on a picture.

Matplotlib takes settings from the working folder, the user's own and the environment. None of them counts here: the
same numbers give the same picture, and `verify` may compare it. What the rooms need of Matplotlib they have from here,
since its import reads those settings.
"""

import io
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, chdir, contextmanager
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
    from matplotlib.figure import Figure
    from matplotlib.font_manager import FontProperties, findfont, get_font
    from matplotlib.ticker import NullFormatter

__all__ = ["Axes", "Figure", "NullFormatter", "colormaps", "drawing", "drawn_of", "picture", "plain", "png", "sheet"]

MOST_INCHES = 600.0
"""Of a figure's side; at 100 dots an inch Agg draws no more than 2^16."""


def picture(draw: Callable[_P, Figure]) -> Callable[_P, bytes]:
    """`draw`, with its figure as the bytes of a PNG."""

    @wraps(draw)
    def drawn(*args: _P.args, **kwargs: _P.kwargs) -> bytes:
        with matplotlib.rc_context():
            matplotlib.rcdefaults()
            matplotlib.rcParams["text.parse_math"] = False  # a name may hold a pair of $
            return png(draw(*args, **kwargs))

    return drawn


def sheet(width: float, height: float, layout: Literal["constrained"] | None = "constrained") -> Figure:
    """An empty figure of that size in inches, as far as it can be drawn."""
    return Figure(figsize=(min(width, MOST_INCHES), min(height, MOST_INCHES)), layout=layout)


def png(figure: Figure) -> bytes:
    """The picture as a file."""
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_png(buffer)
    return buffer.getvalue()


def drawn_of(pictures: Mapping[str, Callable[[], bytes]], again: str) -> dict[str, bytes]:
    """Each of `pictures` by its name; one that fails is a line in the log, which says that `again` draws it again."""
    drawn: dict[str, bytes] = {}
    for name, draw in pictures.items():
        with drawing(name, again):
            drawn[name] = draw()
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
