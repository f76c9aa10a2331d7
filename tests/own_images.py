"""Images of one's own as tests make and read them."""

import re
from pathlib import Path

import pytest
from PIL import Image

from rambo.data.dataset import Dataset, load_dataset
from rambo.errors import InvalidInput


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


def save_image(path: Path, *, mode: str = "RGB", size: tuple[int, int] = (6, 5), value: int = 100) -> Path:
    """A picture of one value in every channel."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, value if mode in ("L", "P", "I", "I;16", "1", "F") else (value,) * len(mode)).save(path)
    return path
