import subprocess
import sys
import time
from itertools import permutations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rambo.home import Home
from rambo.measurement import Measurement
from rambo.store import COMPACT_ABOVE, Store


def record(accuracy=0.5, **changes):
    values = {"test_accuracy": 0.25, "val_correct": b"\x80", "epochs": 3, "seconds": 1.0, "device": "cpu"}
    return Measurement(val_accuracy=accuracy, **{**values, **changes})


def parquet_files(home):
    return sorted((home / "store" / "measurements").glob("*.parquet"))


def test_what_is_put_is_there_for_others(tmp_path):
    Store(Home(tmp_path)).put_measurements({"a": record(0.1), "b": record(0.2)})
    found = Store(Home(tmp_path)).measurements(["b", "a", "c"])
    assert found == {"a": record(0.1), "b": record(0.2)}


def test_an_open_store_sees_what_others_write(tmp_path):
    first, second = Store(Home(tmp_path)), Store(Home(tmp_path))
    assert first.measurements(["a"]) == {}
    second.put_measurements({"a": record()})
    assert first.measurements(["a"]) == {"a": record()}


def test_of_two_records_the_smaller_digest_counts_in_either_order(tmp_path):
    one, other = record(0.1), record(0.9)
    winner = min(one, other, key=lambda item: item.digest)
    for name, order in {"x": (one, other), "y": (other, one)}.items():
        for item in order:
            Store(Home(tmp_path / name)).put_measurements({"k": item})
        assert Store(Home(tmp_path / name)).measurements(["k"]) == {"k": winner}


def test_what_a_digest_is_of_is_written_down():
    """As it was before there were bits of test images: what was recorded keeps its place."""
    assert record(0.1).digest == record(0.1, test_correct=b"\x80").digest == "254b1c3439f5c187"


@pytest.mark.parametrize("order", list(permutations([None, b"\x40", b"\x80"])), ids=str)
def test_of_equal_digests_the_record_that_holds_more_counts(tmp_path, order):
    for bits in order:
        Store(Home(tmp_path)).put_measurements({"k": record(test_correct=bits)})
    assert Store(Home(tmp_path)).measurements(["k"]) == {"k": record(test_correct=b"\x40")}


def rewritten(path, change):
    """A file of the store as another version of the code would have written it."""
    table = pq.read_table(path)
    pq.write_table(change(table), path, compression="zstd", write_page_checksum=True)


def test_files_from_before_a_column_and_from_after_the_next_are_read(tmp_path):
    store = Store(Home(tmp_path))
    store.put_measurements({"old": record(0.1, test_correct=b"\x80")})
    rewritten(parquet_files(tmp_path)[0], lambda table: table.drop_columns(["test_correct"]))
    Store(Home(tmp_path)).put_measurements({"new": record(0.2, test_correct=b"\x80")})
    last = parquet_files(tmp_path)[1]
    rewritten(last, lambda table: table.append_column("unheard_of", pa.array([1])))
    found = Store(Home(tmp_path)).measurements(["old", "new"])
    assert found == {"old": record(0.1), "new": record(0.2, test_correct=b"\x80")}
    for number in range(COMPACT_ABOVE):
        store.put_measurements({str(number): record(test_correct=b"\x01")})
    assert Store(Home(tmp_path)).measurements(["old", "new"]) == found
    assert len(parquet_files(tmp_path)) == 1
    assert Store(Home(tmp_path)).measurements(["old", "new", "3"]) == {**found, "3": record(test_correct=b"\x01")}


def test_a_file_without_a_column_that_there_always_was_is_set_aside(tmp_path):
    Store(Home(tmp_path)).put_measurements({"a": record()})
    rewritten(parquet_files(tmp_path)[0], lambda table: table.drop_columns(["epochs"]))
    with pytest.warns(RuntimeWarning, match="moved to store/corrupt"):
        assert Store(Home(tmp_path)).measurements(["a"]) == {}


def test_time_and_place_do_not_decide():
    assert record(seconds=1.0, device="cpu").digest == record(seconds=9.0, device="cuda").digest


@pytest.mark.parametrize("damage", ["truncate", "flip", "empty"])
def test_a_damaged_file_is_set_aside_and_the_rest_is_read(tmp_path, damage):
    store = Store(Home(tmp_path))
    store.put_measurements({f"key{i}": record(i / 500) for i in range(500)})
    store.put_measurements({"whole": record()})
    path = parquet_files(tmp_path)[0]
    content = bytearray(path.read_bytes())
    if damage == "flip":
        content[200] ^= 0xFF
    path.write_bytes({"truncate": content[: len(content) // 2], "flip": content, "empty": b""}[damage])
    fresh = Store(Home(tmp_path))
    with pytest.warns(RuntimeWarning, match="moved to store/corrupt"):
        assert fresh.measurements(["key1", "whole"]) == {"whole": record()}
    assert [item.name for item in (tmp_path / "store" / "corrupt").iterdir()] == [path.name]
    fresh.put_measurements({"key1": record(1 / 500)})
    assert Store(Home(tmp_path)).measurements(["key1"]) == {"key1": record(1 / 500)}


def test_many_small_files_are_merged_and_nothing_is_lost(tmp_path):
    writer = Store(Home(tmp_path))
    for i in range(COMPACT_ABOVE + 5):
        writer.put_measurements({f"key{i}": record(i / 100)})
    reader = Store(Home(tmp_path))
    keys = [f"key{i}" for i in range(COMPACT_ABOVE + 5)]
    assert len(reader.measurements(keys)) == COMPACT_ABOVE + 5
    assert len(parquet_files(tmp_path)) == 1
    assert writer.measurements(["key7"]) == {"key7": record(0.07)}
    writer.put_measurements({"new": record()})
    assert len(reader.measurements([*keys, "new"])) == COMPACT_ABOVE + 6


def test_a_reader_finds_what_was_merged_while_it_was_listing(tmp_path, monkeypatch):
    writer = Store(Home(tmp_path))
    for number in range(COMPACT_ABOVE + 1):
        writer.put_measurements({str(number): record()})
    home = Home(tmp_path)
    listings = [home.list("store/measurements")]
    writer.measurements(["0"])  # merges: the files listed go away
    monkeypatch.setattr(home, "list", lambda folder: listings.pop() if listings else Home(tmp_path).list(folder))
    assert len(Store(home).measurements([str(number) for number in range(COMPACT_ABOVE + 1)])) == COMPACT_ABOVE + 1


def test_writers_in_many_processes_do_not_disturb_each_other(tmp_path):
    code = """
import sys
from rambo.home import Home
from rambo.measurement import Measurement
from rambo.store import Store
store = Store(Home(sys.argv[1]))
for i in range(30):
    store.put_measurements({f"{sys.argv[2]}-{i}": Measurement(i / 30, 0.0, b"", 1, 1.0, "cpu")})
    store.measurements(["none"])
"""
    writers = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path), str(n)]) for n in range(4)]
    assert [writer.wait(120) for writer in writers] == [0] * 4
    keys = [f"{n}-{i}" for n in range(4) for i in range(30)]
    assert len(Store(Home(tmp_path)).measurements(keys)) == 120


def test_a_hundred_thousand_keys_are_looked_up_in_under_a_second(tmp_path):
    store = Store(Home(tmp_path))
    keys = [f"{i:032x}" for i in range(100_000)]
    bits = np.random.default_rng(0).bytes(125)
    store.put_measurements({key: record(val_correct=bits) for key in keys})
    spent = []
    for _ in range(3):
        fresh = Store(Home(tmp_path))
        start = time.process_time()  # of this process alone, the least of three: others must not fail the test
        assert len(fresh.measurements(keys)) == 100_000
        spent.append(time.process_time() - start)
    assert min(spent) < 1.0


def test_ot_values_and_weights(tmp_path):
    store = Store(Home(tmp_path))
    store.put_ot_values({"a": 0.1, "b": 1 / 3})
    store.put_weights("k", b"content")
    fresh = Store(Home(tmp_path))
    assert fresh.ot_values(["a", "b", "c"]) == {"a": 0.1, "b": 1 / 3}
    assert (fresh.weights("k"), fresh.weights("none")) == (b"content", None)
