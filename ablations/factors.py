"""What a study compares: factors with levels, the cells they span, and controls; all of it data.

A factor is any field of the configuration. Cells are the full factorial of the levels, or the base with one factor
changed at a time; each runs with every seed. Controls are strategies without û, at each level of the factors that
change anything for them.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import product
from typing import Literal

from rambo.config import Config
from rambo.errors import InvalidInput, require
from rambo.fields import Value, coerce, effective_fields, flatten, override
from rambo.own import Own, named
from rambo.strategies.facts import CONTROLS

SWITCHES = ("switches.bilevel", "switches.ot", "switches.ranknet")
"""The three components under study, in the order of the paper's Table 1."""

Design = Literal["factorial", "one-at-a-time"]

LABELS = {
    "switches.bilevel": "bilevel",
    "switches.ot": "OT",
    "switches.ranknet": "RankNet",
    "acquisition.budget": "B",
    "acquisition.batch_size": "b",
    "acquisition.candidate_batches": "M/b",
    "utility_model.lambda_ot": "λ_OT",
    "utility_model.lambda_1": "λ1",
    "utility_model.lambda_2": "λ2",
    "utility_model.lambda_3": "λ3",
    "data.num_seed_labels": "k",
}
"""Short names in tables; other fields go by the last part of theirs."""

FILES = ("data.labels", "utility_model.weights")
"""Fields that may name a file, beside `data.source`."""

_ANY_POOL = 10**9
"""A pool so large that M is never capped by it: what a field changes does not hang on the data."""


@dataclass(frozen=True)
class Factor:
    """A field of the configuration and the levels it takes."""

    name: str
    """The dotted name of the field."""
    levels: tuple[Value, ...]
    """At least two, all different; switches are (False, True)."""

    def __post_init__(self) -> None:
        require(
            len(set(self.levels)) == len(self.levels) >= 2,
            f"--factor {self.name} must have at least two different levels, got {_listed(self.levels)}.",
        )

    @property
    def label(self) -> str:
        """How tables call it."""
        return label(self.name)

    @property
    def is_switch(self) -> bool:
        """Whether it goes off and on."""
        return set(self.levels) == {False, True} and all(isinstance(level, bool) for level in self.levels)


@dataclass(frozen=True)
class Cell:
    """One configuration of a study, seeds apart."""

    levels: tuple[tuple[str, Value], ...]
    """(field, level) of each factor; a control has only those that change something for it."""
    control: str | None = None
    """The strategy, if this is a control."""
    tuned: tuple[tuple[str, Value], ...] = ()
    """(field, value) that a search has set for this cell beside its levels; not in its name."""
    again: tuple[tuple[tuple[str, Value], ...], ...] = ()
    """The same of its second search, its third, …; each is run in its own right."""
    search: int = 1
    """Which search `tuned` is of."""

    @property
    def name(self) -> str:
        """Unique within a study, for example `bilevel=on OT=off RankNet=on`, `random`, `random B=500`."""
        parts = [f"{label(name)}={level_text(level)}" for name, level in self.levels]
        plain = " ".join(([self.control] if self.control else []) + parts) or "base"
        return plain if self.search == 1 else f"{plain} search={self.search}"

    @property
    def variants(self) -> tuple["Cell", ...]:
        """The cell as each of its searches left it: itself, where there is one or none."""
        others = (Cell(self.levels, self.control, found, search=n) for n, found in enumerate(self.again, start=2))
        return (replace(self, again=()), *others)

    def level(self, factor: str) -> Value | None:
        """The level of `factor`, None where it changes nothing here."""
        return dict(self.levels).get(factor)


@dataclass(frozen=True)
class Grid:
    """All configurations of a study: cells times seeds over one base."""

    base: Config
    factors: tuple[Factor, ...]
    cells: tuple[Cell, ...]
    """Those of the factors first, in the order of their levels, then the controls."""
    seeds: tuple[int, ...]
    design: Design = "factorial"

    def config(self, cell: Cell, seed: int) -> Config:
        """The configuration of one trial; raises `InvalidInput` where levels do not fit together."""
        changes = {**dict(cell.tuned), **dict(cell.levels), "seed": seed}
        if cell.control is not None:
            changes["strategy"] = cell.control
        with _naming(cell):
            return override(self.base, changes)

    def check(self, cell: Cell) -> None:
        """Raise `InvalidInput` where levels do not fit together or a strategy of the user's own cannot be imported."""
        config = self.config(cell, self.seeds[0])
        with _naming(cell):
            config.check_strategy()

    def trials(self) -> Iterator[tuple[Cell, int, Config]]:
        """Every variant with every seed, seed by seed, so that an unfinished study has whole comparisons."""
        found = [(cell, self.config(cell, self.seeds[0])) for cell in self.variants]
        for seed in self.seeds:
            for cell, config in found:
                yield cell, seed, replace(config, seed=seed)

    def tuned(self, found: Mapping[str, Sequence[Mapping[str, Value]]]) -> "Grid":
        """The same grid with the fields that each of a cell's searches has found, by name of the cell."""
        cells = []
        for cell in self.cells:
            first, *others = (tuple(fields.items()) for fields in found.get(cell.name, [{}]))
            cells.append(replace(cell, tuned=first, again=tuple(others)))
        return replace(self, cells=tuple(cells))

    @property
    def strategies(self) -> frozenset[str]:
        """Those of its cells that are no controls, and of the base."""
        return _strategies(self.base, self.factors)

    @property
    def own(self) -> list[Own]:
        """Functions of the user's own that its cells name, and the base."""
        levels = [(factor.name, level) for factor in self.factors for level in factor.levels]
        return named([*flatten(self.base).items(), *levels])

    @property
    def variants(self) -> tuple[Cell, ...]:
        """Every cell as each of its searches left it: what runs with every seed."""
        return tuple(variant for cell in self.cells for variant in cell.variants)

    @property
    def studied(self) -> tuple[Cell, ...]:
        """The cells that are no controls."""
        return tuple(cell for cell in self.cells if cell.control is None)

    @property
    def controls(self) -> tuple[Cell, ...]:
        """The cells of strategies without û."""
        return tuple(cell for cell in self.cells if cell.control is not None)

    @property
    def is_two_level_factorial(self) -> bool:
        """Whether contrasts, interactions and Shapley values are defined: every factor has two levels."""
        return self.design == "factorial" and all(len(factor.levels) == 2 for factor in self.factors)


def make_grid(
    base: Config, factors: Sequence[Factor], *, controls: Sequence[str], seeds: Sequence[int], design: Design
) -> Grid:
    """The cells that `factors` span over `base`, and those of `controls`; raises `InvalidInput` for what cannot be."""
    names = [factor.name for factor in factors]
    require(len(set(names)) == len(names), f"Each --factor must name another field, got {', '.join(names)}.")
    require(len(seeds) > 0, "--seeds must name at least one seed, got none.")
    require("seed" not in names, "--factor must name a field other than seed, got seed; use --seeds.")
    for control in controls:
        require(control in CONTROLS, f"--controls must be among {', '.join(CONTROLS)} or none, got {control}.")
    combinations = _factorial(factors) if design == "factorial" else _one_at_a_time(base, factors)
    cells = [Cell(levels) for levels in combinations]
    for control in controls:
        if control not in _strategies(base, factors):
            cells += _control_cells(base, control, factors, combinations)
    grid = Grid(base, tuple(factors), tuple(cells), tuple(seeds), design)
    for cell in grid.cells:
        grid.check(cell)
    return grid


def parse_factor(text: str) -> Factor:
    """A factor from `FIELD=LEVEL,LEVEL,…`; a bare FIELD is a switch that goes off and on.

    >>> parse_factor("acquisition.candidate_batches=2,5,all").levels
    (2, 5, 'all')
    """
    name, equals, levels = text.partition("=")
    if not equals:
        return Factor(name, (coerce(name, "off"), coerce(name, "on")))
    converted = [coerce(name, level) for level in levels.split(",")]
    if set(converted) == {False, True} and all(isinstance(level, bool) for level in converted):
        converted = [False, True]
    return Factor(name, tuple(converted))


def switches() -> list[Factor]:
    """The default: bilevel, OT and RankNet, each off and on."""
    return [Factor(name, (False, True)) for name in SWITCHES]


def merged(recipe_factors: Sequence[Factor], given: Sequence[Factor]) -> list[Factor]:
    """A recipe's factors, with those of the command line in place of theirs or beside them."""
    named = {factor.name: factor for factor in recipe_factors}
    return list({**named, **{factor.name: factor for factor in given}}.values())


def label(field: str) -> str:
    """A field as tables call it."""
    return LABELS.get(field, field.rpartition(".")[2].replace("_", " "))


def level_text(level: Value) -> str:
    """A level as people write it."""
    return {True: "on", False: "off"}[level] if isinstance(level, bool) else str(level)


def value_text(field: str, value: Value) -> str:
    """The same of any field, a file by its name alone: where it lay is no matter of a study.

    >>> value_text("data.source", "npz:/home/ann/mnist.npz")
    'npz:mnist.npz'
    """
    kind, colon, path = str(value).partition(":")
    if field == "data.source" and colon:
        return f"{kind}:{path.rstrip('/').rpartition('/')[2]}"
    return str(value).rpartition("/")[2] if field in FILES else level_text(value)


def _factorial(factors: Sequence[Factor]) -> list[tuple[tuple[str, Value], ...]]:
    """Every combination; the components of a switch are listed on first, as in the paper's tables."""
    choices = [factor.levels[::-1] if factor.is_switch else factor.levels for factor in factors]
    return [tuple(zip((f.name for f in factors), levels, strict=True)) for levels in product(*choices)]


def _one_at_a_time(base: Config, factors: Sequence[Factor]) -> list[tuple[tuple[str, Value], ...]]:
    """The base, then each factor at each of its other levels."""
    start = {factor.name: flatten(base)[factor.name] for factor in factors}
    found = [start]
    for factor in factors:
        found += [{**start, factor.name: level} for level in factor.levels if level != start[factor.name]]
    return [tuple(levels.items()) for levels in found]


def _control_cells(
    base: Config, control: str, factors: Sequence[Factor], combinations: Sequence[tuple[tuple[str, Value], ...]]
) -> list[Cell]:
    """`control` at each combination of the factors that change its effective configuration."""
    effective = {levels: _effective(base, control, levels) for levels in combinations}
    matter = {factor.name for factor in factors if _matters(factor, effective)}
    restricted = (tuple((n, level) for n, level in levels if n in matter) for levels in combinations)
    return [Cell(levels, control) for levels in dict.fromkeys(restricted)]


def _effective(base: Config, control: str, levels: tuple[tuple[str, Value], ...]) -> dict[str, Value]:
    with _naming(Cell(levels, control)):
        return effective_fields(override(base, {**dict(levels), "strategy": control}), _ANY_POOL)


@contextmanager
def _naming(cell: Cell) -> Iterator[None]:
    """Say of which cell something cannot be."""
    try:
        yield
    except InvalidInput as error:
        raise InvalidInput(f"The cell {cell.name} cannot be: {error}") from None


def _strategies(base: Config, factors: Sequence[Factor]) -> frozenset[str]:
    levels = (level for factor in factors if factor.name == "strategy" for level in factor.levels)
    return frozenset(map(str, levels)) | {base.strategy}


def _matters(factor: Factor, effective: Mapping[tuple[tuple[str, Value], ...], Mapping[str, Value]]) -> bool:
    """Whether two of the combinations that differ in `factor` alone have other effective fields."""
    if factor.name.startswith("data."):
        return True
    first: dict[tuple[tuple[str, Value], ...], Mapping[str, Value]] = {}
    for levels, fields in effective.items():
        rest = tuple((name, level) for name, level in levels if name != factor.name)
        if first.setdefault(rest, fields) != fields:
            return True
    return False


def _listed(levels: Sequence[Value]) -> str:
    return ", ".join(map(level_text, levels)) or "none"
