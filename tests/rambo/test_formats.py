import csv
import io
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rambo.errors import InvalidInput
from rambo.formats import (
    LARGEST,
    csv_bytes,
    first_line,
    interval,
    json_bytes,
    last_line,
    number,
    path_of,
    points,
    shortened,
    whole,
)

cells = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\x00"), max_size=8)


@settings(max_examples=25)
@given(st.lists(st.lists(cells, min_size=2, max_size=4), max_size=5))
def test_whatever_is_in_a_cell_reads_back(rows):
    assert list(csv.reader(io.StringIO(csv_bytes(rows).decode(), newline=""))) == rows


@settings(max_examples=25)
@given(st.dictionaries(st.text(max_size=5), st.floats(allow_nan=False) | st.text(max_size=5) | st.none()))
def test_json_reads_back_and_ends_in_a_line_of_its_own(content):
    assert json.loads(json_bytes(content)) == content
    assert json_bytes(content).endswith(b"}\n")


@given(st.floats(-1, 1))
def test_points_are_hundredths_with_a_sign_where_they_are_not_zero(difference):
    text = points(difference)
    assert float(text.replace("−", "-")) == pytest.approx(100 * difference, abs=0.005001)
    assert "-" not in text
    assert (text[0] in "+−") == (text != "0.00")


def test_points_and_intervals_as_tables_show_them():
    assert [points(value) for value in (0.0042, -0.0142, -0.00001, 0.00004, -1.0)] == [
        *("+0.42", "−1.42", "0.00", "0.00", "−100.00")
    ]
    assert interval(-0.008, 0.006) == "−0.80 to 0.60"
    assert interval(0.001, 0.02) == "0.10 to 2.00"
    assert interval(-0.02, -0.00001) == "−2.00 to 0.00"


@pytest.mark.parametrize(
    ("error", "first", "last"),
    [
        (OSError("no space left\nat all"), "no space left", "at all"),
        (RuntimeError("\n  ray::look()\n  No module named 'rambo'  \n\n"), "ray::look()", "No module named 'rambo'"),
        (MemoryError(), "MemoryError", "MemoryError"),
        (ValueError(" \n "), "ValueError", "ValueError"),
        (KeyError("k"), "'k'", "'k'"),
    ],
)
def test_an_error_is_told_in_one_line_that_is_never_empty(error, first, last):
    assert (first_line(error), last_line(error)) == (first, last)


@pytest.mark.parametrize(
    "given", ["²", "٣", "½", "", " ", "0x10", "1e3", "one", None, [1], {}, True, 1.5, 10**30, "9" * 5000]
)
def test_what_is_no_whole_number_is_none(given):
    assert whole(given) is None


@pytest.mark.parametrize("given", [float("inf"), float("nan"), "nan", "²", "1,5", None, [1], False, "x" * 400])
def test_what_is_no_number_is_none(given):
    assert whole(given) is None
    assert number(given) is None or given == float("inf")


@settings(max_examples=25)
@given(st.integers(-LARGEST, LARGEST))
def test_whole_numbers_are_themselves_as_text_too(value):
    assert whole(value) == whole(str(value)) == value
    assert number(str(value)) == float(value)


def test_what_was_given_is_shown_however_long_it_is():
    assert shortened(10**5000) == "a number of thousands of digits"
    assert len(shortened("9" * 400)) == 61


@pytest.mark.parametrize("text", ["~no-such-user/x", "a\0b", "\ud800"])
def test_what_is_no_path_is_one_sentence(text):
    with pytest.raises(
        InvalidInput, match=r"^data.source must be a path, got .*; write out one from / on\.$"
    ) as refusal:
        path_of(text, "data.source")
    assert str(refusal.value).isprintable()
    assert path_of("/a b", "data.source") == Path("/a b")


def test_a_user_without_a_home_folder_is_told_to_write_paths_out(monkeypatch):
    monkeypatch.delenv("HOME")
    monkeypatch.setattr("os.getuid", lambda: 4_000_000_000)  # nobody's, as in containers
    with pytest.raises(InvalidInput, match="must be a path, got ~/x"):
        path_of("~/x", "data.source")
