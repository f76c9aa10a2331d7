"""Embeddings as data: mapped where the file allows it, their moments, their identity, and what is refused."""

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from own_images import load, refusal

from rambo.data import embeddings
from rambo.data.dataset import Dataset, NormalisedImages, load_dataset, normalisation
from rambo.data.embeddings import mapped, moments, to_float32

GENERATOR = np.random.default_rng(0)
ROWS = (GENERATOR.standard_normal((30, 7)) * np.geomspace(1e-3, 1e3, 7) + 5).astype(np.float32)
LABELS = np.arange(30) % 3

Save = Callable[..., Path]


@pytest.fixture
def save(tmp_path: Path) -> Save:
    def write(how: Callable[..., None] = np.savez, **arrays: Any) -> Path:
        path = tmp_path / "made.npz"
        how(path, **{"x": ROWS, "y": LABELS, **arrays})
        return path

    return write


def made(rows: np.ndarray = ROWS, labels: np.ndarray = LABELS) -> Dataset:
    return Dataset("made", rows, labels, ("a", "b", "c"), np.arange(len(rows)))


def is_mapped(array: np.ndarray) -> bool:
    """Whether the numbers lie in a file."""
    while array.base is not None and not isinstance(array, np.memmap):
        array = array.base
    return isinstance(array, np.memmap)


@pytest.mark.parametrize(
    ("how", "kind", "is_mapped_then"),
    [
        (np.savez, "<f4", True),
        (np.savez_compressed, "<f4", False),
        (np.savez, ">f4", False),
        (np.savez, "f2", False),
        (np.savez, "f8", False),
    ],
)
def test_rows_are_as_they_were_saved_and_stay_in_the_file_where_they_can(save, how, kind, is_mapped_then) -> None:
    dataset = load(f"npz:{save(how, x=ROWS.astype(kind))}")

    assert np.array_equal(dataset.images, ROWS.astype(kind).astype(np.float32))
    assert dataset.images.dtype == np.float32
    assert is_mapped(dataset.images) == is_mapped_then
    assert (dataset.input_shape, dataset.has_pictures, dataset.num_classes) == ((7,), False, 3)


def test_columns_first_are_the_same_rows(save) -> None:
    assert np.array_equal(load(f"npz:{save(x=np.asfortranarray(ROWS))}").images, ROWS)


def test_a_mapped_array_is_found_whatever_lies_before_it(tmp_path: Path) -> None:
    path = tmp_path / "made.npz"
    np.savez(path, classes=np.array(["a", "b", "c"]), y=LABELS, x=ROWS)
    with zipfile.ZipFile(path) as archive:
        assert np.array_equal(mapped(archive, path, "x"), ROWS)
        assert mapped(archive, path, "y") is None, "one axis"
        assert mapped(archive, path, "z") is None, "not there"


def test_a_changed_byte_is_noticed_though_the_array_is_not_read(save) -> None:
    path = save()
    content = bytearray(path.read_bytes())
    content[content.index(ROWS.tobytes()) + 100] ^= 1
    path.write_bytes(content)

    assert "must hold plain, undamaged arrays, got Bad CRC-32 for file 'x.npy' in x" in refusal(f"npz:{path}")


@pytest.mark.parametrize("chunk_values", [1, 20, 2**22])
def test_what_is_no_number_is_counted_and_the_first_row_is_named(save, monkeypatch, chunk_values) -> None:
    monkeypatch.setattr(embeddings, "CHUNK_VALUES", chunk_values)
    rows = ROWS.astype(np.float64)
    rows[11, 3], rows[12], rows[29, 0] = np.nan, np.inf, 1e39

    assert "got NaN or infinity in 3 of 30 rows, row 11 first; leave out" in refusal(f"npz:{save(x=rows)}")


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"x": (10 * ROWS).astype(np.uint8)}, "must hold floats where it has two axes, which are embeddings (N, d)"),
        ({"x": ROWS[:0], "y": LABELS[:0]}, "got float32 of shape (0, 7);"),
        ({"x": ROWS[:, :0]}, "got float32 of shape (30, 0);"),
        ({"y": LABELS[:7]}, "y in {path} must be as long as x, 30, got shape (7,); save numpy.moveaxis(x, 1, 0) where"),
    ],
)
def test_what_cannot_be_taken_is_one_sentence(save, arrays, said) -> None:
    path = save(**arrays)
    assert said.format(path=path) in refusal(f"npz:{path}")


def test_embeddings_have_no_size_to_change(save) -> None:
    with pytest.raises(ValueError, match=r"data.image_size must be 0 for embeddings, .* got 8; leave it out"):
        load_dataset(f"npz:{save()}", Path("unused"), image_size=8)


def test_what_was_taken_is_told(save, caplog) -> None:
    caplog.set_level("INFO")
    load(f"npz:{save(x=ROWS.astype(np.float64))}")
    assert "30 embeddings of 3 classes, 7 numbers each, in memory." in caplog.text
    assert "changed: float64 of x became float32." in caplog.text


def test_the_fingerprint_is_of_numbers_labels_and_form(save) -> None:
    first = made().fingerprint
    assert load(f"npz:{save()}").fingerprint == first
    other = ROWS.copy()
    other[3, 3] = np.nextafter(other[3, 3], np.float32(np.inf))
    assert made(other).fingerprint != first
    assert made(labels=LABELS[::-1].copy()).fingerprint != first
    assert made(ROWS.reshape(30, 7)[:, ::-1].copy()).fingerprint != first


@pytest.mark.parametrize("chunk_values", [1, 20, 2**22])
def test_each_number_is_normalised_by_what_is_not_for_testing(monkeypatch, chunk_values) -> None:
    monkeypatch.setattr(embeddings, "CHUNK_VALUES", chunk_values)
    test, rest = np.arange(5), np.arange(5, 30)
    found = normalisation(made(), test)

    np.testing.assert_allclose(found.mean, ROWS[rest].mean(axis=0, dtype=np.float64), rtol=1e-6)
    np.testing.assert_allclose(found.std, ROWS[rest].std(axis=0, dtype=np.float64), rtol=1e-5)
    loaded = NormalisedImages(ROWS, found, torch.device("cpu"))(rest)
    np.testing.assert_allclose(loaded.mean(0), 0, atol=1e-3)
    np.testing.assert_allclose(loaded.std(0, correction=0), 1, rtol=1e-3)


def test_a_number_that_never_varies_stays_nought() -> None:
    rows = ROWS.copy()
    rows[:, 2] = 0.1  # whose sums are no multiples of it
    mean, std = moments(rows, np.arange(30))

    assert (mean[2], std[2]) == (np.float32(0.1), 1)


def test_float32_is_handed_on_as_it_is() -> None:
    assert to_float32(ROWS, "made.npz") is ROWS
