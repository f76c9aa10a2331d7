"""One root for everything that is kept: a local folder or any fsspec URL.

Files appear whole or not at all: locally by a temporary name, fsync and rename; object stores publish an object only
when its upload has ended.
"""

import fcntl
import math
import os
import re
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import IO, Any, TypeVar
from urllib.request import url2pathname

import fsspec
from fsspec.implementations.local import LocalFileSystem

from rambo.errors import InvalidInput, require
from rambo.formats import first_line
from rambo.lease import lease

Names = list[str]

Record = TypeVar("Record")

SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
"""What alone makes a URL of a text; all else is the name of a folder, whatever it holds."""


MARKS = {
    "trials": re.compile(r".+-[0-9a-f]{12}"),
    "store": re.compile(r"measurements|ot|weights|utility|corrupt|ledger\.jsonl"),
}
"""Folders of a home, and the names of what they hold, some of which any home has."""

NOT_OURS_ALONE = {"mlflow.db", "mlartifacts"}
"""What MLflow's own server leaves in the folder it is started in; a home has it beside what else it keeps."""

OURS = {*MARKS, "studies", "searches", "id"}
"""What only a home has."""

LOCK_SECONDS = 120.0
"""How long a command waits for another that makes a database."""


class Home:
    """Reads and writes whole files by their path relative to the root."""

    def __init__(self, root: str | Path, *, flag: str = "--home") -> None:
        """`flag` is what named `root`, as sentences call it."""
        self._flag, text = flag, str(root)
        require(text != "", f"{flag} must name a folder or an fsspec URL, got nothing; give one.")
        scheme = SCHEME.match(text)
        if scheme is None or scheme[1].lower() in ("file", "local"):
            self.root = self._base = _folder(text if scheme is None else _path_of(text, flag), flag)
            self._fs: Any = LocalFileSystem()
        else:
            self.root = text.rstrip("/")
            require("://" in self.root, f"{flag} must name a place at {text}, got none; add it.")
            self._fs, self._base = _opened(self.root, scheme[1], flag)
        self.is_local = isinstance(self._fs, LocalFileSystem)

    def path(self, name: str) -> str:
        """The full path or URL of `name`, as shown to people."""
        return f"{self.root}/{name}"

    def url(self, name: str) -> str:
        """The URL of `name`."""
        return Path(self.path(name)).as_uri() if self.is_local else self.path(name)

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
            if lasting:
                self._check_ours()
            self.write(name, b"probe")
        except InvalidInput as error:
            if error.__cause__ is None:
                raise
            reason = getattr(error.__cause__, "strerror", None) or error.__cause__
            raise InvalidInput(
                f"--home must be a folder that can be written, got {self.root} ({reason}); choose another."
            ) from None
        self.remove(name)

    def _check_ours(self) -> None:
        """Raise `InvalidInput` where something else's files stand in the places of a home's; beside them is no harm."""
        there = {*self.list(""), *self.folders("")}
        found = [] if there & OURS else sorted(there & NOT_OURS_ALONE)
        for folder in sorted(there & set(MARKS)):
            names = [*self.list(folder), *self.folders(folder)]
            found += [f"{folder}/{names[0]}"] if names and not any(map(MARKS[folder].fullmatch, names)) else []
        require(
            not found,
            f"--home must be a folder of this project's, or one without {' and '.join(sorted(OURS | NOT_OURS_ALONE))}, "
            f"got {self.root} with {found[0] if found else ''} of something else's; choose another.",
        )

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
                f"nothing kept before is lost: free space or choose another {self._flag} and run the same command "
                "again."
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
    def in_turn(self, name: str) -> Iterator[None]:
        """Work on what is kept as `name` after whoever works on it now, who may have left it; no lock file stays.

        Where there are no locks, such as on a URL, at once: what two work out at a time is the same twice.
        """
        folder, _, file = name.rpartition("/")
        lock = f"{folder}/.{file}.lock".lstrip("/")
        with ExitStack() as held:
            with suppress(InvalidInput):
                held.enter_context(self.lock(lock, patience=math.inf))
                held.callback(self.remove, lock)
            yield

    @contextmanager
    def lock(self, name: str, held: str | None = None, *, patience: float | None = None) -> Iterator[None]:
        """Hold `name` for this process alone; where another has it, raise `InvalidInput` with `held`, at once.

        Without `held` wait for it, for `patience` seconds at most, by default LOCK_SECONDS. Of URLs those of s3://
        alone take locks, with `held`: elsewhere the caller must see to it that nobody else is at work.
        """
        if not self.is_local:
            with lease(self._fs, self._place(name), held) if held and "s3" in self._fs.protocol else nullcontext():
                yield
            return
        with self._refusing(name):
            path = Path(self._place(name))
            path.parent.mkdir(parents=True, exist_ok=True)
            file = path.open("a")
        with file:
            patience = LOCK_SECONDS if patience is None else patience
            busy = f"{self.path(name)} must be let go within {patience:.0f} s, got one that another process holds."
            deadline = time.monotonic() + (0 if held else patience)
            while not self._locked(file, name):
                require(time.monotonic() < deadline, held or busy)
                time.sleep(0.05)
            yield

    def _locked(self, file: IO[str], name: str) -> bool:
        """Whether the lock is ours now."""
        with self._refusing(name):
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
        return True

    def read(self, name: str) -> bytes | None:
        """The content of `name`, or None where there is no such file; raises `InvalidInput` where it cannot be read."""
        place = self._place(name)
        with self._reading(name):
            try:
                return bytes(self._fs.cat_file(place))
            except FileNotFoundError:
                return None

    def record(self, name: str, read: Callable[[bytes], Record], cure: str) -> Record | None:
        """What `read` makes of `name`, or None where there is no such file.

        Raises `InvalidInput` with `cure` where the file is damaged, or of another version's layout.
        """
        content = self.read(name)
        try:
            return None if content is None else read(content)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise InvalidInput(
                f"{self.path(name)} must be whole and as this version writes it, got: {first_line(error)}; {cure}."
            ) from None

    def modified(self, name: str) -> float | None:
        """When `name` was last written, in seconds since 1970; None where there is no such file."""
        place = self._place(name)
        with self._reading(name):
            try:
                return float(self._fs.modified(place).timestamp())
            except FileNotFoundError:
                return None

    @contextmanager
    def _reading(self, name: str) -> Iterator[None]:
        """The same of what is read."""
        try:
            yield
        except Exception as error:
            if self.is_local and not isinstance(error, OSError):
                raise
            said = getattr(error, "strerror", None) or first_line(error)
            raise InvalidInput(
                f"{self.path(name)} must be readable, got: {said}; see that it can be reached and whose it is, or "
                f"choose another {self._flag}."
            ) from error

    def list(self, folder: str) -> Names:
        """Names of the files directly in `folder`, sorted; hidden ones (temporary files) are left out."""
        return self._names(folder, "file")

    def folders(self, folder: str) -> Names:
        """Names of the folders directly in `folder`, sorted."""
        return self._names(folder, "directory")

    def _names(self, folder: str, kind: str) -> Names:
        place = self._place(folder)
        self._fs.invalidate_cache()
        with self._reading(folder):
            try:
                entries: list[Any] = self._fs.ls(place, detail=True)
            except FileNotFoundError:
                return []
        names = [entry["name"].rstrip("/").rsplit("/", 1)[-1] for entry in entries if entry["type"] == kind]
        return sorted(name for name in names if name and not name.startswith("."))

    def remove(self, name: str) -> None:
        """Remove `name`; a file that is already gone is fine, another writer may have been first."""
        place = self._place(name)
        with self._refusing(name), suppress(FileNotFoundError):
            self._fs.rm_file(place)


def _folder(text: str, flag: str) -> str:
    """The absolute path of a folder of this machine."""
    try:
        path = str(Path(os.path.expanduser(text)).resolve())
        path.encode()
    except UnicodeEncodeError:
        raise InvalidInput(f"{flag} must have a name in UTF-8, got {text!r}; choose another.") from None
    except (OSError, RuntimeError, ValueError) as error:
        raise InvalidInput(f"{flag} must be a folder, got {text} ({error}); choose another.") from None
    return path


def _path_of(url: str, flag: str) -> str:
    """The path on this machine that a file:// URL names."""
    host, _, path = url.partition("://")[2].partition("/")
    require(
        host in ("", "localhost"),
        f"{flag} must be on this machine where it is a file:// URL, got {url} of the host {host}; write file:///path.",
    )
    return url2pathname(f"/{path}")


def _opened(url: str, scheme: str, flag: str) -> tuple[Any, str]:
    """The file system that knows `scheme`, and its name for `url`; a `::` chains nothing."""
    try:
        kind = fsspec.get_filesystem_class(scheme)
        return kind(**kind._get_kwargs_from_urls(url)), kind._strip_protocol(url)
    except Exception as error:  # each has its own
        raise InvalidInput(f"{flag} must be a folder or an fsspec URL, got {url} ({first_line(error)}).") from None
