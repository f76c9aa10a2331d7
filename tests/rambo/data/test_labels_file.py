"""CSV files of labels as people write them, and what cannot be read as one."""

import unicodedata
from pathlib import Path

import pytest

from rambo.data.labels_file import classes_of, listed, named_of, read_labels
from rambo.errors import InvalidInput


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize(
    "content",
    [
        "file,label\na b.png,cat\nc.png,dog\n",
        'file;label\r\n"a b.png";cat\r\nc.png;dog\r\n',
        "﻿label,file\ncat,a b.png\ndog,c.png\n",
        'File , Label\n"a b.png","cat"\nc.png, dog\n',
        "rank\tfile\tlabel\tmargin\n1\ta b.png\tcat\t.1\n2\tc.png\tdog\t.2\n3\tlater.png\t\t.3\n",
    ],
)
def test_separators_quotes_marks_and_other_columns_make_no_difference(tmp_path, content):
    assert read_labels([write(tmp_path / "labels.csv", content)]) == {"a b.png": "cat", "c.png": "dog"}


def test_several_files_are_read_as_one_and_may_repeat_themselves(tmp_path):
    first = write(tmp_path / "first.csv", "file,label\na.png,cat\n")
    second = write(tmp_path / "second.csv", "file,label\na.png,cat\nb.png,dog\n")
    assert read_labels([first, second]) == {"a.png": "cat", "b.png": "dog"}


def test_a_whole_number_with_a_point_is_the_label_without_it_where_others_are_written_so(tmp_path):
    first = write(tmp_path / "first.csv", "file,label\na.png,5\nb.png,10\n")
    second = write(tmp_path / "second.csv", "file,label\na.png,5.0\nc.png,7.0\nd.png,\n")
    assert read_labels([first, second]) == {"a.png": "5", "b.png": "10", "c.png": "7"}
    assert read_labels([second]) == {"a.png": "5.0", "c.png": "7.0"}, "nothing is changed where all are alike"


def test_one_number_in_two_spellings_is_refused(tmp_path):
    path = write(tmp_path / "labels.csv", "file,label\na.png,08\nb.png,8\nc.png,9\n")
    with pytest.raises(InvalidInput, match="Each class must be written in one way, got 08 and 8; write one of them"):
        read_labels([path])


def test_files_with_two_labels_are_named_with_both(tmp_path):
    path = write(tmp_path / "labels.csv", "file,label\na.png,cat\na.png,dog\nb.png,cat\n")
    with pytest.raises(InvalidInput, match=r"must have one label, got several for a\.png \(cat and dog\); correct"):
        read_labels([path])


def test_one_file_that_is_written_in_two_ways_has_one_label(tmp_path):
    with pytest.raises(InvalidInput, match=r"must have one label, got several for a\.png \(cat and dog\)"):
        named_of(["a.png"], {"a.png": "cat", "./a.png": "dog"}, tmp_path)


def test_names_that_look_alike_are_told_apart_and_odd_ones_are_found(tmp_path):
    composed, apart = (unicodedata.normalize(form, "Ü.png") for form in ("NFC", "NFD"))
    files = [composed, apart, " lead.png", "a\\b.png", "caf\udce9.png"]
    given = {composed: "1", apart: "2", " lead.png": "3", "a\\b.png": "4", "caf\\udce9.png": "5"}
    assert named_of(files, given, tmp_path) == dict(zip(files, "12345", strict=True))


def test_rows_of_separators_alone_and_empty_lines_are_passed_over(tmp_path):
    path = write(tmp_path / "labels.csv", "\n\nfile;label;a,b,c,d\n\na.png;cat;\n;;\n")
    assert read_labels([path]) == {"a.png": "cat"}


def test_a_quotation_mark_that_is_never_closed_is_one_sentence(tmp_path):
    path = write(tmp_path / "labels.csv", 'file,label\n"a.png,cat\n' + "b.png,dog\n" * 20_000)
    with pytest.raises(InvalidInput, match="look for a quotation mark that is never closed"):
        read_labels([path])


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("file,class\na.png,cat\n", r"must have the columns file and label, got \['file', 'class'\]; name them"),
        ("", r"must have the columns file and label, got \[\]"),
        ("file,label\n,cat\n", r"line 2, must name a file, got none"),
        (b"file,label\n\xe9.png,cat\n", r"must be a CSV file that can be read, got .* \(it is not in UTF-8\)"),
    ],
)
def test_what_is_no_such_table_is_one_sentence(tmp_path, content, sentence):
    with pytest.raises(InvalidInput, match=sentence):
        read_labels([write(tmp_path / "labels.csv", content)])


def test_a_file_that_is_not_there_is_one_sentence(tmp_path):
    with pytest.raises(InvalidInput, match="No such file"):
        read_labels([tmp_path / "none.csv"])


def test_names_are_found_however_they_are_written(tmp_path):
    files = ["Zürich/a.PNG", "b.png", "c.png", "d/e.png"]
    given = {
        unicodedata.normalize("NFD", "Zürich/a.PNG"): "1",
        "./b.png": "2",
        str(tmp_path.absolute() / "c.png"): "3",
        "d\\e.png": "4",
    }
    assert named_of(files, given, tmp_path) == dict(zip(files, "1234", strict=True))
    begun = {f"{tmp_path.name}/{file}": label for file, label in zip(files, "1234", strict=True)}
    assert named_of(files, begun, tmp_path) == dict(zip(files, "1234", strict=True))


def test_a_name_that_begins_like_the_folder_is_the_file_of_that_name_where_there_is_one(tmp_path):
    files = ["a.png", f"{tmp_path.name}/a.png"]
    assert named_of(files, {f"{tmp_path.name}/a.png": "1"}, tmp_path) == {files[1]: "1"}


def test_labels_of_files_that_are_not_there_are_listed_up_to_ten(tmp_path):
    given = {f"{number:02}.png": "cat" for number in range(12)}
    with pytest.raises(
        InvalidInput, match=r"got 00\.png, .*09\.png and 2 more, which are not there; names are relative"
    ):
        named_of(["a.png"], given, tmp_path)


def test_classes_stand_in_the_order_of_their_numbers_and_letters():
    assert classes_of({"a": "10", "b": "9", "c": "10"}) == ("9", "10")
    assert classes_of({"a": "dog", "b": "7", "c": "cat"}) == ("7", "cat", "dog")


def test_lists_are_cut_at_ten():
    assert listed([str(n) for n in range(11)]).endswith("9 and 1 more")
    assert listed(["a"], lambda name: name * 2) == "a (aa)"
