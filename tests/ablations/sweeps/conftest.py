"""Sweeps whose trials take a moment, as files that can be edited."""

from collections.abc import Callable
from pathlib import Path

import pytest
from sweep_files import study_text

from ablations.sweeps.kept import Kept, keep
from cluster.runtime import connected
from rambo.home import Home

Write = Callable[..., Path]


def _table(title, text):
    return [f"[{title}]", text] if text else []


@pytest.fixture
def write(tmp_path) -> Write:
    """Writes `NAME.toml` with studies, limits and policy, over what it held."""

    def written(name="spring", *studies, limits="", policy=""):
        head = [
            f'name = "{name}"',
            *(["[limits]", limits] if limits else []),
            *(["[policy]", policy] if policy else []),
        ]
        path = tmp_path / f"{name}.toml"
        path.write_text("\n".join([*head, *(studies or [study_text("digits")])]) + "\n")
        return path

    return written


@pytest.fixture
def wanted(tmp_path):
    """Makes a file what is wanted of the home of this test."""

    def made(path: Path) -> Home:
        home = Home(tmp_path / "home")
        keep(home, *Kept.of(path))
        return home

    return made


@pytest.fixture(scope="module")
def two_cpus():
    with connected(2) as resources:
        yield resources
