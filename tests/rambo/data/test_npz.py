"""npz:PATH: the forms of images and labels, by which rule they are taken, and advice that is followed."""

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps
from own_images import load, refusal

from rambo.data.npz import read_npz

GREY = np.arange(4 * 5 * 6, dtype=np.uint8).reshape(4, 5, 6)
LABELS = np.array([0, 1, 0, 1])


@pytest.fixture
def npz(tmp_path: Path) -> Callable[..., str]:
    """Writes arrays to an .npz file and returns it as a source; y defaults to two classes."""

    def save(**arrays: Any) -> str:
        path = tmp_path / "Own Images (1).npz"
        np.savez(path, **arrays)
        return f"npz:{path}"

    return save


COLOUR = np.arange(4 * 5 * 6 * 3, dtype=np.uint16).astype(np.uint8).reshape(4, 5, 6, 3)


@pytest.mark.parametrize(
    ("x", "expected"),
    [
        (GREY, GREY[:, None]),
        (GREY[:, :, :, None], GREY[:, None]),
        (GREY[:, None], GREY[:, None]),
        (COLOUR, COLOUR.transpose(0, 3, 1, 2)),
        (COLOUR.transpose(0, 3, 1, 2), COLOUR.transpose(0, 3, 1, 2)),
        (COLOUR[:, :3], COLOUR[:, :3].transpose(0, 3, 1, 2)),  # (4, 3, 6, 3) fits both ways: channels last
        (GREY[:, :3, :3], GREY[:, None, :3, :3]),  # three axes are never channels
    ],
    ids=["grey", "grey last", "grey first", "colour last", "colour first", "both", "3x3 grey"],
)
def test_layouts_of_x(npz: Callable[..., str], x: np.ndarray, expected: np.ndarray) -> None:
    images = load(npz(x=x, y=LABELS)).images

    assert np.array_equal(images, expected)
    assert images.flags.c_contiguous


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.int64, np.uint16, np.uint64, ">i4"])
def test_integers_are_taken_as_they_are(npz: Callable[..., str], dtype: str) -> None:
    assert np.array_equal(load(npz(x=GREY.astype(dtype), y=LABELS)).images[:, 0], GREY)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ">f8"])
def test_floats_come_back_as_the_bytes_they_were_made_from(npz: Callable[..., str], dtype: str) -> None:
    every_value = np.arange(256, dtype=np.uint8).reshape(4, 8, 8)

    loaded = load(npz(x=(every_value / 255).astype(dtype), y=LABELS))

    assert np.array_equal(loaded.images[:, 0], every_value)


@given(
    images=nps.arrays(np.uint8, nps.array_shapes(min_dims=4, max_dims=4, max_side=6).map(lambda s: (4, s[1], s[2], 3))),
    as_float=st.booleans(),
)
@settings(max_examples=25, deadline=None)
def test_any_colour_images_survive(
    tmp_path_factory: pytest.TempPathFactory, images: np.ndarray, as_float: bool
) -> None:
    path = tmp_path_factory.mktemp("npz") / "any.npz"
    np.savez_compressed(path, x=images / 255 if as_float else images, y=LABELS)

    assert np.array_equal(read_npz(path).images, images.transpose(0, 3, 1, 2))


def test_class_names_are_read_or_numbered(npz: Callable[..., str]) -> None:
    assert load(npz(x=GREY, y=LABELS)).class_names == ("0", "1")
    assert load(npz(x=GREY, y=LABELS, classes=np.array(["cat", "dog"]))).class_names == ("cat", "dog")


def test_a_name_from_a_file_is_safe_as_a_folder(npz: Callable[..., str]) -> None:
    dataset = load(npz(x=GREY, y=LABELS.astype(np.uint8)))

    assert dataset.name == "own-images-1"
    assert dataset.slug == f"own-images-1-{dataset.fingerprint[:12]}"
    assert dataset.labels.dtype == np.int64


NAN = np.where(GREY == 7, np.nan, GREY / 255)
INFINITE = np.where(GREY == 7, np.inf, GREY / 255)


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"images": GREY, "labels": LABELS}, "must hold the arrays x (images) and y (labels), got images, labels;"),
        ({"x": GREY}, "must hold the arrays x (images) and y (labels), got x;"),
        ({}, "must hold the arrays x (images) and y (labels), got none;"),
        ({"x": GREY[0, 0], "y": LABELS}, "with 1 or 3 channels and at least one image, got shape (6,);"),
        ({"x": GREY[:, :, :, None, None], "y": LABELS}, "got shape (4, 5, 6, 1, 1);"),
        ({"x": GREY.reshape(4, 5, 3, 2), "y": LABELS}, "got shape (4, 5, 3, 2);"),
        ({"x": GREY[:0], "y": LABELS[:0]}, "at least one image, got shape (0, 5, 6);"),
        ({"x": GREY, "y": np.zeros((4, 5, 6))}, "must be one label an image, shape (N,), or one-hot, (N, C), got"),
        ({"x": GREY, "y": np.array(1)}, "must be as long as x, 4, got shape ();"),
        ({"x": GREY, "y": LABELS[:3]}, "must be as long as x, 4, got shape (3,);"),
        ({"x": GREY.astype(str), "y": LABELS}, "must hold integers or floats, got dtype <U3;"),
        ({"x": GREY.astype(complex), "y": LABELS}, "must hold integers or floats, got dtype complex128;"),
        ({"x": GREY.astype(int) + 200, "y": LABELS}, "must lie in 0..255, got 200..319;"),
        ({"x": GREY.astype(int) - 1, "y": LABELS}, "must lie in 0..255, got -1..118;"),
        ({"x": NAN, "y": LABELS}, "must be finite, got NaN or infinity;"),
        ({"x": INFINITE, "y": LABELS}, "must be finite, got NaN or infinity;"),
        ({"x": GREY.astype(float), "y": LABELS}, "must lie in [0, 1] where it holds floats, got 0..119;"),
        ({"x": GREY / 255 - 0.5, "y": LABELS}, "must lie in [0, 1] where it holds floats, got -0.5..-0.0333333;"),
        ({"x": GREY, "y": LABELS.astype(complex)}, "whole floats, truth values or text, got dtype complex128;"),
        ({"x": GREY, "y": LABELS + 0.5}, "must hold integers, whole floats, truth values or text, got [0.5];"),
        ({"x": GREY, "y": np.array([0, 1, np.nan, 1])}, "got NaN or infinity; remove such images."),
        ({"x": GREY, "y": LABELS * 1e300}, "truth values or text, got [1e+300];"),
        ({"x": GREY, "y": LABELS - 1}, "must have two classes beside -1, which stands for no label, got 1;"),
        ({"x": GREY, "y": LABELS - 2}, "must not be negative but for -1, an image without a label, got -2;"),
        ({"x": GREY, "y": LABELS * 2}, "got labels up to 2 but no image of class 1;"),
        ({"x": GREY, "y": LABELS + 1}, "got labels up to 2 but no image of class 0;"),
        ({"x": GREY, "y": LABELS * 10**15}, "got labels up to 1000000000000000 but no image of class 1;"),
        ({"x": GREY, "y": LABELS * 0}, "must have at least 2 classes, got 1;"),
        ({"x": GREY, "y": LABELS, "classes": np.array(["cat"])}, "must be 2 strings, one for each class in y, got"),
        ({"x": GREY, "y": LABELS, "classes": np.array([1, 2])}, "got dtype int64 and shape (2,);"),
        ({"x": GREY.astype(object), "y": LABELS}, "must hold plain, undamaged arrays, got Object arrays cannot be"),
    ],
)
def test_an_npz_that_cannot_be_used_is_one_sentence(
    npz: Callable[..., str], arrays: dict[str, np.ndarray], said: str
) -> None:
    assert said in refusal(npz(**arrays))


def test_a_missing_npz_is_one_sentence(tmp_path: Path) -> None:
    assert refusal(f"npz:{tmp_path}/none.npz") == (
        f"data.source must name a file that exists, got npz:{tmp_path}/none.npz; check the path."
    )
    assert "must name a file that exists" in refusal(f"npz:{tmp_path}")


@pytest.mark.parametrize("content", [b"", b"no archive at all", b"\x93NUMPY\x01\x00"])
def test_a_file_of_another_format_is_one_sentence(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "own.npz").write_bytes(content)

    assert "must be an .npz archive, got another format;" in refusal(f"npz:{tmp_path}/own.npz")


def test_an_archive_with_a_damaged_array_is_one_sentence(npz: Callable[..., str]) -> None:
    path = Path(npz(x=GREY, y=LABELS).removeprefix("npz:"))
    content = bytearray(path.read_bytes())
    middle = content.index(GREY.tobytes())
    content[middle : middle + 20] = b"\xff" * 20
    path.write_bytes(content)

    assert "must hold plain, undamaged arrays, got Bad CRC-32" in refusal(f"npz:{path}")


def test_an_archive_of_other_files_is_one_sentence(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "own.npz", "w") as archive:
        archive.writestr("x", "text")
        archive.writestr("y", "text")

    assert "got shape ();" in refusal(f"npz:{tmp_path}/own.npz")


# --- labels and images by a rule, and advice that is followed --------------------------------------------------------


def notes(source: str, caplog: pytest.LogCaptureFixture) -> list[str]:
    """What the log has of a source that is read."""
    caplog.clear()
    with caplog.at_level("INFO", logger="rambo"):
        load(source)
    return [record.getMessage().removeprefix(source) for record in caplog.records]


@pytest.mark.parametrize(
    ("y", "rule"),
    [
        (LABELS[:, None], None),
        (LABELS[:, None, None].astype(">i2"), None),
        (LABELS.astype(np.float32), "floats of y, all whole, became integers"),
        (LABELS.astype(bool), "truth values of y became 0 and 1"),
        (np.eye(2)[LABELS], "one-hot rows of y became the places of their ones"),
        (np.eye(2, dtype=bool)[LABELS], "one-hot rows of y became the places of their ones"),
        (np.eye(2, dtype=int)[LABELS], "one-hot rows of y became the places of their ones"),
    ],
)
def test_labels_of_another_form_are_the_same_data(
    npz: Callable[..., str], caplog: pytest.LogCaptureFixture, y: np.ndarray, rule: str | None
) -> None:
    expected = load(npz(x=GREY, y=LABELS))

    found = load(npz(x=GREY, y=y))

    assert found.fingerprint == expected.fingerprint
    assert found.class_names == ("0", "1")
    assert notes(npz(x=GREY, y=y), caplog)[1:] == ([f", changed: {rule}."] if rule else [])


@pytest.mark.parametrize("kind", ["U", "S"])
def test_text_is_numbered_in_the_order_of_its_names_or_of_classes(
    npz: Callable[..., str], caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    y = np.array(["dog", "cat", "dog", "bird"]).astype(kind)
    alphabetical = load(npz(x=GREY, y=y))
    told = load(npz(x=GREY, y=y, classes=np.array(["dog", "cat", "bird"]).astype(kind)))

    assert (alphabetical.class_names, alphabetical.labels.tolist()) == (("bird", "cat", "dog"), [2, 1, 2, 0])
    assert (told.class_names, told.labels.tolist()) == (("dog", "cat", "bird"), [0, 1, 0, 2])
    assert ", changed: text of y became classes in alphabetical order." in notes(npz(x=GREY, y=y), caplog)


def test_an_image_whose_text_is_empty_has_no_label(npz: Callable[..., str], caplog: pytest.LogCaptureFixture) -> None:
    y = np.array(["dog", "", "cat", "dog"])
    read = load(npz(x=GREY, y=y))
    assert (read.class_names, read.labels.tolist()) == (("cat", "dog"), [1, -1, 0, 1])
    assert "alphabetical order; 1 image has no label, y is empty." in notes(npz(x=GREY, y=y), caplog)[1]
    ordered = load(npz(x=GREY, y=y, classes=np.array(["dog", "cat"])))
    assert ordered.labels.tolist() == [0, -1, 1, 0]
    said = refusal(npz(x=GREY, y=np.array(["dog", "", "", "dog"])))
    assert "must have two classes beside empty text, which stands for no label, got 1" in said


def test_names_that_are_not_those_of_the_labels_are_refused(npz: Callable[..., str]) -> None:
    y = np.array(["dog", "cat", "dog", "cat"])
    said = refusal(npz(x=GREY, y=y, classes=np.array(["dog", "Cat"])))
    assert "must be the 2 values of y, got ('dog', 'Cat') where y has ('cat', 'dog'); correct or remove it." in said


def test_names_of_no_utf_8_are_kept(npz: Callable[..., str]) -> None:
    names = np.array([b"caf\xe9", b"th\xc3\xa9"])
    assert load(npz(x=GREY, y=LABELS, classes=names)).class_names == ("caf\udce9", "thé")


def test_what_is_taken_changed_and_passed_over_is_a_line_each(
    npz: Callable[..., str], caplog: pytest.LogCaptureFixture
) -> None:
    x = (np.arange(4 * 3 * 5 * 3) % 2 > 0).reshape(4, 3, 5, 3)
    assert notes(npz(x=x, y=LABELS, x_test=GREY, extra=LABELS), caplog) == [
        ": 4 images of 2 classes, 5x3 pixels, RGB.",
        ", changed: x of shape (4, 3, 5, 3) is taken to have its channels last; truth values of x are 0 and 255.",
        ", passed over: x_test, extra.",
    ]
    assert np.array_equal(load(npz(x=x, y=LABELS)).images, 255 * x.transpose(0, 3, 1, 2))


ADVISED = {
    "numpy.unique(y, return_inverse=True)[1] does it": lambda y: np.unique(y, return_inverse=True)[1],
    "save numpy.argmax(y, axis=1)": lambda y: np.argmax(y, axis=1),
    "as y[:, y.any(axis=0)] does": lambda y: y[:, y.any(axis=0)],
    "save y.astype(str)": lambda y: y.astype(str),
    "reshape it": lambda y: y.reshape(4, 2),
}


@pytest.mark.parametrize(
    "y",
    [
        LABELS - 1,
        LABELS + 1,
        LABELS * 7,
        LABELS + 0.5,
        LABELS.astype(complex),
        np.array(["2026-01-01", "2026-01-02"], dtype="datetime64[D]")[LABELS],
        np.array([[0.9, 0.1], [0.2, 0.8], [0.7, 0.3], [0.5, 0.6]]),
        np.eye(3)[LABELS],
        np.eye(3)[LABELS + 1],
        np.array(["cat", "dog"], dtype=object)[LABELS],
        LABELS.astype(object),
        np.eye(2)[LABELS][:, None],
    ],
    ids=str,
)
def test_advice_on_labels_is_right_when_followed(npz: Callable[..., str], y: np.ndarray) -> None:
    said = refusal(npz(x=GREY, y=y))
    [advised] = [follow for words, follow in ADVISED.items() if words in said]

    assert load(npz(x=GREY, y=advised(y))).labels.tolist() == LABELS.tolist()


@pytest.mark.parametrize(
    ("x", "words", "follow"),
    [
        (np.stack([GREY] * 4, axis=-1), "keep three, as x[..., :3] does", lambda x: x[..., :3]),
        (
            np.array([*GREY, None], dtype=object)[:4],
            "as numpy.stack(list(x)).astype(numpy.uint8) does",
            lambda x: np.stack(list(x)).astype(np.uint8),
        ),
    ],
    ids=["RGBA", "objects"],
)
def test_advice_on_images_is_right_when_followed(
    npz: Callable[..., str], x: np.ndarray, words: str, follow: Callable[[np.ndarray], np.ndarray]
) -> None:
    assert words in refusal(npz(x=x, y=LABELS))
    assert np.array_equal(load(npz(x=follow(x), y=LABELS)).images[:, 0], GREY)


@pytest.mark.parametrize(
    ("x", "y", "words", "follow"),
    [
        (GREY, LABELS[None], "save y.reshape(-1).", lambda x, y: (x, y.reshape(-1))),
        (
            np.moveaxis(GREY, 0, 2),
            LABELS,
            "save numpy.moveaxis(x, 2, 0) where",
            lambda x, y: (np.moveaxis(x, 2, 0), y),
        ),
        (GREY, LABELS[:3], "drop what has no partner.", lambda x, y: (x[:3], y)),
    ],
    ids=["row", "last axis", "short"],
)
def test_advice_on_lengths_is_right_when_followed(
    npz: Callable[..., str],
    x: np.ndarray,
    y: np.ndarray,
    words: str,
    follow: Callable[..., tuple[np.ndarray, np.ndarray]],
) -> None:
    assert words in refusal(npz(x=x, y=y))
    images, labels = follow(x, y)
    dataset = load(npz(x=images, y=labels))
    assert dataset.labels.tolist() == LABELS[: len(labels)].tolist()
    assert np.array_equal(dataset.images[:, 0], GREY[: len(labels)])


@pytest.mark.parametrize(
    ("x", "words", "follow"),
    [
        (GREY.astype(float), "save x.astype(numpy.uint8).", lambda x: x.astype(np.uint8)),
        (
            GREY / GREY.max() * 2 - 1,
            "save (x - x.min()) / (x.max() - x.min()).",
            lambda x: (x - x.min()) / (x.max() - x.min()),
        ),
    ],
    ids=["bytes", "around zero"],
)
def test_advice_on_scales_keeps_the_images(
    npz: Callable[..., str], x: np.ndarray, words: str, follow: Callable[[np.ndarray], np.ndarray]
) -> None:
    assert words in refusal(npz(x=x, y=LABELS))
    images = load(npz(x=follow(x), y=LABELS)).images[:, 0].astype(float)
    assert np.allclose(images / images.max(), GREY / GREY.max(), atol=1 / 255)
