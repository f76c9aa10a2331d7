"""What was measured or learned, kept by content: a measurement, an OT value, û or f(S_0)'s weights is paid for once.

Every `put` writes one Parquet file of its own, so any number of writers may share a store without locks. Of two
records with one key the one with the smaller digest counts, whichever file is read first; of equal digests the one that
holds more. Files that cannot be read (a truncated copy, a flipped bit) are set aside and their records measured again.
"""

import io
import json
import os
import socket
import time
import uuid
import warnings
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from rambo.formats import first_line
from rambo.home import Home
from rambo.measurement import Measurement

COMPACT_ABOVE = 64
"""Files of a table that are merged into one when a reader meets more."""


RELISTINGS = 5
"""Times that a folder is listed again whose files went away between listing and reading."""


class Store:
    """The tables of one home: `measurements` and `ot`; and beside them `weights` of f and û, a file each."""

    def __init__(self, home: Home, *, compact: bool = True) -> None:
        """`compact`: merge small files on the way; off where many workers share a store, or each would do it."""
        self.home = home
        self._measurements = _Table(home, "store/measurements", MEASUREMENT_SCHEMA, compact=compact)
        self._ot = _Table(home, "store/ot", OT_SCHEMA, compact=compact)

    def measurements(self, keys: Sequence[str]) -> dict[str, Measurement]:
        """The measurements there are for `keys`."""
        found, columns = self._measurements.lookup(keys, _FIELDS)
        return {key: Measurement(*row) for key, row in zip(found, zip(*columns, strict=True), strict=True)}

    def known_measurements(self, keys: Iterable[str]) -> set[str]:
        """Those of `keys` that there are measurements for, which need not be decoded for that."""
        return self._measurements.known(keys)

    def measurement_digests(self, keys: Sequence[str]) -> dict[str, str]:
        """The digest that was kept beside each of the measurements there are for `keys`."""
        found, columns = self._measurements.lookup(keys, ["digest"])
        return dict(zip(found, columns[0], strict=True))

    def put_measurements(self, records: Mapping[str, Measurement]) -> None:
        """Keep `records`; they are on disk when this returns."""
        rows = [{"key": key, "digest": record.digest, **vars(record)} for key, record in records.items()]
        self._measurements.append(rows)

    def enter(self, keys: Sequence[str]) -> None:
        """Append to the ledger that trainings of `keys` begin: how often each was paid for, results apart."""
        common = {"time": time.time(), "host": socket.gethostname(), "process": os.getpid()}
        lines = (json.dumps({"key": key, **common}) + "\n" for key in keys)
        self.home.append("store/ledger.jsonl", "".join(lines).encode())

    def ot_values(self, keys: Sequence[str]) -> dict[str, float]:
        """The OT values there are for `keys`."""
        found, columns = self._ot.lookup(keys, ["value"])
        return dict(zip(found, columns[0], strict=True))

    def put_ot_values(self, values: Mapping[str, float]) -> None:
        """Keep OT `values` by key."""
        self._ot.append([{"key": key, "digest": value.hex(), "value": value} for key, value in values.items()])

    def weights(self, key: str) -> bytes | None:
        """The safetensors file kept for `key`."""
        return self.home.read(f"store/weights/{key}.safetensors")

    def utility(self, key: str) -> bytes | None:
        """The file kept for û of `key`."""
        return self.home.read(f"store/utility/{key}.safetensors")

    def known_utilities(self) -> set[str]:
        """Keys of every û that is kept."""
        return {name.removesuffix(".safetensors") for name in self.home.list("store/utility")}

    def put_utility(self, key: str, content: bytes) -> None:
        """Keep û for `key`."""
        self.home.write(f"store/utility/{key}.safetensors", content)

    def fitting(self, key: str) -> AbstractContextManager[None]:
        """Work on û of `key` after whoever works on it now."""
        return self.home.in_turn(f"store/utility/{key}.safetensors")

    def training(self, key: str) -> AbstractContextManager[None]:
        """The same of the weights of `key`."""
        return self.home.in_turn(f"store/weights/{key}.safetensors")

    def set_aside_utility(self, key: str, content: bytes) -> None:
        """Move what is kept for `key` away, since it cannot be read."""
        _set_aside(self.home, "store/utility", f"{key}.safetensors", content, "it is not what was written")

    def put_weights(self, key: str, content: bytes) -> None:
        """Keep a safetensors file for `key`."""
        self.home.write(f"store/weights/{key}.safetensors", content)


MEASUREMENT_SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("digest", pa.string()),
        ("val_accuracy", pa.float64()),
        ("test_accuracy", pa.float64()),
        ("val_correct", pa.binary()),
        ("epochs", pa.int32()),
        ("seconds", pa.float64()),
        ("device", pa.string()),
        ("test_correct", pa.binary()),
        ("rounding", pa.string()),
    ]
)
OT_SCHEMA = pa.schema([("key", pa.string()), ("digest", pa.string()), ("value", pa.float64())])
LATER = ("test_correct", "rounding")
"""Columns that are empty in files from before them, last in their schema and no part of any digest."""

_FIELDS = tuple(Measurement.__dataclass_fields__)


class _Table:
    """Append-only rows under a folder of Parquet files, indexed by key in memory, decoded only where asked for."""

    def __init__(self, home: Home, folder: str, schema: pa.Schema, *, compact: bool) -> None:
        self._home, self._folder, self._schema, self._compacts = home, folder, schema, compact
        self._files: set[str] = set()
        self._chunks: list[pa.Table] = []
        self._index: dict[str, tuple[str, int, int]] = {}  # key -> (digest, chunk, row)

    def lookup(self, keys: Sequence[str], names: Sequence[str]) -> tuple[list[str], list[list[Any]]]:
        """Those of `keys` that there are, and a list of their values for each column of `names`."""
        self._refresh()
        rows: dict[int, dict[str, int]] = {}
        for key in keys:
            if key in self._index:
                _, chunk, row = self._index[key]
                rows.setdefault(chunk, {})[key] = row
        found = [key for wanted in rows.values() for key in wanted]
        parts = [self._chunks[chunk].take(list(wanted.values())) for chunk, wanted in rows.items()]
        return found, [[value for part in parts for value in part[name].to_pylist()] for name in names]

    def known(self, keys: Iterable[str]) -> set[str]:
        """Those of `keys` that there are."""
        self._refresh()
        return {key for key in keys if key in self._index}

    def append(self, rows: Sequence[Mapping[str, object]]) -> None:
        if rows:
            table = pa.Table.from_pylist([dict(row) for row in rows], schema=self._schema)
            self._add(self._write(table), table)

    def _write(self, table: pa.Table) -> str:
        name = f"{time.time_ns():020d}-{uuid.uuid4().hex[:12]}.parquet"
        buffer = io.BytesIO()
        pq.write_table(table, buffer, compression="zstd", write_page_checksum=True)
        self._home.write(f"{self._folder}/{name}", buffer.getvalue())
        return name

    def _refresh(self) -> None:
        for _ in range(RELISTINGS):
            names, complete = self._home.list(self._folder), True
            for name in names:
                if name not in self._files:
                    table = self._read(name)
                    complete &= table is not None
                    if table is not None:
                        self._add(name, table)
            if complete:
                break
        if self._compacts and len(names) > COMPACT_ABOVE:
            self._compact(names)

    def _add(self, name: str, table: pa.Table) -> None:
        self._files.add(name)
        self._chunks.append(table)
        chunk = len(self._chunks) - 1
        pairs = zip(table["key"].to_pylist(), table["digest"].to_pylist(), strict=True)
        for row, (key, digest) in enumerate(pairs):
            known = self._index.get(key)
            ties = known is not None and digest == known[0]
            if known is None or digest < known[0] or (ties and self._rank(chunk, row) < self._rank(*known[1:])):
                self._index[key] = (digest, chunk, row)

    def _rank(self, chunk: int, row: int) -> list[tuple[bool, bytes | str]]:
        """Orders records of one digest, the least counts: what has later columns before what lacks them."""
        names = [name for name in LATER if name in self._schema.names]
        values = [self._chunks[chunk][name][row].as_py() for name in names]
        return [(value is None, value or b"") for value in values]

    def _read(self, name: str) -> pa.Table | None:
        content = self._home.read(f"{self._folder}/{name}")
        if content is None:  # another process has just compacted it; what it held stands in a file not listed before
            return None
        try:
            # pre_buffer would start Arrow's I/O threads, which have aborted processes that exit right after reading
            file = pq.ParquetFile(io.BytesIO(content), page_checksum_verification=True, pre_buffer=False)
            return _completed(file.read(use_threads=False), self._schema)
        except (pa.ArrowException, OSError, ValueError) as error:
            _set_aside(self._home, self._folder, name, content, first_line(error))
            return None

    def _compact(self, names: list[str]) -> None:
        """Merge all files read so far into one, then remove them: a kill in between leaves only duplicates."""
        merged = pa.concat_tables(self._chunks)
        offsets = np.cumsum([0, *(chunk.num_rows for chunk in self._chunks)])
        keep = sorted(int(offsets[chunk]) + row for _, chunk, row in self._index.values())
        table = merged.take(pa.array(keep, type=pa.int64())).combine_chunks()
        old = self._files.intersection(names)
        self._files, self._chunks, self._index = self._files - old, [], {}
        self._add(self._write(table), table)
        for name in old:
            self._home.remove(f"{self._folder}/{name}")


def _set_aside(home: Home, folder: str, name: str, content: bytes, reason: str) -> None:
    """Move a file that cannot be read to where nobody looks for it."""
    home.write(f"store/corrupt/{name}", content)
    home.remove(f"{folder}/{name}")
    warnings.warn(
        f"{home.path(folder)}/{name} cannot be read ({reason}); it was moved to store/corrupt and what it held is "
        "worked out again.",
        RuntimeWarning,
        stacklevel=2,
    )


def _completed(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """`table` in the columns of `schema`: later ones are empty where it is older, unknown ones dropped where newer."""
    for name in LATER:
        if name in schema.names and name not in table.column_names:
            table = table.append_column(name, pa.nulls(table.num_rows, schema.field(name).type))
    return table.select([name for name in schema.names if name in table.column_names]).cast(schema)
