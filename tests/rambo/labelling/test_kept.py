"""What a home keeps of a selection."""

import numpy as np
import pytest

from rambo.data.dataset import Dataset
from rambo.errors import InvalidInput
from rambo.home import Home
from rambo.labelling.kept import Kept, Round, check_same_pool, folder_of, fresh, labels_digest, read_kept, write_kept

KEPT = Kept(
    "own", "digest", ("a.png",), (Round("one", 10, "id/0", ("b.png", "c.png")), Round("two", 12, "id/0", ("d",)))
)


def dataset(labels, value=0):
    images = np.full((len(labels), 1, 8, 8), value, dtype=np.uint8)
    return Dataset("own", images, np.array(labels), ("x", "y"), np.empty(0, dtype=np.int64))


def test_it_is_read_as_it_was_written(tmp_path):
    home = Home(tmp_path / "home")
    assert read_kept(home, "own") is None
    write_kept(home, KEPT)
    assert read_kept(home, "own") == KEPT
    assert (tmp_path / "home" / folder_of("own") / "selection.json").exists()


def test_a_damaged_file_is_one_sentence(tmp_path):
    home = Home(tmp_path / "home")
    home.write(f"{folder_of('own')}/selection.json", b'{"rounds": []}')
    with pytest.raises(InvalidInput, match="move that folder away"):
        read_kept(home, "own")


def test_a_round_is_found_by_its_labels_and_must_have_been_asked_alike():
    assert KEPT.answered("one", "id/0") == 1
    assert KEPT.answered("two", "id/0") == 2
    assert KEPT.answered("three", "other/0") is None
    with pytest.raises(InvalidInput, match=r"got other settings than those by which it has asked for 2 images"):
        KEPT.answered("one", "other/0")


def test_labels_count_by_who_has_which():
    assert labels_digest(dataset([0, 1, -1])) == labels_digest(dataset([0, 1, -1], value=3))
    assert len({labels_digest(dataset(labels)) for labels in ([0, 1, -1], [1, 0, -1], [0, 1, 1])}) == 3


def test_other_images_are_another_pool():
    kept = fresh("own", dataset([0, 1, -1]), ["0"])
    check_same_pool(kept, dataset([0, 1, 1]))
    with pytest.raises(
        InvalidInput, match=r"--name own must go on with the images that it began with, got .* that are others"
    ):
        check_same_pool(kept, dataset([0, 1, -1], value=3))
