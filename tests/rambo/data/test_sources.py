"""Own and shipped images: digits, npz:PATH, images:DIR, and what is said where they cannot be used."""

import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps
from PIL import Image
from sklearn.datasets import load_digits

from rambo.data.dataset import Dataset, load_dataset
from rambo.data.sources import read_npz
from rambo.errors import InvalidInput

GREY = np.arange(4 * 5 * 6, dtype=np.uint8).reshape(4, 5, 6)
LABELS = np.array([0, 1, 0, 1])


def load(source: str, **options: int) -> Dataset:
    return load_dataset(source, Path("unused"), **options)


def refusal(source: str, **options: int) -> str:
    """The one sentence with which `source` is refused."""
    with pytest.raises(InvalidInput) as caught:
        load(source, **options)
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert re.search(r" must .*, got .*; .*\.$", sentence)
    return sentence


# --- digits and unknown sources --------------------------------------------------------------------------------------


def test_digits_are_scikit_learns_on_the_scale_of_bytes() -> None:
    dataset, published = load("digits"), load_digits()

    assert dataset.images.shape == (1797, 1, 8, 8)
    assert (dataset.images.min(), dataset.images.max()) == (0, 255)
    assert np.array_equal(np.rint(dataset.images[:, 0] / (255 / 16)), published.images)
    assert np.array_equal(dataset.labels, published.target)
    assert dataset.class_names == tuple("0123456789")
    assert dataset.test_candidates.tolist() == list(range(1797))


@pytest.mark.parametrize("source", ["imagenet", "", "MNIST", "zip:x", "digits:", "npz"])
def test_an_unknown_source_lists_the_known_ones(source: str) -> None:
    assert refusal(source) == (
        "data.source must be one of digits, mnist, fashion_mnist, cifar10, svhn, npz:PATH, images:DIR, "
        f"got {source!r}; pick one of these."
    )


@pytest.mark.parametrize("kind", ["npz", "images"])
def test_a_path_must_follow_the_colon(kind: str) -> None:
    assert refusal(f"{kind}:") == f"data.source must name a path after {kind}:, got '{kind}:'; add it."


def test_image_size_must_not_be_negative() -> None:
    assert "data.image_size must be at least 0, got -1;" in refusal("digits", image_size=-1)


def test_a_path_may_start_at_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    np.savez(tmp_path / "own.npz", x=GREY, y=LABELS)

    assert np.array_equal(load("npz:~/own.npz").labels, LABELS)


# --- npz:PATH --------------------------------------------------------------------------------------------------------


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
        ({"x": GREY[0], "y": LABELS}, "with 1 or 3 channels and at least one image, got shape (5, 6);"),
        ({"x": GREY[:, :, :, None, None], "y": LABELS}, "got shape (4, 5, 6, 1, 1);"),
        ({"x": GREY.reshape(4, 5, 3, 2), "y": LABELS}, "got shape (4, 5, 3, 2);"),
        ({"x": GREY[:0], "y": LABELS[:0]}, "at least one image, got shape (0, 5, 6);"),
        ({"x": GREY, "y": LABELS[:, None]}, "must be one label an image, shape (N,), got shape (4, 1);"),
        ({"x": GREY, "y": LABELS[:3]}, "must be as long as x, 4, got 3;"),
        ({"x": GREY > 9, "y": LABELS}, "must hold integers or floats, got dtype bool;"),
        ({"x": GREY.astype(str), "y": LABELS}, "must hold integers or floats, got dtype <U3;"),
        ({"x": GREY.astype(complex), "y": LABELS}, "must hold integers or floats, got dtype complex128;"),
        ({"x": GREY.astype(int) + 200, "y": LABELS}, "must lie in 0..255, got 200..319;"),
        ({"x": GREY.astype(int) - 1, "y": LABELS}, "must lie in 0..255, got -1..118;"),
        ({"x": NAN, "y": LABELS}, "must be finite, got NaN or infinity;"),
        ({"x": INFINITE, "y": LABELS}, "must be finite, got NaN or infinity;"),
        ({"x": GREY.astype(float), "y": LABELS}, "must lie in [0, 1] where it holds floats, got 0..119;"),
        ({"x": GREY / 255 - 0.5, "y": LABELS}, "must lie in [0, 1] where it holds floats, got -0.5..-0.0333333;"),
        ({"x": GREY, "y": LABELS.astype(float)}, "must hold integers, got dtype float64;"),
        ({"x": GREY, "y": LABELS.astype(str)}, "must hold integers, got dtype <U21;"),
        ({"x": GREY, "y": LABELS - 1}, "must not be negative, got -1;"),
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


# --- images:DIR ------------------------------------------------------------------------------------------------------


def save_image(path: Path, *, mode: str = "RGB", size: tuple[int, int] = (6, 5), value: int = 100) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, value if mode in ("L", "P", "I", "I;16", "1") else (value,) * len(mode)).save(path)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes of colour images, 6 pixels wide and 5 high."""
    root = tmp_path / "My Pets"
    for value, name in enumerate(["dog/b.png", "dog/a.PNG", "cat/z.bmp", "cat/q.webp", "cat/r.jpeg"]):
        save_image(root / name, value=value * 40)
    return root


def test_folders_are_classes_and_files_are_read_in_order(folder: Path) -> None:
    (folder / "dog/notes.txt").write_text("not an image")
    (folder / "dog/.hidden.png").write_text("not an image")
    (folder / ".cache").mkdir()
    (folder / "readme.png").write_text("beside the classes")

    dataset = load(f"images:{folder}")

    assert dataset.class_names == ("cat", "dog")
    assert dataset.labels.tolist() == [0, 0, 0, 1, 1]
    assert dataset.images.shape == (5, 3, 5, 6)
    assert np.abs(dataset.images[:, 0, 0, 0].astype(int) - [120, 160, 80, 40, 0]).max() <= 2  # webp, jpeg: lossy
    assert dataset.name == "my-pets"


def test_pixels_keep_their_place_and_channel(folder: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, size=(5, 6, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "dog/b.png")

    assert np.array_equal(load(f"images:{folder}").images[4], pixels.transpose(2, 0, 1))


@pytest.mark.parametrize(
    ("modes", "channels"), [(("L", "1"), 1), (("L", "RGB"), 3), (("L", "LA"), 3), (("P", "RGBA"), 3)]
)
def test_grey_only_where_all_images_are(tmp_path: Path, modes: tuple[str, str], channels: int) -> None:
    for mode in modes:
        save_image(tmp_path / mode / "a.png", mode=mode, value=255)

    images = load(f"images:{tmp_path}").images

    assert images.shape == (2, channels, 5, 6)
    assert images.max() == 255


def test_a_transparent_palette_is_read(folder: Path) -> None:
    image = Image.new("P", (6, 5), 1)
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.save(folder / "dog/b.png", transparency=b"\x00\x80")

    assert load(f"images:{folder}").images[4, :, 0, 0].tolist() == [40, 50, 60]


def test_image_size_resizes_bilinearly(folder: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, size=(9, 7, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "dog/b.png")

    images = load(f"images:{folder}", image_size=4).images

    expected = Image.fromarray(pixels).resize((4, 4), Image.Resampling.BILINEAR)
    assert images.shape == (5, 3, 4, 4)
    assert np.array_equal(images[4], np.asarray(expected).transpose(2, 0, 1))


def test_sizes_that_differ_are_named_with_their_files(folder: Path) -> None:
    other = save_image(folder / "dog/b.png", size=(6, 7))

    assert refusal(f"images:{folder}") == (
        f"Images must share one size, got 6x5 in {folder}/cat/q.webp and 6x7 in {other}; "
        "set data.image_size to resize them."
    )


def test_missing_and_empty_folders_are_one_sentence(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "empty").mkdir()
    (folder / "bird").mkdir()

    assert f"must name a folder that exists, got images:{tmp_path}/none;" in refusal(f"images:{tmp_path}/none")
    assert "must name a folder that exists" in refusal(f"images:{folder}/dog/b.png")
    assert "must hold one folder of images per class, got no folder;" in refusal(f"images:{tmp_path}/empty")
    assert f"{folder}/bird must hold images (.bmp .jpeg .jpg .png .webp), got none;" in refusal(f"images:{folder}")


def test_one_class_is_not_enough(tmp_path: Path) -> None:
    save_image(tmp_path / "cat/a.png")

    assert "must have at least 2 classes, got 1;" in refusal(f"images:{tmp_path}")


@pytest.mark.parametrize("kept", [0, 20, -40])
@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "webp"])
def test_an_unreadable_image_is_named(folder: Path, kept: int, suffix: str) -> None:
    path = folder / f"dog/bad.{suffix}"
    noise = np.random.default_rng(0).integers(0, 256, size=(5, 6, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[:kept])

    assert f"{path} must be a readable image, got " in refusal(f"images:{folder}")


def test_an_image_large_enough_to_exhaust_memory_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)

    assert "must be a readable image, got Image size (30 pixels) exceeds limit" in refusal(f"images:{folder}")


def test_images_of_sixteen_bits_are_refused(folder: Path) -> None:
    path = save_image(folder / "dog/deep.png", mode="I;16", value=30000)

    assert f"{path} must have 8 bits a channel, got Pillow mode I;16;" in refusal(f"images:{folder}")
