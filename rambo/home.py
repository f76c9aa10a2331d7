"""One root for everything that is kept: a local folder or any fsspec URL.

Files appear whole or not at all: locally by a temporary name, fsync and rename; object stores publish an object only
when its upload has ended.
"""

import fcntl
import os
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fsspec

from rambo.errors import InvalidInput, require

Names = list[str]


class Home:
    """Reads and writes whole files by their path relative to the root."""

    def __init__(self, root: str | Path) -> None:
        text = str(root)
        self.root = text.rstrip("/") if "://" in text else str(Path(text).expanduser().resolve())
        try:
            self._fs, self._base = fsspec.core.url_to_fs(self.root)
        except (ValueError, ImportError) as error:
            raise InvalidInput(f"--home must be a folder or an fsspec URL, got {text} ({error}).") from None
        self.is_local = "file" in self._fs.protocol

    def path(self, name: str) -> str:
        """The full path or URL of `name`, as shown to people."""
        return f"{self.root}/{name}"

    def check_writable(self, *, lasting: bool = True) -> None:
        """Write and remove a small file; raises `InvalidInput` where the home does not take one.

        One that is to be `lasting` must not lie in a job's working folder, which Ray throws away with the job.
        """
        require(
            not (lasting and self.is_local and "runtime_resources" in Path(self.root).parts),
            f"--home must outlast the job, got {self.root}, which Ray throws away with it; give an absolute path on a "
            "disk that every node of the cluster can reach, or a URL.",
        )
        name = f".probe-{uuid.uuid4().hex}"
        try:
            self.write(name, b"probe")
        except InvalidInput as error:
            reason = getattr(error.__cause__, "strerror", None) or error.__cause__
            raise InvalidInput(
                f"--home must be a folder that can be written, got {self.root} ({reason}); choose another."
            ) from None
        self.remove(name)

    def write(self, name: str, content: bytes) -> None:
        """Make `name` hold `content`, replacing what was there; raises `InvalidInput` where the disk refuses."""
        place = self._place(name)
        with self._refusing(name):
            self._write_local(Path(place), content) if self.is_local else self._write_remote(place, content)

    @contextmanager
    def _refusing(self, name: str) -> Iterator[None]:
        """Make one sentence of what a disk or a server says; of a URL anything may come, each has its own errors."""
        try:
            yield
        except Exception as error:
            if self.is_local and not isinstance(error, OSError):
                raise
            raise InvalidInput(
                f"{self.path(name)} must be writable, got: {getattr(error, 'strerror', None) or error}; "
                "nothing kept before is lost: free space or choose another --home and run the same command again."
            ) from error

    def _write_local(self, target: Path, content: bytes) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex}.tmp")
        try:
            with temporary.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)

    def _place(self, name: str) -> str:
        """Where the file system has `name`; a plan of somebody else's may hold names that lead out of the home."""
        inside = not name.startswith("/") and ".." not in name.split("/")
        require(
            inside, f"{name} must be a path inside {self.root}, got one that leads out of it; correct what names it."
        )
        return f"{self._base}/{name}"

    def _write_remote(self, target: str, content: bytes) -> None:
        if "s3" not in self._fs.protocol:  # which has no folders, and for which s3fs would make a missing bucket
            self._fs.makedirs(target.rsplit("/", 1)[0], exist_ok=True)
        self._fs.pipe_file(target, content)

    def append(self, name: str, line: bytes) -> None:
        """Add `line` to the end of a local file; of a URL, which takes no appends, to a file of its own beside it."""
        if not self.is_local:
            self.write(f"{name}/{time.time_ns():020d}-{uuid.uuid4().hex[:12]}", line)
            return
        path = Path(self._place(name))
        with self._refusing(name):
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("ab", buffering=0) as file:  # one write of a short line: other writers cannot split it
                file.write(line)

    def read_lines(self, name: str) -> list[bytes]:
        """What `append` added to `name`, oldest first."""
        if self.is_local:
            return (self.read(name) or b"").splitlines()
        return [line for entry in self.list(name) for line in (self.read(f"{name}/{entry}") or b"").splitlines()]

    @contextmanager
    def lock(self, name: str, held: str | None = None) -> Iterator[None]:
        """Hold `name` for this process alone; where another has it, wait, or raise `InvalidInput` with `held`.

        A URL takes no locks: there the caller must see to it that nobody else is at work.
        """
        if not self.is_local:
            yield
            return
        path = Path(self._place(name))
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | (fcntl.LOCK_NB if held else 0))
            except BlockingIOError:
                raise InvalidInput(str(held)) from None
            yield

    def read(self, name: str) -> bytes | None:
        """The content of `name`, or None where there is no such file."""
        try:
            return bytes(self._fs.cat_file(self._place(name)))
        except FileNotFoundError:
            return None

    def list(self, folder: str) -> Names:
        """Names of the files directly in `folder`, sorted; hidden ones (temporary files) are left out."""
        return self._names(folder, "file")

    def folders(self, folder: str) -> Names:
        """Names of the folders directly in `folder`, sorted."""
        return self._names(folder, "directory")

    def _names(self, folder: str, kind: str) -> Names:
        place = self._place(folder)
        self._fs.invalidate_cache()
        try:
            entries: list[Any] = self._fs.ls(place, detail=True)
        except FileNotFoundError:
            return []
        names = [entry["name"].rstrip("/").rsplit("/", 1)[-1] for entry in entries if entry["type"] == kind]
        return sorted(name for name in names if name and not name.startswith("."))

    def remove(self, name: str) -> None:
        """Remove `name`; a file that is already gone is fine, another writer may have been first."""
        try:
            self._fs.rm_file(self._place(name))
        except FileNotFoundError:
            return
