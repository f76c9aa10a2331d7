"""A study small enough for a laptop: the same comparison with fewer labels, smaller batches and cheaper networks.

It is for trying out what will run at full size on a cluster. What it shows of methods is what so few labels show, which
need not be what many do; so its studies have names of their own.
"""

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ablations.factors import LABELS, Factor, Grid, level_text, make_grid
from rambo.errors import require
from rambo.fields import Value, flatten, override

SCALES = ("full", "small")

SMALL_LABELS = 100
"""Seed labels of a study that is small already."""

COUNTS = ("data.num_seed_labels", "acquisition.budget", "acquisition.batch_size")
"""Divided alike, so that B, b and k keep their proportions."""

AT_MOST: dict[str, int] = {
    "data.num_test": 300,
    "offline.num_pairs": 50,
    "pretraining.num_pairs": 20,
    "evaluation.num_held_out_pairs": 30,
    "evaluation.num_ceiling_pairs": 10,
    "evaluation.repeats": 3,
}

CHEAPER: dict[str, dict[Value, Value]] = {
    "classifier.name": {"resnet18": "lenet5"},
    "utility_model.extractor": {"resnet18": "conv"},
}
"""ResNet-18 takes minutes a training on a core, and its ImageNet weights are a download."""


@dataclass(frozen=True)
class Scaled:
    """A grid at another scale."""

    grid: Grid
    changed: Mapping[str, tuple[tuple[Value, ...], tuple[Value, ...]]]
    """Of each field that is another: its values before and now."""

    def sentence(self) -> str:
        """What was changed, for people."""
        if not self.changed:
            return f"It is small already: k = {self.grid.base.data.num_seed_labels}."
        told = (
            f"{LABELS.get(name, name)} {_listed(then)} -> {_listed(now)}" for name, (then, now) in self.changed.items()
        )
        return f"At small scale: {'; '.join(told)}."


def named(name: str, scale: str) -> str:
    """What a study or sweep called `name` is called at `scale`: results of two scales never meet in one table."""
    return name if scale == "full" else f"{name}-{scale}"


def scaled(grid: Grid, scale: str) -> Scaled:
    """`grid` at `scale`; levels that become equal are one, and a factor of one level is a field.

    Small: k, B and b by 2.5, or by 25 above 500 seed labels, so that the paper's chains begin with two labels a class;
    validation images by 5; other counts as `AT_MOST` says, ResNet-18 becomes LeNet-5, seed sets are stratified. Seeds,
    strategies and û's settings stay. Raises `InvalidInput` for another scale.
    """
    require(scale in SCALES, f"--scale must be one of {', '.join(SCALES)}, got {scale}.")
    if scale == "full" or grid.base.data.num_seed_labels <= SMALL_LABELS:
        return Scaled(grid, {})
    smaller = _smaller(2.5 if grid.base.data.num_seed_labels <= 500 else 25)
    before = flatten(grid.base)
    base = {name: smaller(name, value) for name, value in before.items()}
    levels = {one.name: tuple(dict.fromkeys(smaller(one.name, level) for level in one.levels)) for one in grid.factors}
    base |= {name: values[0] for name, values in levels.items() if len(values) == 1}
    changed: dict[str, tuple[tuple[Value, ...], tuple[Value, ...]]]
    changed = {name: ((before[name],), (value,)) for name, value in base.items() if before[name] != value}
    changed |= {one.name: (one.levels, levels[one.name]) for one in grid.factors if one.levels != levels[one.name]}
    controls = tuple(dict.fromkeys(cell.control for cell in grid.controls if cell.control is not None))
    found = make_grid(
        override(grid.base, {name: base[name] for name in changed}),
        [Factor(name, values) for name, values in levels.items() if len(values) > 1],
        controls=controls,
        seeds=grid.seeds,
        design=grid.design,
    )
    return Scaled(found, changed)


def add_scale_flag(parser: argparse._ActionsContainer) -> None:
    """--scale, for whatever runs studies."""
    text = "small: k, B and b by 2.5 (by 25 above k = 500) and fewer pairs, to try on two cores; names end in -small"
    parser.add_argument("--scale", choices=SCALES, default="full", help=f"{text} (default %(default)s)")


def _smaller(divisor: float) -> Callable[[str, Value], Value]:
    """A field's value at small scale."""

    def smaller(name: str, value: Value) -> Value:
        if name in COUNTS:
            return _divided(value, divisor)
        if name == "data.num_validation":
            return _divided(value, 5)
        if name == "data.stratified":
            return True
        if name in AT_MOST and isinstance(value, int):
            return min(value, AT_MOST[name])
        return CHEAPER.get(name, {}).get(value, value)

    return smaller


def _divided(value: Value, divisor: float) -> Value:
    return max(1, round(value / divisor)) if isinstance(value, int | float) else value


def _listed(values: tuple[Value, ...]) -> str:
    return ", ".join(map(level_text, values))
