"""A lock in a bucket; moto's server on this machine stands in for S3."""

import threading
import time

import pytest
import s3fs
from moto.server import ThreadedMotoServer

import rambo.lease
from rambo.errors import InvalidInput
from rambo.home import Home

HELD = "The sweep must have one driver, got a second; wait."


@pytest.fixture(scope="module")
def bucket():
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "testing")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        s3fs.S3FileSystem().mkdir("locks")
        yield "s3://locks"
    s3fs.S3FileSystem.clear_instance_cache()
    server.stop()


def test_one_holds_it_and_it_goes_when_it_is_let_go(bucket):
    first, second = Home(f"{bucket}/a"), Home(f"{bucket}/a")
    with first.lock("sweeps/driver.lock", HELD):
        with pytest.raises(InvalidInput, match=HELD), second.lock("sweeps/driver.lock", HELD):
            raise AssertionError("two at work")
        with second.lock("sweeps/other.lock", HELD):
            pass
    with second.lock("sweeps/driver.lock", HELD):
        pass
    assert first.list("sweeps") == []


def test_of_many_that_begin_at_once_one_holds_it(bucket):
    inside, most, refused, barrier = [], [], [], threading.Barrier(6)

    def work():
        home = Home(f"{bucket}/b")
        barrier.wait()
        try:
            with home.lock("lock", HELD):
                inside.append(1)
                most.append(len(inside))
                time.sleep(1.0)
                inside.pop()
        except InvalidInput:
            refused.append(1)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (most, len(refused)) == ([1], 5)


def test_one_whose_holder_is_gone_is_taken_over_and_one_that_is_renewed_is_not(bucket, monkeypatch):
    home = Home(f"{bucket}/c")
    monkeypatch.setattr(rambo.lease, "LEASE_SECONDS", 3.0)
    home.write("lock", b"of a process that was killed")
    with pytest.raises(InvalidInput, match=HELD), home.lock("lock", HELD):
        pytest.fail("it may be alive")
    time.sleep(4.5)
    monkeypatch.setattr(rambo.lease, "RENEW_SECONDS", 0.5)
    with home.lock("lock", HELD):
        time.sleep(4.5)
        with pytest.raises(InvalidInput, match=HELD), Home(f"{bucket}/c").lock("lock", HELD):
            pytest.fail("it is renewed")


def test_a_holder_whose_lock_another_has_taken_is_interrupted_and_leaves_it_alone(bucket, monkeypatch):
    home = Home(f"{bucket}/d")
    monkeypatch.setattr(rambo.lease, "RENEW_SECONDS", 0.5)

    def work():
        with home.lock("lock", HELD):
            home.write("lock", b"another's")
            time.sleep(5)

    with pytest.raises(KeyboardInterrupt):
        work()
    assert home.read("lock") == b"another's"
