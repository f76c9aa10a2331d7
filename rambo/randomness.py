"""Randomness by name: every stage draws from a generator of its own, derived from one seed.

Two configurations that share a stage (the same splits, the same offline sets) therefore share its random numbers
too, whatever else differs between them, and no stage can disturb another by drawing more or less.
"""

import hashlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch


def derive(seed: int, *names: str | int) -> int:
    """A 63-bit seed for the stage called `names`, a pure function of its arguments.

    >>> derive(0, "split") == derive(0, "split"), derive(0, "split") == derive(1, "split")
    (True, False)
    """
    text = "\x1f".join(str(part) for part in (seed, *names))
    return int.from_bytes(hashlib.sha256(text.encode(errors="backslashreplace")).digest()[:8], "big") >> 1


def numpy_generator(seed: int, *names: str | int) -> np.random.Generator:
    """A NumPy generator for the stage called `names`."""
    return np.random.Generator(np.random.PCG64(derive(seed, *names)))


def torch_generator(seed: int, *names: str | int) -> "torch.Generator":
    """A CPU torch generator for the stage called `names` (values are moved to a GPU, so devices agree)."""
    import torch

    return torch.Generator().manual_seed(derive(seed, *names))
