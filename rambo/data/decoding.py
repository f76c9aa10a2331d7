"""From an image file to pixels, by way of Pillow: upright, opaque, 8 bits; and what had to be changed for that."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rambo.arrays import Images
from rambo.data.source_images import one_line
from rambo.errors import InvalidInput, require
from rambo.formats import visible

if TYPE_CHECKING:
    from PIL.Image import Image

ORIENTATION = 0x0112
"""EXIF's tag for the way in which a picture is to be turned."""

TURNED = "turned as their EXIF orientation says"
OPAQUE = "put on white where they are transparent"
DEEP = "of 16 bits a channel, of which the upper 8 are taken"
SEVERAL = "with several frames or pages, of which the first is taken"
RESIZED = "resized, whatever their shape"
COLOURED = "made RGB from grey or another colour space"

CHANGES = (TURNED, OPAQUE, DEEP, SEVERAL, RESIZED, COLOURED)
"""What may be done to a picture, in words that follow a number of files."""

_UNREADABLE = ("BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF")
"""Formats that Pillow knows by sight, but reads by other programs or not at all."""

_GREY = ("1", "L", "I", "I;16", "I;16B", "I;16L")
_COLOURED_PALETTES = ("BMP", "JPEG", "PNG", "WEBP")
"""Formats whose palettes count as colour, be they grey: fingerprints of data rest on it."""

_DEEP_GREY = _GREY[2:]
_KEPT = ("P", "PA", "LA", "RGB", "RGBA")
"""Modes with colour, or with room for it, in which nothing is lost on the way to RGB."""


@dataclass(frozen=True)
class Form:
    """Pillow's mode of an image and its size (width, height) in pixels."""

    mode: str
    size: tuple[int, int]


@dataclass(frozen=True, eq=False)
class Decoded:
    """The pixels (C, H, W) of a picture, and which of `CHANGES` they have gone through."""

    pixels: Images
    changes: Sequence[str]


@cache
def suffixes() -> frozenset[str]:
    """Of the files that Pillow reads by itself, in lower case."""
    from PIL import Image

    Image.init()
    known = Image.registered_extensions().items()
    return frozenset(suffix for suffix, name in known if name in Image.OPEN and name not in _UNREADABLE)


def form_of(path: Path, *, any_size: bool) -> Form:
    """A picture's own form, upright; its size only counts unless `any_size` may be."""
    from PIL import Image

    with readable(path), Image.open(path) as image:
        is_turned = not any_size and image.width != image.height and image.format != "TIFF" and _orientation(image) > 4
        form = Form("L" if _is_grey(image) else "RGB", image.size[::-1] if is_turned else image.size)
        mode = image.mode
    require(
        not mode.startswith("F"),
        f"{visible(path)} must have 8 or 16 bits a channel, got Pillow mode {mode}; convert it, such as to .png.",
    )
    return form


def decode(path: Path, form: Form) -> Decoded:
    """A picture brought into `form`."""
    from PIL import Image, ImageOps

    with readable(path), Image.open(path) as image:
        changes = list(_seen(image))
        if TURNED in changes and image.format != "TIFF":  # which Pillow turns as it reads
            turned = ImageOps.exif_transpose(image)
        else:
            image.load()
            turned = image
        opaque, more = _eight_bits(turned, path) if turned.mode in _DEEP_GREY else _on_white(turned)
        if form.mode == "RGB" and opaque.mode not in _KEPT:
            changes.append(COLOURED)
        converted = opaque.convert(form.mode)
        if converted.size != form.size:
            changes.append(RESIZED)
            converted = converted.resize(form.size, Image.Resampling.BILINEAR)
        pixels = np.asarray(converted).reshape(form.size[1], form.size[0], len(form.mode)).transpose(2, 0, 1)
        return Decoded(pixels, (*changes, *more))


def _seen(image: "Image") -> Iterator[str]:
    """The changes that follow from what stands beside the pixels."""
    if getattr(image, "is_animated", False) and image.format != "PSD":  # whose frames are its layers
        yield SEVERAL
    if image.mode in _DEEP_GREY or re.search(r";16[BLN]", repr(getattr(image, "tile", ""))):
        yield DEEP
    if _orientation(image) > 1:
        yield TURNED


def _is_grey(image: "Image") -> bool:
    if image.mode != "P" or image.format in _COLOURED_PALETTES:
        return image.mode in _GREY
    colours = np.asarray(image.getpalette()).reshape(-1, 3)
    return bool((colours == colours[:, :1]).all())


def _orientation(image: "Image") -> int:
    """1 for upright, 2 to 8 for what is not; 5 and more lie on their side."""
    try:
        value = int(image.getexif().get(ORIENTATION, 1))
    except Exception:  # of a damaged block, which says nothing; the picture beside it may be whole
        return 1
    return value if value in range(1, 9) else 1


def _eight_bits(image: "Image", path: Path) -> tuple["Image", Sequence[str]]:
    """Grey values of 16 bits by their upper 8."""
    from PIL import Image

    values, clear = np.asarray(image).astype(np.int64), image.info.get("transparency")
    require(
        bool(values.min() >= 0 and values.max() < 2**16),
        f"{visible(path)} must have 8 or 16 bits a channel, got values from {values.min()} to {values.max()}; convert "
        "it, such as to .png.",
    )
    upper = (values >> 8).astype(np.uint8)
    if not isinstance(clear, int) or not (values == clear).any():
        return Image.fromarray(upper), ()
    return Image.fromarray(np.where(values == clear, np.uint8(255), upper)), (OPAQUE,)


def _on_white(image: "Image") -> tuple["Image", Sequence[str]]:
    """Without transparency; the same picture where there is none."""
    from PIL import Image

    if not image.has_transparency_data:
        return image, ()
    clear = image.convert("RGBA")
    if np.asarray(clear)[..., 3].min() == 255:
        return (clear if image.mode in ("P", "PA") else image), ()  # from a palette to RGB Pillow goes with a warning
    return Image.alpha_composite(Image.new("RGBA", clear.size, "white"), clear), (OPAQUE,)


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Inside, whatever is raised for a broken image becomes one sentence."""
    try:
        yield
    except InvalidInput:
        raise
    except Exception as error:  # Pillow's many readers raise whatever a broken file leads them to
        raise InvalidInput(
            f"{visible(path)} must be a readable image, got {one_line(error)}; replace or remove it."
        ) from error
