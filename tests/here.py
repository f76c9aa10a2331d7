"""A command as its process would run it, but in this one: a start costs five seconds of a core, most of it imports.

What a module's tests share, such as a finished study, is run in a process of its own; what looks at it is run here.
"""

import io
import signal
import sys
from contextlib import chdir, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from rambo.cli import run_command


def sentences(errors: str) -> list[str]:
    """What was said on standard error, without the signs of life of what takes long."""
    return [line for line in errors.strip().splitlines() if not line.endswith(" s so far)")]


@dataclass
class Answer:
    """What a process leaves: as of `subprocess.run`."""

    returncode: int
    stdout: str
    stderr: str


def run_here(room: str, *arguments: str, cwd: Path) -> Answer:
    """`python -m ROOM ARGUMENTS` in the folder `cwd`."""
    said, errors, words, handler = io.StringIO(), io.StringIO(), sys.argv, signal.getsignal(signal.SIGTERM)
    sys.argv = [room, *arguments]
    try:
        with chdir(cwd), redirect_stdout(said), redirect_stderr(errors):
            run_command(room, import_module(f"{room}.__main__").main)
    except SystemExit as ended:
        return Answer(int(ended.code or 0), said.getvalue(), errors.getvalue())
    finally:
        sys.argv = words
        signal.signal(signal.SIGTERM, handler)
