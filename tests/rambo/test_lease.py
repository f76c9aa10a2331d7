"""A lock in a bucket; moto's server on this machine stands in for S3."""

import threading
import time

import pytest
from buckets import bucket_called

import rambo.lease
from rambo.errors import InvalidInput
from rambo.home import Home

HELD = "The sweep must have one driver, got a second; wait."


@pytest.fixture(scope="module")
def bucket():
    with bucket_called("locks") as url:
        yield url


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
