"""Which test images a training got right, as text that result.json holds: one bit an image, one word a training."""

import base64
import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from rambo.arrays import Floats
from rambo.measurement import Measurement

KEPT = 4096
"""Texts whose table is kept: a study asks for those of a cell once an effect."""


def correct_text(measured: Sequence[Measurement]) -> str | None:
    """The test images' bits of each training in Base64, words in order; None where a record is older than its bits."""
    bits = [one.test_correct for one in measured]
    known = [base64.b64encode(one).decode() for one in bits if one is not None]
    return " ".join(known) if known and len(known) == len(bits) else None


@lru_cache(maxsize=KEPT)
def correct_share(text: str, num_images: int) -> Floats:
    """(num_images,) the share of the trainings in `text` that got each image right.

    Raises `ValueError` where a word is no Base64 or of another number of bytes than those bits take.

    >>> correct_share("gA== wA==", 3).tolist()  # bits 100 and 110
    [1.0, 0.5, 0.0]
    """
    packed = [np.frombuffer(base64.b64decode(word, validate=True), dtype=np.uint8) for word in text.split()]
    if {len(one) for one in packed} != {-(-num_images // 8)}:
        raise ValueError(f"The bits of {num_images} images must take {-(-num_images // 8)} bytes a training.")
    bits = [np.unpackbits(one, count=num_images) for one in packed]
    share: Floats = np.mean(bits, axis=0, dtype=np.float64)
    share.flags.writeable = False  # it is kept
    return share


def share_right(bits: bytes, num_images: int) -> float:
    """The share of the images that `bits` say a training got right; not a number for bits of another number of them.

    >>> share_right(bytes([0b10100000]), 4), share_right(bytes(2), 4)
    (0.5, nan)
    """
    if len(bits) != -(-num_images // 8):
        return math.nan
    return float(np.unpackbits(np.frombuffer(bits, dtype=np.uint8), count=num_images).mean())
