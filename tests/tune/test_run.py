"""A search from its limits to its report, where all trials are known and nothing has to be started."""

import os
import shutil
from pathlib import Path

import pytest

from cluster.place import Place
from rambo.errors import InvalidInput
from rambo.fields import read_config
from rambo.home import Home
from rambo.progress import Progress
from tune.driver import Limits
from tune.records import ORPHANED, SeedOutcome, alone, named_search, read_plan
from tune.run import search, write_report
from tune.search import open_search
from tune.settings import Settings, keep_plan, make_plan, storage_of
from tune.space import BATCH, Choice, Space

QUIET = Progress(quiet=True)
SPACE = Space({"acquisition.candidate_batches": Choice((2, 3))})
SETTINGS = Settings("quick", (0, 1), Limits(2), publishes=False)


@pytest.fixture
def place(tmp_path):
    return Place(Home(tmp_path), Path("unused"), "cpu", "ledger.jsonl")


@pytest.fixture(scope="module")
def searched(tiny, tmp_path_factory):
    """A search after two trials of 60 and 80 %, and a third whose driver was killed; its home and its plan."""
    home = Home(tmp_path_factory.mktemp("searched"))
    made = make_plan(tiny, SPACE, SETTINGS, Path("unused"))
    keep_plan(made, home)
    memory = open_search(made, storage_of("quick", None, home), "tpe", 0)
    for value in (0.6, 0.8):
        number = memory.ask().number
        memory.report(number, [SeedOutcome(value, value - 0.1, 5)] * 2)
        memory.complete(number, [value])
    memory.ask()
    return home, made


@pytest.fixture
def known(searched, tmp_path):
    """The same in a home of each test's own."""
    shutil.copytree(searched[0].root, tmp_path, dirs_exist_ok=True)
    return searched[1]


def test_a_search_that_is_over_starts_nothing_and_says_what_it_found(known, tiny, place, tmp_path):
    found = search(tiny, SPACE, SETTINGS, place, progress=QUIET)
    assert (found.ended, found.num_run, found.trainings) == ("All 2 trials are finished.", 0, 20)
    assert [one.state for one in found.attempts] == ["COMPLETE", "COMPLETE", "FAIL"]
    assert found.attempts[2].reason == ORPHANED
    assert found.best == known.config(found.attempts[1].fields)
    assert read_config(tmp_path / "searches/quick/best.json") == found.best
    assert {name: place.home.read(f"searches/quick/{name}") for name in found.files} == found.files
    assert (found.unpublished, found.pages) == (None, None)
    assert not place.home.folders("trials")


def test_two_commands_never_search_the_same(known, tiny, place):
    sentence = "--study quick must be searched or confirmed by one command at a time, got a second"
    with alone("quick", place.home), pytest.raises(InvalidInput, match=sentence):
        search(tiny, SPACE, SETTINGS, place, progress=QUIET)


def test_another_search_of_the_same_name_changes_nothing(known, tiny, place):
    with pytest.raises(InvalidInput, match=r"--study quick must keep its space, .* got another space;"):
        search(tiny, Space({BATCH: Choice((20,))}), SETTINGS, place, progress=QUIET)
    assert read_plan(place.home, "quick") == known


def test_a_space_that_cannot_be_is_refused_before_anything_is_written(tiny, place, tmp_path):
    with pytest.raises(InvalidInput, match="--space must hold only values that can be"):
        search(tiny, Space({BATCH: Choice((20, 7))}), SETTINGS, place, progress=QUIET)
    assert list(tmp_path.iterdir()) == []


def test_a_report_is_written_where_it_differs(known, place):
    memory = open_search(known, storage_of("quick", None, place.home), "tpe", 0)
    files = write_report(known, memory.attempts(), place.home)
    named = named_search("quick", place.home)
    for name in files:
        os.utime(named.path(name), (1, 1))
    place.home.write("searches/quick/trials.csv", b"spoilt")
    assert write_report(known, memory.attempts(), place.home) == files
    assert named.read("trials.csv") == files["trials.csv"]
    assert {name for name in files if Path(named.path(name)).stat().st_mtime != 1} == {"trials.csv"}
