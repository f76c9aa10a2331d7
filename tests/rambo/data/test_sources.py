"""Which reader a source has, and digits."""

from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from own_images import load, refusal
from sklearn.datasets import load_digits

from rambo.config import Config
from rambo.errors import InvalidInput
from rambo.fields import absolute_source, override

GREY = np.arange(4 * 5 * 6, dtype=np.uint8).reshape(4, 5, 6)
LABELS = np.array([0, 1, 0, 1])


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


@pytest.mark.parametrize("kind", ["npz", "images"])
@pytest.mark.parametrize("path", ["~no-such-user/x", "a\0b", "\ud800", "x" * 300])
def test_a_path_that_cannot_be_is_one_sentence(kind: str, path: str) -> None:
    for source in (f"{kind}:{path}", f"{kind}:/tmp/{path}/y" if "~" not in path else f"{kind}:{path}/y"):
        assert refusal(source).count("\n") == 0
        with suppress(InvalidInput):
            override(Config(), {"data.source": absolute_source(source)})


@pytest.mark.parametrize("kind", ["npz", "images"])
def test_no_path_is_not_the_folder_one_works_in(kind: str) -> None:
    assert absolute_source(f"{kind}:") == f"{kind}:"
