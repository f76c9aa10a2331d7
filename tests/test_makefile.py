"""What make would do on a bare machine: nothing is installed here."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def steps(tmp_path):
    """The commands of a target in a checkout without an environment."""
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)

    def listed(target):
        command = ["make", "--dry-run", "--no-print-directory", target]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout

    return listed


def test_the_demo_installs_what_work_needs_and_says_how_large_it_is(steps):
    demo = steps("demo")
    assert "--editable .\n" in demo
    assert "[dev]" not in demo
    assert "about 2 GB on disk" in demo
    assert demo.index("echo") < demo.index("pip install"), "what comes is said before it comes"
    assert "--quiet" not in demo


@pytest.mark.parametrize("target", ["test", "test-long", "bench"])
def test_checks_add_the_rest(steps, target):
    found = steps(target)
    assert found.index("--editable .\n") < found.index("--editable '.[dev]'")


def test_each_installation_has_a_stamp_of_its_own(steps, tmp_path):
    steps("setup")
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv/ready").touch()
    assert "pip install" not in steps("demo")
    assert "[dev]" in steps("test")
    (tmp_path / ".venv/ready-for-checks").touch()
    assert "pip install" not in steps("test")
