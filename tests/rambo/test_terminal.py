"""Stops while a room loads, and output that cannot be written: real processes, of which none loads anything large."""

import os
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from rambo.terminal import SCRIPTS

ROOMS = ("rambo", "cluster", "tune", "ablations", "benchmarks")

LOADING = """
from rambo.terminal import answer_while_loading
answer_while_loading()
print("loading", flush=True)
import time
try:
    time.sleep(60)
except BaseException:  # as a module that takes Ctrl-C for its own trouble
    pass
"""


def python(*words, **options):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    environment |= options.pop("env", {})
    return subprocess.Popen([sys.executable, *words], env=environment, text=True, **options)


def answer(script, **options):
    """Status and what stood on standard output and error, as bytes that are text."""
    before = "from rambo.terminal import patient_output\nsettle = patient_output()\n"
    piped = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    process = python("-c", before + script, errors="surrogateescape", **piped)
    said, errors = process.communicate(timeout=60)
    return process.returncode, said, errors


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_while_a_room_loads_is_one_line_and_the_status_of_its_signal(number, tmp_path):
    (tmp_path / "room").mkdir()
    (tmp_path / "room/__init__.py").write_text(LOADING)
    (tmp_path / "room/__main__.py").write_text("")
    with python("-m", "room", cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout.readline() == "loading\n"
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == -number, "which a shell shows as 130 or 143"
    assert errors == "room: stopped; the same command goes on from here.\n"


def test_an_installed_script_answers_while_its_room_loads(tmp_path):
    (tmp_path / "rambo-tune").write_text(LOADING)
    with python(str(tmp_path / "rambo-tune"), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout.readline() == "loading\n"
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGINT
    assert errors == "tune: stopped; the same command goes on from here.\n"


def test_the_scripts_of_an_installation_are_those_that_we_answer_for():
    written = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]["scripts"]
    assert written == {name: f"{room}.__main__:script" for name, room in SCRIPTS.items()}


@pytest.mark.parametrize("room", ROOMS)
def test_every_room_answers_before_it_loads_anything_and_none_as_a_library(room):
    script = f"import sys, signal; sys.argv[:] = sys.argv[1:]; import {room}; "
    script += "print(signal.getsignal(signal.SIGINT) is signal.default_int_handler, "
    script += "signal.getsignal(signal.SIGTERM) is signal.SIG_DFL, 'numpy' in sys.modules)"
    for words, expected in (("-m", "False False False"), ("", "True True False")):
        with python("-c", script, words, stdout=subprocess.PIPE) as process:
            assert process.stdout.read().strip() == expected


@pytest.mark.parametrize(
    ("encoding", "said"),
    [("ascii", "\\xfb \\u2212 caf\udce9\n"), ("utf-8", "û − caf\udce9\n"), ("latin-1", "\udcfb \\u2212 caf\udce9\n")],
)
def test_letters_that_an_encoding_lacks_are_escaped_and_names_are_their_bytes(encoding, said):
    """The last of the line is a file's name that is no text, as Python has it."""
    script = "print('û − caf\\udce9')"
    assert answer(script, env={"PYTHONIOENCODING": encoding}, encoding="utf-8") == (0, said, "")


def test_a_reader_that_leaves_does_not_end_the_work(tmp_path):
    script = f"""
print("first", flush=True)
import sys, pathlib
sys.stdin.readline()
for number in range(3):
    print("x" * 100_000, flush=True)
    print("y", file=sys.stderr)
pathlib.Path({str(tmp_path / "done")!r}).write_text("done")
sys.exit(0 if settle() is None else 3)
"""
    before = "from rambo.terminal import patient_output\nsettle = patient_output()\n"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    process = python("-c", before + script, **pipes)
    assert process.stdout.readline() == "first\n"
    process.stdout.close()
    process.stdin.write("go on\n")
    process.stdin.close()
    assert process.wait(timeout=60) == 0
    assert (tmp_path / "done").read_text() == "done"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="of Linux")
def test_a_full_disk_under_the_output_is_told_at_the_end():
    with open("/dev/full", "w") as full:
        script = "import sys\nprint('lost')\nsys.exit(settle().strerror)"
        assert answer(script, stdout=full) == (1, None, "No space left on device\n")


def test_output_that_is_closed_is_no_place_for_files():
    """A file that is opened next would else be where `print` writes."""
    script = "file = open('/dev/null')\nassert file.fileno() > 2\nprint('lost')\nsettle()"
    shell = f'exec "{sys.executable}" -c "$1" >&- 2>&-'
    full = f"import sys\nfrom rambo.terminal import patient_output\nsettle = patient_output()\n{script}"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    assert subprocess.run(["sh", "-c", shell, "sh", full], env=environment, timeout=60).returncode == 0
