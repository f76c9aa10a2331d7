"""A lock in a bucket of S3, by writes that the server makes only where nobody else has written.

One object is the lock: who holds it writes it anew every few seconds, so one that has not been written for long is of a
process that is gone. Ages are by the server's clock alone.
"""

import _thread
import errno
import os
import platform
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any

from rambo.errors import InvalidInput

RENEW_SECONDS = 20.0

LEASE_SECONDS = 120.0
"""A lock that was not renewed for so long is nobody's."""


@contextmanager
def lease(files: Any, place: str, held: str) -> Iterator[None]:
    """Hold the object `place` of the bucket system `files`; raises `InvalidInput` with `held` where another does.

    A holder that could not renew it for too long is interrupted, as by Ctrl-C: another may be at work by then.
    """
    bucket, _, key = place.partition("/")
    mine = _Lease(files, {"Bucket": bucket, "Key": key}, held)
    mine.take()
    over = threading.Event()
    thread = threading.Thread(target=mine.renew, args=(over,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        mine.let_go()


class _Lease:
    def __init__(self, files: Any, where: dict[str, str], held: str) -> None:
        self._files, self._where, self._held = files, where, held
        self._tag = ""
        self._is_lost = False

    def take(self) -> None:
        """Write it where it is not there, or where who wrote it is gone."""
        try:
            self._write(IfNoneMatch="*")
        except OSError:
            tag, age = self._standing()
            if tag and age < LEASE_SECONDS:
                raise InvalidInput(self._held) from None
            self._take_over(tag)

    def renew(self, over: threading.Event) -> None:
        """Write it anew until it is `over`."""
        failing = 0.0
        while not over.wait(RENEW_SECONDS):
            try:
                self._write(IfMatch=self._tag)
                failing = 0.0
            except Exception as error:  # a server that is away for a while; each library has its own
                failing += RENEW_SECONDS
                if (
                    isinstance(error, OSError) and error.errno == errno.EINVAL
                ) or failing >= LEASE_SECONDS - RENEW_SECONDS:
                    self._is_lost = True
                    _thread.interrupt_main()
                    return

    def let_go(self) -> None:
        """Remove it where it is still ours."""
        with suppress(Exception):  # it goes by itself after a while
            if not self._is_lost and self._standing()[0] == self._tag:
                self._files.call_s3("delete_object", **self._where)

    def _take_over(self, tag: str) -> None:
        try:
            self._write(**({"IfMatch": tag} if tag else {"IfNoneMatch": "*"}))
        except OSError:  # another was first
            raise InvalidInput(self._held) from None

    def _write(self, **condition: str) -> None:
        said = f"{platform.node()} {os.getpid()} {os.urandom(4).hex()}".encode()
        self._tag = self._files.call_s3("put_object", Body=said, **self._where, **condition)["ETag"]

    def _standing(self) -> tuple[str, float]:
        """Its tag and its age in seconds; no tag where it is gone."""
        try:
            found = self._files.call_s3("head_object", **self._where)
        except FileNotFoundError:
            return "", 0.0
        now: datetime = parsedate_to_datetime(found["ResponseMetadata"]["HTTPHeaders"]["date"])
        return found["ETag"], (now - found["LastModified"]).total_seconds()
