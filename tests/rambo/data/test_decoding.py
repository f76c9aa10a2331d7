"""A picture as every viewer shows it, in 8 bits, opaque; and which files are pictures."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from own_images import load, refusal, save_image
from PIL import Image, ImageOps

from rambo.data.decoding import DEEP, OPAQUE, SEVERAL, TURNED, Decoded, decode, form_of, suffixes
from rambo.errors import InvalidInput

NOISE = np.random.default_rng(0).integers(0, 256, size=(5, 6, 4), dtype=np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes of colour images, 6 pixels wide and 5 high."""
    root = tmp_path / "My Pets"
    for value, name in enumerate(["dog/b.png", "dog/a.PNG", "cat/z.bmp", "cat/q.webp", "cat/r.jpeg"]):
        save_image(root / name, value=value * 40)
    return root


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


def test_image_size_resizes_bilinearly(folder: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, size=(9, 7, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "dog/b.png")

    images = load(f"images:{folder}", image_size=4).images

    expected = Image.fromarray(pixels).resize((4, 4), Image.Resampling.BILINEAR)
    assert images.shape == (5, 3, 4, 4)
    assert np.array_equal(images[4], np.asarray(expected).transpose(2, 0, 1))


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


@pytest.mark.parametrize(("suffix", "channels"), [("gif", 1), ("pcx", 1), ("png", 3)])
def test_a_grey_palette_is_grey_but_for_formats_where_it_has_always_been_colour(
    tmp_path: Path, suffix: str, channels: int
) -> None:
    image = Image.fromarray(NOISE[..., 0]).convert("P")
    image.save(tmp_path / f"a.{suffix}")

    assert np.array_equal(decoded(tmp_path / f"a.{suffix}").pixels, np.stack([NOISE[..., 0]] * channels))


def decoded(path: Path) -> Decoded:
    return decode(path, form_of(path, any_size=False))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["png", "tif", "webp"])
def test_a_picture_is_turned_as_exif_says(tmp_path: Path, suffix: str, orientation: int) -> None:
    path, exif = tmp_path / f"a.{suffix}", Image.Exif()
    exif[0x0112] = orientation
    image = Image.fromarray(np.ascontiguousarray(NOISE[..., :3]))
    image.save(path, **({"tiffinfo": {0x0112: orientation}} if suffix == "tif" else {"exif": exif}))
    shown = np.asarray(ImageOps.exif_transpose(Image.open(path)))

    found = decoded(path)

    assert np.array_equal(found.pixels, shown.transpose(2, 0, 1))
    assert (found.pixels.shape == (3, 6, 5)) == (orientation > 4)
    assert list(found.changes) == ([TURNED] if orientation > 1 else [])


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_a_damaged_exif_block_turns_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(NOISE[..., 0]).save(path, exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff")

    assert np.array_equal(decoded(path).pixels[0], NOISE[..., 0])


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_is_put_on_white(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "a.png"
    image = Image.fromarray(NOISE).convert(mode)
    image.save(path)
    clear = np.asarray(image).astype(float)
    share = clear[..., -1:] / 255

    found = decoded(path)

    expected = np.broadcast_to(clear[..., :-1] * share + 255 * (1 - share), (5, 6, 3))
    assert np.abs(found.pixels.transpose(1, 2, 0) - expected).max() <= 1
    assert list(found.changes) == [OPAQUE] if mode == "RGBA" else OPAQUE in found.changes


def test_what_is_opaque_is_taken_as_it_is(tmp_path: Path) -> None:
    opaque = NOISE.copy()
    opaque[..., 3] = 255
    Image.fromarray(opaque).save(tmp_path / "a.png")

    found = decoded(tmp_path / "a.png")

    assert np.array_equal(found.pixels, opaque[..., :3].transpose(2, 0, 1))
    assert list(found.changes) == []


def test_a_colour_that_stands_for_transparency_is_white(tmp_path: Path) -> None:
    palette = Image.new("P", (6, 5), 1)
    palette.putpalette([10, 20, 30, 40, 50, 60])
    palette.save(tmp_path / "p.png", transparency=b"\x00\x80")
    Image.new("L", (6, 5), 7).save(tmp_path / "l.png", transparency=7)
    Image.new("RGB", (6, 5), (1, 2, 3)).save(tmp_path / "rgb.png", transparency=(1, 2, 3))
    Image.fromarray(np.full((5, 6), 700, np.uint16)).save(tmp_path / "i.png", transparency=700)

    assert np.abs(decoded(tmp_path / "p.png").pixels[:, 0, 0].astype(int) - [147, 152, 157]).max() <= 1
    for name, channels in (("l", 1), ("rgb", 3), ("i", 1)):
        found = decoded(tmp_path / f"{name}.png")
        assert found.pixels.shape == (channels, 5, 6)
        assert found.pixels.min() == 255, name
        assert OPAQUE in found.changes


@pytest.mark.parametrize("suffix", ["png", "tif", "pgm"])
def test_of_sixteen_bits_the_upper_eight_are_taken(tmp_path: Path, suffix: str) -> None:
    deep = np.random.default_rng(0).integers(0, 2**16, (5, 6), dtype=np.uint16)
    Image.fromarray(deep).save(tmp_path / f"a.{suffix}")

    found = decoded(tmp_path / f"a.{suffix}")

    assert np.array_equal(found.pixels[0], deep >> 8)
    assert list(found.changes) == [DEEP]


def test_colour_of_sixteen_bits_is_said_too(tmp_path: Path) -> None:
    """Pillow writes none, so this one is put together by hand."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header, rows = (
        struct.pack(">IIBBBBB", 1, 1, 16, 2, 0, 0, 0),
        zlib.compress(b"\0" + struct.pack(">3H", 4660, 43981, 255)),
    )
    whole = chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + whole)

    found = decoded(tmp_path / "a.png")

    assert found.pixels.ravel().tolist() == [4660 >> 8, 43981 >> 8, 0]
    assert list(found.changes) == [DEEP]


@pytest.mark.parametrize("suffix", ["gif", "png", "webp", "tif"])
def test_of_several_frames_the_first_is_taken(tmp_path: Path, suffix: str) -> None:
    frames = [Image.new("RGB", (6, 5), colour) for colour in ((255, 0, 0), (0, 255, 0), (0, 0, 255))]
    options = {"lossless": True} if suffix == "webp" else {}
    frames[0].save(tmp_path / f"a.{suffix}", save_all=True, append_images=frames[1:], **options)

    found = decoded(tmp_path / f"a.{suffix}")

    assert found.pixels[:, 2, 2].tolist() == [255, 0, 0]
    assert list(found.changes) == [SEVERAL]


@pytest.mark.parametrize(("mode", "value"), [("F", 0.5), ("I", 2**17), ("I", -1)])
def test_what_has_no_rule_is_refused_with_its_name(tmp_path: Path, mode: str, value: float) -> None:
    path = tmp_path / "a.tif"
    Image.new(mode, (6, 5), value).save(path)

    with pytest.raises(InvalidInput, match=r"a\.tif must have 8 or 16 bits a channel, got .*; convert it") as caught:
        decoded(path)
    Image.open(path).convert("L").save(tmp_path / "a.png")
    assert decoded(tmp_path / "a.png").pixels.shape == (1, 5, 6), str(caught.value)


def test_every_suffix_that_pillow_reads_by_itself_is_taken() -> None:
    assert {
        ".png",
        ".jpg",
        ".jfif",
        ".tif",
        ".tiff",
        ".gif",
        ".ppm",
        ".pgm",
        ".webp",
        ".bmp",
        ".jp2",
        ".tga",
    } <= suffixes()
    assert not {".txt", ".pdf", ".mpg", ".h5", ".eps", ".svg", ""} & suffixes()
