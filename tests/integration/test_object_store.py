"""A home on S3: moto's server on this machine stands in for it."""

import subprocess
import sys

import pytest
import s3fs
from buckets import bucket_called

from rambo.errors import InvalidInput
from rambo.home import Home
from rambo.measurement import Measurement
from rambo.store import COMPACT_ABOVE, Store

RECORDS = {f"key {number}": Measurement(0.5, 0.25, bytes([number]), number, 1.5, "cpu") for number in range(3)}


@pytest.fixture(scope="module")
def bucket():
    with bucket_called("lab") as url:
        yield url


def test_a_store_in_a_bucket_gives_back_what_was_put(bucket):
    home = Home(f"{bucket}/store-test")
    home.check_writable()
    writer = Store(home)
    writer.put_measurements(RECORDS)
    writer.put_ot_values({"set": 0.125})
    writer.put_weights("net", b"weights")
    for key in ("a", "b", "a"):
        writer.enter([key])
    reader = Store(Home(f"{bucket}/store-test"))
    assert reader.measurements([*RECORDS, "other"]) == RECORDS
    assert reader.ot_values(["set", "other"]) == {"set": 0.125}
    assert reader.weights("net") == b"weights"
    assert reader.weights("other") is None
    assert len(home.list("store/ledger.jsonl")) == 3


def test_many_files_in_a_bucket_become_one(bucket):
    home = Home(f"{bucket}/many")
    writer = Store(home, compact=False)
    expected = {f"key {number}": Measurement(0.5, 0.25, b"", number, 1.5, "cpu") for number in range(COMPACT_ABOVE + 1)}
    for key, record in expected.items():
        writer.put_measurements({key: record})
    assert Store(home).measurements(list(expected)) == expected
    assert len(home.list("store/measurements")) == 1
    assert Store(home).measurements(list(expected)) == expected


def test_a_spoilt_object_is_set_aside(bucket):
    home = Home(f"{bucket}/spoilt")
    Store(home).put_measurements(RECORDS)
    (name,) = home.list("store/measurements")
    content = home.read(f"store/measurements/{name}")
    home.write(f"store/measurements/{name}", content[:-9])
    with pytest.warns(RuntimeWarning, match="moved to store/corrupt"):
        assert Store(home).measurements(list(RECORDS)) == {}
    assert home.read(f"store/corrupt/{name}") == content[:-9]
    assert home.list("store/measurements") == []


def collect(home, cwd):
    flags = ["--data.num_validation=100", "--data.num_test=100", "--training.max_epochs=3", "--offline.num_pairs=3"]
    command = [sys.executable, "-m", "cluster", "collect", "--preset", "quickstart", "--num-workers", "1", "--quiet"]
    answer = subprocess.run([*command, *flags, "--home", home], capture_output=True, text=True, cwd=cwd, timeout=280)
    assert answer.returncode == 0, answer.stderr
    return answer


@pytest.mark.long
def test_a_collection_into_a_bucket_and_again(bucket, tmp_path):
    url = f"{bucket}/home"
    first = collect(url, tmp_path)
    ledger = Home(url).list("store/ledger.jsonl")
    assert f"Missing: {len(ledger)} trainings" in first.stdout
    assert f"{len(ledger)} trainings and" in first.stdout.splitlines()[-1]
    assert len(ledger) > 10
    again = collect(url, tmp_path)
    assert f"{len(ledger)} are in {url}/store." in again.stdout
    assert again.stdout.endswith("0 trainings and 0 OT distances added.\n")
    assert Home(url).list("store/ledger.jsonl") == ledger
    assert not list(tmp_path.iterdir()), "nothing is written beside the bucket"


def test_a_bucket_that_does_not_exist_is_one_sentence_and_is_not_made(bucket):
    with pytest.raises(InvalidInput, match="must be a folder that can be written, got s3://no-such-bucket/home"):
        Home("s3://no-such-bucket/home").check_writable()
    assert s3fs.S3FileSystem().ls("") == ["lab"]


def test_a_server_that_does_not_answer_is_one_sentence(bucket, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    s3fs.S3FileSystem.clear_instance_cache()
    try:
        with pytest.raises(InvalidInput, match="must be a folder that can be written, got s3://lab/home"):
            Home("s3://lab/home").check_writable()
    finally:
        s3fs.S3FileSystem.clear_instance_cache()
