"""What every classifier f is: images to features to logits."""

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn


class Network(nn.Module):
    """A classifier f: images to features to logits."""

    dropout: ClassVar[tuple[tuple[tuple[int, ...], float], ...]] = ()
    """Shape (without the batch) and probability of each dropout mask that `features` takes."""
    layout: ClassVar[torch.memory_format] = torch.channels_last
    """How images lie in memory; channels_last is 1.1 times faster on one core, and lets tensor cores work without
    transposing."""
    least_batch = 1
    """Images that a step needs; where fewer are left over, they join the step before."""
    head: nn.Linear

    def features(self, images: Tensor, masks: Sequence[Tensor] = ()) -> Tensor:
        """Penultimate activations (n, d) of images (n, C, H, W)."""
        raise AssertionError("every classifier defines its features")

    def staged(self, images: Tensor, masks: Sequence[Tensor] = ()) -> tuple[tuple[Tensor, ...], Tensor]:
        """Activations of the stages on the way, (n, c, h, w) or (n, c) each, and the penultimate ones (n, d)."""
        raise AssertionError("every classifier of ours defines its stages")

    def forward(self, images: Tensor, masks: Sequence[Tensor] = ()) -> Tensor:
        """Logits (n, classes)."""
        logits: Tensor = self.head(self.features(images, masks))
        return logits
