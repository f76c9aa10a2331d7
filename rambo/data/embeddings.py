"""Embeddings in an .npz file: rows of numbers that some network, or anything else, has made of what the data are.

A file of 10⁶ rows of 768 numbers is 3 GB. Where the array lies in it as it is (numpy.savez, float32) it is mapped into
memory and not read: each process then holds the pages that it looks at, and the system may take them back.
"""

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rambo.arrays import Features
from rambo.errors import require

Array = NDArray[Any]

LOCAL_HEADER_BYTES = 30
"""Of a member of a ZIP file, before its name and extra field, whose lengths are its last four bytes."""

CHUNK_VALUES = 2**22
"""Numbers looked at at once."""


def mapped(archive: zipfile.ZipFile, path: Path, name: str) -> Array | None:
    """The array `name` of the .npz file at `path` as it lies there; None where it is not of two axes of plain floats.

    None also where it is compressed. Raises `zipfile.BadZipFile` where the bytes are not those that were written.
    """
    member = f"{name}.npy"
    if member not in archive.namelist() or archive.getinfo(member).compress_type != zipfile.ZIP_STORED:
        return None
    with archive.open(member) as file:
        version = np.lib.format.read_magic(file)
        readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        if version not in readers:
            return None
        shape, by_columns, dtype = readers[version](file)
        start = file.tell()
        if dtype.kind != "f" or len(shape) != 2 or 0 in shape:
            return None
        while file.read(CHUNK_VALUES):  # to its end, where the checksum is compared
            pass
    offset = _content(path, archive.getinfo(member)) + start
    return np.memmap(path, dtype, mode="r", offset=offset, shape=shape, order="F" if by_columns else "C")


def to_float32(x: Array, shown: str) -> Features:
    """Embeddings (N, d) of any kind of float in single precision, themselves where they are that already.

    Raises `InvalidInput` where a number is none, or infinite in single precision, with how many rows and the first.
    """
    require(
        x.dtype.kind == "f" and x.size > 0,
        f"x in {shown} must hold floats where it has two axes, which are embeddings (N, d), got {x.dtype} of shape "
        f"{x.shape}; save x.astype(numpy.float32), or x.reshape(len(x), height, width) where rows are images.",
    )
    as_it_is = x.dtype == np.float32 and x.dtype.isnative
    made = x if as_it_is else np.empty(x.shape, dtype=np.float32)
    bad = list[int]()
    for rows in row_chunks(np.arange(len(x)), x.shape[1]):
        with np.errstate(over="ignore"):
            part = x[rows[0] : rows[-1] + 1].astype(np.float32, copy=False)
        bad += rows[~np.isfinite(part).all(axis=1)].tolist()
        if not as_it_is:
            made[rows[0] : rows[-1] + 1] = part
    require(
        not bad,
        f"x in {shown} must be finite in single precision, got NaN or infinity in {len(bad)} of {len(x)} rows, row "
        f"{min(bad, default=0)} first; leave out such rows of x and y, as x[numpy.isfinite(x).all(axis=1)] does.",
    )
    return made


def moments(x: Features, indices: NDArray[np.int64]) -> tuple[Features, Features]:
    """(d,) means and (d,) standard deviations of the rows at `indices`; that of a number which never varies is 1.

    Worked out in double precision from the differences to the first row: of a number that never varies all are 0.
    """
    origin = x[indices[0]].astype(np.float64)
    total, squares = np.zeros_like(origin), np.zeros_like(origin)
    for rows in row_chunks(indices, x.shape[1]):
        differences = x[rows] - origin
        total += differences.sum(axis=0)
        squares += np.square(differences).sum(axis=0)
    mean = total / len(indices)
    deviation = np.sqrt(np.maximum(squares / len(indices) - mean**2, 0)).astype(np.float32)
    return (origin + mean).astype(np.float32), np.where(deviation > 0, deviation, np.float32(1))


def row_chunks(indices: NDArray[np.int64], width: int) -> Iterator[NDArray[np.int64]]:
    """`indices` in pieces whose rows of `width` numbers are `CHUNK_VALUES` numbers at most, or one row."""
    step = max(1, CHUNK_VALUES // width)
    for start in range(0, len(indices), step):
        yield indices[start : start + step]


def _content(path: Path, member: zipfile.ZipInfo) -> int:
    """Where in the file the bytes of a member begin; the lengths in the archive's own list may differ."""
    with path.open("rb") as file:
        file.seek(member.header_offset + LOCAL_HEADER_BYTES - 4)
        lengths = file.read(4)
    name, extra = (int.from_bytes(lengths[place : place + 2], "little") for place in (0, 2))
    return member.header_offset + LOCAL_HEADER_BYTES + name + extra
