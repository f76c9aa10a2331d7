"""The house as a stranger finds it: a test file beside each source, files that fit a head, examples that run."""

import ast
import doctest
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("rambo", "cluster", "tune", "ablations")
SOURCES = [path.relative_to(ROOT) for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))]

LEAST_BRANCHES = 5
"""Decisions in a file from which on it has logic of its own; examples in docstrings, run below, do for less."""

MOST_LINES = 400

BRANCHES = (ast.If, ast.For, ast.While, ast.Try, ast.IfExp, ast.BoolOp, ast.comprehension)


def num_branches(source):
    return sum(isinstance(node, BRANCHES) for node in ast.walk(ast.parse((ROOT / source).read_text())))


def with_logic():
    """Commands are tested as commands, in tests/integration."""
    return [one for one in SOURCES if one.name != "__main__.py" and num_branches(one) >= LEAST_BRANCHES]


@pytest.mark.parametrize("source", with_logic(), ids=str)
def test_a_source_file_with_logic_has_a_test_file_of_its_name(source):
    assert (ROOT / "tests" / source.parent / f"test_{source.name}").exists()


@pytest.mark.parametrize("source", SOURCES, ids=str)
def test_no_source_file_is_too_long_for_one_head(source):
    assert len((ROOT / source).read_text().splitlines()) <= MOST_LINES


@pytest.mark.parametrize("source", [one for one in SOURCES if ">>>" in (ROOT / one).read_text()], ids=str)
def test_examples_in_docstrings_are_so(source):
    module = import_module(".".join(source.with_suffix("").parts))
    failed, attempted = doctest.testmod(module)
    assert attempted > 0
    assert failed == 0
