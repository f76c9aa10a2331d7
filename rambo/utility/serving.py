"""û for those who have nothing of this project: what it takes and gives, and an entry for data as they are."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from rambo.utility.deep_sets import SetUtilityModel

GIVES = "The larger its score, the better the classifier that is trained on the set."


class FromPixels(nn.Module):
    """û of the pixels of one set, with the normalisation of its data inside."""

    mean: Tensor
    std: Tensor

    def __init__(self, model: SetUtilityModel, mean: list[float], std: list[float]) -> None:
        """`mean` and `std` of each channel's pixels on the scale 0..1."""
        super().__init__()
        self.model = model
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).view(-1, 1, 1))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).view(-1, 1, 1))

    def forward(self, pixels: UInt8[Tensor, "n channels height width"]) -> Float[Tensor, ""]:
        """Score of the one set that consists of these n images."""
        score: Tensor = self.model((pixels.to(torch.float32) / 255 - self.mean) / self.std)
        return score


class FromEmbeddings(nn.Module):
    """û of the embeddings of one set, with the normalisation of its data inside."""

    mean: Tensor
    std: Tensor

    def __init__(self, model: SetUtilityModel, mean: list[float], std: list[float]) -> None:
        """`mean` and `std` of each number."""
        super().__init__()
        self.model = model
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32))

    def forward(self, embeddings: Float[Tensor, "n d"]) -> Float[Tensor, ""]:
        """Score of the one set that these n embeddings are of."""
        score: Tensor = self.model((embeddings - self.mean) / self.std)
        return score


@dataclass(frozen=True)
class Served:
    """A module that scores one set, and what to know of it."""

    module: nn.Module
    dtype: np.dtype[Any]
    """Of what it takes."""
    shape: tuple[int, ...]
    """Of one image or its features."""
    about: str
    metadata: dict[str, Any]

    @classmethod
    def of(cls, model: SetUtilityModel, description: Mapping[str, Any]) -> "Served":
        """`model` as the `description` beside its weights says; older ones do not know how images were normalised."""
        shape, floats = tuple(description["input_shape"]), np.dtype(np.float32)
        known = description.get("inputs", {})
        if len(shape) == 1 and "mean" in known:
            takes = f"the {shape[0]} numbers of each embedding as the source gives them. It normalises them itself"
            return cls._made(FromEmbeddings(model, known["mean"], known["std"]), floats, shape, takes, dict(known))
        if len(shape) == 1:
            takes = f"the {shape[0]} features of each image ({known.get('features', 'of a frozen ResNet-18')})"
            return cls._made(model, floats, shape, takes, {})
        if "mean" not in known:
            takes = "images normalised with the mean and deviation of its data, which this trial has not kept"
            return cls._made(model, floats, shape, takes, {})
        mean, std = known["mean"], known["std"]
        takes = "raw pixels as the source gives them, uint8 from 0 to 255"
        said = (
            f"It normalises them itself: (x / 255 − mean) / deviation, with mean {mean} and deviation {std} by channel"
        )
        return cls._made(FromPixels(model, mean, std), np.dtype(np.uint8), shape, f"{takes}. {said}", dict(known))

    @classmethod
    def _made(
        cls, module: nn.Module, dtype: np.dtype[Any], shape: tuple[int, ...], takes: str, known: dict[str, Any]
    ) -> "Served":
        about = f"It scores one set of n images, n free, and takes {takes}. {GIVES}"
        return cls(module, dtype, shape, about, {"takes": takes, "returns": GIVES, **known})

    def example(self, num_images: int) -> np.ndarray[Any, Any]:
        """Something that it takes."""
        generator, shape = np.random.default_rng(0), (num_images, *self.shape)
        if self.dtype == np.uint8:
            return generator.integers(0, 256, shape, dtype=np.uint8)
        return generator.standard_normal(shape, dtype=np.float32)
