"""URLs of databases: every legal path, an installed driver, and a knock that is over at once."""

import sqlite3

import pytest
from sqlalchemy.engine import make_url

from cluster.databases import (
    database_url,
    file_of,
    file_url,
    has_scheme,
    knock,
    missing_driver,
    refuse_tables_of_others,
)
from rambo.errors import InvalidInput

NAMES = ["My%20Project", "what?", "a#b", "a::b", 'it\'s "one"', "ü {x} & y=1;z", "x" * 200, "://", "a\nb"]
"""Legal for a folder, and more than that in a URL."""


@pytest.mark.parametrize("name", NAMES)
def test_a_database_lies_in_the_file_that_its_path_names(tmp_path, name):
    file = tmp_path / name.replace("/", "") / "some.db"
    file.parent.mkdir()
    sqlite3.connect(file).execute("CREATE TABLE mine (x)").connection.close()
    url = file_url(file)
    assert knock(url) == {"mine"}
    assert (file_of(url), make_url(url).database) == (file, str(file))
    assert not set("?#{}'\"") & set(url), "none that somebody could take for more than a path"
    assert database_url(url, "--storage") == url, "read again it is the same"
    assert [len(list(folder.iterdir())) for folder in (tmp_path, file.parent)] == [1, 1]


def test_a_relative_one_is_made_absolute_in_whatever_folder(tmp_path, monkeypatch):
    folder = tmp_path / "50% of it?"
    folder.mkdir()
    monkeypatch.chdir(folder)
    assert file_of(database_url("sqlite:///a%20b.db", "--storage")) == folder / "a b.db"
    assert file_of(database_url("sqlite://", "--storage")) is None
    assert file_of("postgresql+psycopg2://host/name") is None


@pytest.mark.parametrize("text", ["what?/x.db", "a::b/c.db", "sqlite:/x.db", "mine.db"])
def test_what_has_no_scheme_is_a_path_whose_url_is_told(tmp_path, monkeypatch, text):
    monkeypatch.chdir(tmp_path)
    assert not has_scheme(text)
    with pytest.raises(
        InvalidInput, match=r"--storage must be the URL of a database .*; for that file give "
    ) as refusal:
        database_url(text, "--storage")
    advice = str(refusal.value).rpartition("give ")[2].removesuffix(".")
    assert file_of(database_url(advice, "--storage")) == tmp_path / text


def test_a_question_mark_that_is_not_quoted_opens_no_other_file(tmp_path):
    with pytest.raises(InvalidInput, match=r"must have what its file's name holds of .* quoted") as refusal:
        database_url(f"sqlite:///{tmp_path}/what?/x.db", "--storage")
    advice = str(refusal.value).rpartition("give ")[2].removesuffix(".")
    assert file_of(database_url(advice, "--storage")) == tmp_path / "what?/x.db"
    assert "timeout=5" in database_url(f"sqlite:///{tmp_path}/x.db?timeout=5", "--storage")


@pytest.mark.parametrize("text", ["postgresql+nonsense://h/x", "postgresql://h:port/x", "sqlite://relative.db"])
def test_a_malformed_one_is_one_sentence(text):
    with pytest.raises(InvalidInput, match=r"--storage must be the URL of a database .*, got .*; give sqlite:"):
        database_url(text, "--storage")


def test_the_driver_that_is_installed_is_taken_else_it_is_named():
    for scheme in ("postgresql", "postgres"):
        assert make_url(database_url(f"{scheme}://ann:a%2Fb@h/x", "it")).get_backend_name() == "postgresql"
    chosen = make_url(database_url("postgresql://h/x", "it"))
    chosen.get_dialect().import_dbapi()
    assert database_url("postgresql+psycopg://h/x", "it") == "postgresql+psycopg://h/x", "a choice is kept"
    with pytest.raises(
        InvalidInput, match=r"^the driver of mssql\+pymssql://h/x is not installed: pip install pymssql$"
    ):
        knock("mssql+pymssql://h/x")
    advice = missing_driver("postgresql://ann:pw@h/x")
    assert advice == "the driver of postgresql://ann:***@h/x is not installed: pip install psycopg2-binary"


def test_the_tables_of_another_program_are_left_alone():
    for tables in ({"studies", "alembic_version"}, set(), {"customers"}):
        refuse_tables_of_others("sqlite:///x.db", tables, "studies", "--storage")
    with pytest.raises(InvalidInput, match=r"--storage must name a database of its own, got sqlite:///x.db, whose"):
        refuse_tables_of_others("sqlite:///x.db", {"experiments", "alembic_version"}, "studies", "--storage")
