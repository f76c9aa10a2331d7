"""Accuracies that are noise of the seed and of the cell, and effects by name."""

from collections.abc import Mapping

from rambo.randomness import numpy_generator


def noise(*names: str | int) -> float:
    """Noise of a trial, the same at each call."""
    return float(numpy_generator(0, *names).normal())


def noisy(cell, seed):
    """0.9 plus what the seed does to all cells plus what it does to this one."""
    return 0.9 + 0.02 * noise("seed", seed) + 0.005 * noise(cell.name, seed)


def by_name(effects) -> Mapping:
    return {effect.name: effect for effect in effects}
