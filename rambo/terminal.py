"""What a command and its terminal owe each other, from the first import to the last line.

Ctrl-C and SIGTERM end it in one line at any time; output that nobody reads, or whose letters the terminal's encoding
lacks, never ends work. Imports nothing that takes time: every room's `__init__` calls `answer_while_loading`.
"""

import codecs
import io
import os
import select
import signal
import sys
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, TextIO

from rambo.heartbeat import HEART, doing

SCRIPTS = {"rambo": "rambo", "rambo-cluster": "cluster", "rambo-tune": "tune", "rambo-ablations": "ablations"}
"""The room whose command each script of an installation is."""

STOPPED = "stopped; the same command goes on from here."

UNENCODABLE = "rambo"
"""The name of our handler of letters that an encoding lacks."""

Settle = Callable[[], OSError | None]

_loading = ExitStack()
"""Open while a command loads."""


def answer_while_loading() -> None:
    """Say that it loads where that takes long, and end on Ctrl-C or SIGTERM in one line, while a command imports.

    A command is `python -m ROOM` or its script. Nothing is open yet that could be ended well, and what is imported may
    take an exception for its own. As a library, or where a signal is ignored or handled by somebody else, nothing
    changes.
    """
    program = _program()
    if program is None:
        return
    if "--quiet" not in sys.orig_argv:
        _loading.close()  # of a room that has imported this one
        _loading.enter_context(HEART.during(doing(f"{program}: loading")))

    def stop(number: int, frame: object) -> None:
        os.write(2, f"{program}: {STOPPED}\n".encode())
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGTERM, signal.SIG_DFL)):
        if signal.getsignal(number) is usual:
            signal.signal(number, stop)


def _program() -> str | None:
    """The room that Python was told to run, None where it runs something else."""
    if sys.argv[:1] != ["-m"]:
        return SCRIPTS.get(os.path.basename(sys.argv[0])) if sys.argv else None
    words = iter(sys.orig_argv[1:])
    return next((word[2:] or next(words, "rambo") for word in words if word.startswith("-m")), "rambo")


def answer_from_now_on() -> None:
    """All is loaded. Let Ctrl-C raise `KeyboardInterrupt` again: there is work that must be ended well."""
    _loading.close()
    if signal.getsignal(signal.SIGINT) not in (signal.SIG_IGN, None):
        signal.signal(signal.SIGINT, signal.default_int_handler)


def patient_output() -> Settle:
    """Make standard output and error outlive their readers and their encodings; returns what ends them.

    What goes to a pipe that nobody reads any more, or to a full disk, is dropped. Letters that the encoding lacks are
    written as escapes, file names that are no text as the bytes that they are. The function that is returned says what
    kept the output from being written, a closed pipe apart.
    """
    codecs.register_error(UNENCODABLE, _escaped)
    while (free := os.open(os.devnull, os.O_RDWR)) <= 2:  # what was closed by the caller must not become a file of ours
        pass
    os.close(free)
    sys.stdout, out = _patient(sys.stdout, 1)
    sys.stderr, _ = _patient(sys.stderr, 2)

    def settle() -> OSError | None:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        return None if out is None or isinstance(out.lost, BrokenPipeError) else out.lost

    return settle


class _Patient(io.RawIOBase):
    """A descriptor that takes whatever is written, and drops it once that fails."""

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = descriptor
        self.lost: OSError | None = None

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return os.isatty(self._descriptor)

    def write(self, content: "bytes | bytearray | memoryview") -> int:  # type: ignore[override]
        while self.lost is None:
            try:
                return os.write(self._descriptor, content)
            except BlockingIOError:  # whoever started us reads without waiting, and is slow
                select.select([], [self._descriptor], [])
            except OSError as error:
                self.lost = error
        return len(content)


def _patient(stream: Any, descriptor: int) -> tuple[TextIO, "_Patient | None"]:
    """`stream` made so where it is the process's own; tests and notebooks put others in its place."""
    if stream is None:
        return open(os.devnull, "w", encoding="utf-8"), None
    own: Any = (sys.__stdout__, sys.__stderr__)[descriptor - 1]
    if stream is not own:
        return stream, None
    own.flush()
    raw = _Patient(descriptor)
    buffer: Any = io.BufferedWriter(raw)
    made = io.TextIOWrapper(buffer, encoding=own.encoding, errors=UNENCODABLE, line_buffering=own.line_buffering)
    return made, raw


def _escaped(error: UnicodeError) -> tuple[bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    letters = error.object[error.start : error.end]
    return b"".join(map(_bytes_of, letters)), error.end


def _bytes_of(letter: str) -> bytes:
    escaped = 0xDC80 <= ord(letter) <= 0xDCFF  # a byte of a file's name that was no text
    return bytes([ord(letter) - 0xDC00]) if escaped else letter.encode("ascii", "backslashreplace")
