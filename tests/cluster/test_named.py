"""Work with a name: its folder, lock, files and pages, for studies and searches alike."""

import json
import os
import shlex
from dataclasses import replace
from pathlib import Path

import pytest
from free_ports import free_port

from ablations.plans import STUDY
from cluster.named import LOCAL_SERVER, Named, Showing, where_to_look
from cluster.tracking.entries import BoardSummary, Entry
from rambo.errors import InvalidInput
from rambo.home import Home
from rambo.progress import Progress
from tune.records import SEARCH

KINDS = pytest.mark.parametrize("kind", [STUDY, SEARCH], ids=lambda kind: kind.noun)
PAGES = ("/#/experiments/1/runs", "/#/experiments/1/runs/2")


@pytest.fixture
def named(tmp_path):
    return Named(STUDY, "mine", Home(tmp_path))


@pytest.mark.parametrize(("kind", "folder"), [(STUDY, "studies/übung_2-b.1"), (SEARCH, "searches/übung_2-b.1")])
def test_each_kind_has_a_folder_of_its_own_for_each_name(tmp_path, kind, folder):
    found = Named(kind, "übung_2-b.1", Home(tmp_path))
    assert (found.folder, found.ledger) == (folder, f"{folder}/ledger.jsonl")
    assert found.path() == f"{tmp_path}/{folder}"
    assert found.path("table.md") == f"{tmp_path}/{folder}/table.md"


@KINDS
@pytest.mark.parametrize("name", ["", ".", "...", "a/b", "../up", "a b", "x\n", "~"])
def test_a_name_that_leads_out_of_the_folder_is_refused_before_anything_is_looked_at(tmp_path, kind, name):
    with pytest.raises(InvalidInput, match=r"--study must be a name of letters, digits, '-', '_' and '\.', got "):
        Named(kind, name, Home(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_one_command_at_a_time_holds_it_and_others_go_on(named):
    with named.alone("It must be held once."):
        with pytest.raises(InvalidInput, match=r"^It must be held once\.$"), named.alone("It must be held once."):
            pytest.fail("two hold it")
        with replace(named, name="another").alone("no"), Named(SEARCH, "mine", named.home).alone("no"):
            pass
    with named.alone("It was let go."):
        pass


def test_files_are_written_where_they_differ_and_nowhere_else(named):
    named.keep({"table.md": b"one", "figures/cells.png": b"png"})
    places = [Path(named.path(name)) for name in ("table.md", "figures/cells.png")]
    for place in places:
        os.utime(place, (1, 1))
    named.keep({"table.md": b"two", "figures/cells.png": b"png"})
    assert [place.read_bytes() for place in places] == [b"two", b"png"]
    assert [place.stat().st_mtime == 1 for place in places] == [False, True]
    named.keep({})
    assert named.read("table.md") == b"two", "what is not among the files stays"
    named.keep_report({"figures/effects.png": b"png"})
    assert named.read("table.md") == b"two"
    assert named.home.list(f"{named.folder}/figures") == ["effects.png"], "pictures of another report do not"


def test_what_a_report_has_only_sometimes_goes_with_it_and_nothing_else_does(named):
    named.keep({"comparison.md": b"old", "comparison/ranks.csv": b"old", "comparison/mine.txt": b"mine"})
    sometimes, files = ("comparison.md", "comparison/ranks.csv", "paper.md"), {"table.md": b"new"}
    assert named.left_over(files, sometimes) == ["comparison.md", "comparison/ranks.csv"]
    named.keep_report(files, sometimes)
    assert named.left_over(files, sometimes) == []
    assert (named.read("comparison.md"), named.read("comparison/mine.txt")) == (None, b"mine")


@KINDS
def test_a_plan_that_is_not_there_is_refused_with_the_names_of_its_kind(tmp_path, kind):
    missing = Named(kind, "two", Home(tmp_path))
    assert missing.plan() is None
    with pytest.raises(InvalidInput, match=rf"^--study must name a {kind.noun} of {tmp_path}, got two; there: none\.$"):
        missing.existing_plan()
    plan = json.dumps({kind.noun: "one"}).encode()
    replace(missing, name="one").keep({"plan.json": plan})
    Named(SEARCH if kind is STUDY else STUDY, "other", Home(tmp_path)).keep({"plan.json": b"{}"})
    with pytest.raises(InvalidInput, match=r"got two; there: one\.$"):
        missing.existing_plan()
    assert replace(missing, name="one").existing_plan() == plan


@KINDS
@pytest.mark.parametrize("content", [b"[1]", b"no json", b'{"name": "theirs"}', b"\xff"])
def test_a_plan_of_another_program_is_refused(tmp_path, kind, content):
    theirs = Named(kind, "theirs", Home(tmp_path))
    theirs.keep({"plan.json": content})
    with pytest.raises(InvalidInput, match=rf"must be the plan of a {kind.noun}, got a file of something else"):
        theirs.plan()


def test_a_plan_of_another_layout_is_one_sentence(named):
    with pytest.raises(InvalidInput, match=r"must be a plan as this version writes it, got another layout \('base'\)"):
        named.understood(b"", lambda content: {}["base"])


@KINDS
def test_a_name_that_no_file_system_takes_is_refused(tmp_path, kind):
    Named(kind, "x" * 200, Home(tmp_path))
    with pytest.raises(InvalidInput, match="--study must have at most 255 bytes, got 400"):
        Named(kind, "ü" * 200, Home(tmp_path))


def test_the_command_that_is_named_works_for_a_home_of_any_name(tmp_path):
    home = Home(tmp_path / "it's mine")
    [look, *_] = where_to_look(Named(STUDY, "mine", home), PAGES)
    assert shlex.split(look.removeprefix("Look at ").removesuffix(", then"))[-1] == home.root


@KINDS
def test_without_a_server_one_is_to_be_started_by_the_command_of_its_room(tmp_path, monkeypatch, kind):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    command = {"study": "ablations", "search": "tune"}[kind.noun]
    assert where_to_look(Named(kind, "mine", Home(tmp_path)), PAGES) == [
        f"Look at python -m {command} ui --home {tmp_path}, then",
        *(f"  {LOCAL_SERVER}{page}" for page in PAGES),
    ]


@KINDS
@pytest.mark.parametrize("uri", ["https://mlflow.example/at", "https://ann:hunter2@mlflow.example/at/"])
def test_with_a_server_its_address_is_named_and_no_ui_and_no_password(tmp_path, monkeypatch, kind, uri):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    lines = where_to_look(Named(kind, "mine", Home(tmp_path)), PAGES)
    address = "https://ann:***@mlflow.example/at" if "ann" in uri else "https://mlflow.example/at"
    assert lines == [f"Look at {address}", *(f"  {address}{page}" for page in PAGES)]


@pytest.mark.parametrize("uri", ["", "https://mlflow.example"])
def test_without_pages_there_is_nowhere_to_look(named, monkeypatch, uri):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    assert where_to_look(named, None) == []


def test_what_a_silent_server_did_not_take_is_one_sentence_with_its_cure(named, monkeypatch):
    address = f"http://127.0.0.1:{free_port()}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    showing = Showing(named, [], Progress(quiet=True), cure="the same command shows them later.")
    for seed in (0, 1):
        showing.publish(Entry(f"trials/d/c/{seed}", f"seed {seed}", {"seed": str(seed)}, "it broke"))
    shown = showing.close(BoardSummary("", {}, {}))
    assert shown.unpublished.startswith(f"MLflow at {address} did not take 2 trials (")
    assert shown.unpublished.endswith("); the same command shows them later.")
    assert shown.pages is None, "its pages are not known"
