"""images:DIR: what is taken, changed and passed over, in which order, and what is said where that cannot be."""

import os
from pathlib import Path

import numpy as np
import pytest
from own_images import load, refusal, save_image
from PIL import Image


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
    assert f"{folder}/bird must hold images of a format that Pillow reads, got none;" in refusal(f"images:{folder}")


def test_one_class_is_not_enough(tmp_path: Path) -> None:
    save_image(tmp_path / "cat/a.png")

    assert "must have at least 2 classes, got 1;" in refusal(f"images:{tmp_path}")


def notes(source: str, caplog: pytest.LogCaptureFixture, **options: int) -> list[str]:
    """What the log has of a source that is read."""
    with caplog.at_level("INFO", logger="rambo"):
        load(source, **options)
    return [record.getMessage() for record in caplog.records]


def test_what_was_read_before_has_the_fingerprint_that_it_had(tmp_path: Path) -> None:
    for label in ("b", "a", "10", "2"):
        for seed, mode in enumerate(("L", "RGB", "RGBA", "LA", "1")):
            values = np.random.default_rng(seed + 7 * len(label)).integers(0, 256, (5, 6, 4), dtype=np.uint8)
            values[..., 3] = 255
            path = tmp_path / "d" / label / f"{mode}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(values).convert(mode).save(path)
        (tmp_path / "d" / label / "notes.txt").write_text("passed over")
    kept = {
        0: "94eb2cc42d32a935852f8ff0d336f5c712e1f0c07236cba6ef823ccef170561d",
        4: "4a6d8956a740483ef94145bf994b27b3c575ff7d31582c25b7f60f71146958f9",
    }
    for size, fingerprint in kept.items():
        assert load(f"images:{tmp_path}/d", image_size=size).fingerprint == fingerprint


def test_every_suffix_that_pillow_reads_is_read_in_folders_of_a_class_too(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    names = ("a.png", "b.TIF", "c.gif", "d.jfif", "e.ppm", "f.tga", "deep/g.png", "deep/er/h.pcx")
    for label in ("cat", "dog"):
        for name in names:
            path = save_image(tmp_path / label / name.replace(".jfif", ".jpg"), mode="L")
            path.rename(tmp_path / label / name)

    found = load(f"images:{tmp_path}")

    assert found.files == tuple(f"{label}/{name}" for label in ("cat", "dog") for name in sorted(names))
    assert found.labels.tolist() == [0] * 8 + [1] * 8
    assert notes(f"images:{tmp_path}", caplog)[0] == (
        f"images:{tmp_path}: 16 images of 2 classes, 6x5 pixels, grey (.gif 2, .jfif 2, .pcx 2, .png 4, .ppm 2, "
        ".tga 2, .tif 2), 4 of them in folders of a class."
    )


def test_what_is_passed_over_is_counted_and_named(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    (folder / "dog/annexed.png").symlink_to("/not/mounted/x.png")
    (folder / "bird").symlink_to("/not/mounted/bird")
    (folder / "dog/notes.txt").write_text("no image")
    (folder / "dog/clip.mpg").write_text("no image")
    (folder / "dog/.hidden.png").write_text("no image")
    (folder / "readme.png").write_text("beside the classes")
    (folder / "dog/all").symlink_to(folder)
    (folder / "dog/cats").symlink_to(folder / "cat")

    taken, passed = notes(f"images:{folder}", caplog)

    assert taken.startswith(
        f"images:{folder}: 5 images of 2 classes, 6x5 pixels, RGB (.bmp 1, .jpeg 1, .png 2, .webp 1)"
    )
    assert passed == (
        f"images:{folder}, passed over: 2 links to nothing (bird, dog/annexed.png); 1 hidden (dog/.hidden.png); "
        "2 links to folders that are read anyway (dog/all, dog/cats); 1 beside the folders of the classes "
        "(readme.png); 2 of no image format (dog/clip.mpg, dog/notes.txt)."
    )


def test_links_are_followed_once(folder: Path, tmp_path: Path) -> None:
    elsewhere = save_image(tmp_path / "disk/pups/p.png").parent
    (elsewhere / "again").symlink_to(elsewhere)
    (folder / "dog/pups").symlink_to(elsewhere)
    (folder / "dog/same").symlink_to(elsewhere)
    (folder / "dog/one.png").symlink_to(elsewhere / "p.png")

    files = load(f"images:{folder}").files

    assert files[3:] == ("dog/a.PNG", "dog/b.png", "dog/one.png", "dog/pups/p.png")


def test_links_to_a_class_make_no_second_one(folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    save_image(tmp_path / "disk/x.png")
    save_image(folder / ".store/bird/y.png")
    for name, target in (("eel", tmp_path / "disk"), ("fish", tmp_path / "disk"), ("a dog", folder / "dog")):
        (folder / name).symlink_to(target)
    (folder / "bird").symlink_to(folder / ".store/bird")

    with caplog.at_level("INFO", "rambo"):
        dataset = load(f"images:{folder}")

    assert dataset.class_names == ("bird", "cat", "dog", "eel")
    assert "2 links to folders that are read anyway (a dog, fish)" in caplog.text


def test_what_is_changed_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    save_image(tmp_path / "cat/a.png", mode="L", size=(6, 6))
    save_image(tmp_path / "cat/b.png", mode="RGBA", size=(6, 6))
    save_image(tmp_path / "dog/c.png", mode="I;16", size=(6, 6), value=4000)
    save_image(tmp_path / "dog/d.png", mode="RGB", size=(7, 5))

    _, changed, dark = notes(f"images:{tmp_path}", caplog, image_size=6)

    assert changed == (
        f"images:{tmp_path}, changed: 1 put on white where they are transparent (cat/b.png); 1 of 16 bits a channel, "
        "of which the upper 8 are taken (dog/c.png); 1 resized, whatever their shape (dog/d.png); 2 made RGB from "
        "grey or another colour space (cat/a.png, dog/c.png)."
    )
    assert dark == "The brightest of those of 16 bits is 15 of 255: scale them if they use fewer bits."


def test_names_of_any_bytes_are_kept_with_the_images_and_shown_on_one_line(tmp_path: Path) -> None:
    for label in (b"caf\xe9", b"a\nb"):
        os.makedirs(os.path.join(os.fsencode(tmp_path), label))
        with open(os.path.join(os.fsencode(tmp_path), label, b"\xfc $1_$.png"), "wb") as file:
            Image.new("L", (5, 5), 9).save(file, "PNG")

    found = load(f"images:{tmp_path}")

    assert found.class_names == ("a\nb", "caf\udce9")
    assert found.files == ("a\nb/\udcfc $1_$.png", "caf\udce9/\udcfc $1_$.png")
    (tmp_path / found.files[1]).write_bytes(b"")
    assert f"{tmp_path}/caf\\udce9/\\udcfc $1_$.png must be a readable image, got " in refusal(f"images:{tmp_path}")


def test_folders_of_splits_are_no_classes_and_one_of_them_can_be_read(tmp_path: Path) -> None:
    for name in ("train/cat/a.png", "train/dog/b.png", "test/cat/c.png", "test/dog/d.png"):
        save_image(tmp_path / name)

    said = refusal(f"images:{tmp_path}")

    assert "must hold one folder of images per class, got test, train, which hold folders of their own;" in said
    advised = said.removesuffix(".").split("such as ")[1]
    assert load(advised).files == ("cat/c.png", "dog/d.png")
