"""Results and measurements that somebody has changed."""

import io
import json

import pyarrow as pa
import pyarrow.parquet as pq

from rambo.formats import json_bytes
from rambo.measurement import Measurement


def falsify(home, folder, **changes):
    """Change fields of a result."""
    result = json.loads(home.read(f"{folder}/result.json"))
    home.write(f"{folder}/result.json", json_bytes({**result, **changes}))


def rewrite(home, change):
    """Let `change` make another list of the rows of the store's measurements."""
    folder, tables = "store/measurements", []
    for name in home.list(folder):
        tables.append(pq.read_table(io.BytesIO(home.read(f"{folder}/{name}"))))
        home.remove(f"{folder}/{name}")
    table = pa.concat_tables(tables)
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(change(table.to_pylist()), schema=table.schema), buffer)
    home.write(f"{folder}/rewritten.parquet", buffer.getvalue())


def digested(row):
    """`row` with the digest that belongs to it."""
    one = Measurement(**{name: row[name] for name in Measurement.__dataclass_fields__})
    return {**row, "digest": one.digest}
