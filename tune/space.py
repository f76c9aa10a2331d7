"""Where to search, as data: a dimension for each field, written as on the command line.

    FIELD=2,5,10          one of these values; a single one fixes the field
    FIELD=uniform:0,.9    a number between two bounds
    FIELD=log:1e-4,1e-2   the same, uniform in its logarithm; `log:1e-3,1e2,0` has 0 as a choice of its own
    FIELD=int:2,20        a whole number between two bounds
    none                  no default dimensions

A plan keeps its space in the same words.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Literal

from rambo.config import Config
from rambo.errors import InvalidInput, require
from rambo.fields import Value, changes_measured, coerce, fields, flatten, in_force, override

Objective = Literal["accuracy", "budget"]
OBJECTIVES: tuple[tuple[Objective, ...], ...] = (("accuracy",), ("accuracy", "budget"))
"""What can be asked for: validation accuracy as large as possible, or that and B as small as possible."""

LAMBDA_OT, SWITCH_OT = "utility_model.lambda_ot", "switches.ot"
LAMBDAS = ("utility_model.lambda_1", "utility_model.lambda_2", "utility_model.lambda_3")
BATCH, BUDGET = "acquisition.batch_size", "acquisition.budget"

BUDGET_MULTIPLES = (0.5, 1.0, 2.0)
"""Budgets that a search for accuracy and budget tries by default, in units of the base's B."""

MOST_KNOWN = 24
"""Combinations of listed values that are measured before the first trial, at most."""

CHECKED_WHOLES = 1000
"""Values of a whole range that are tried against the configuration before anything runs, at most."""


@dataclass(frozen=True)
class Choice:
    """One of some values."""

    values: tuple[Value, ...]

    @property
    def text(self) -> str:
        """As on the command line."""
        return ",".join(str(value) for value in self.values)

    def __contains__(self, value: object) -> bool:
        return value in self.values

    def samples(self) -> tuple[Value, ...]:
        """Values that stand for the dimension where it is checked."""
        return self.values


@dataclass(frozen=True)
class Range:
    """A number between two bounds, both included."""

    low: float
    high: float
    log: bool = False
    zero: bool = False
    """Whether 0 is a choice of its own beside the range."""

    @property
    def text(self) -> str:
        """As on the command line."""
        return f"{'log' if self.log else 'uniform'}:{self.low:g},{self.high:g}{',0' if self.zero else ''}"

    def __contains__(self, value: object) -> bool:
        return isinstance(value, int | float) and (self.low <= value <= self.high or (self.zero and value == 0))

    def samples(self) -> tuple[Value, ...]:
        """Both bounds, and 0 where it is a choice."""
        return (self.high, self.low, 0.0) if self.zero else (self.high, self.low)


@dataclass(frozen=True)
class Whole:
    """A whole number between two bounds, both included."""

    low: int
    high: int

    @property
    def text(self) -> str:
        """As on the command line."""
        return f"int:{self.low},{self.high}"

    def __contains__(self, value: object) -> bool:
        return isinstance(value, int) and self.low <= value <= self.high

    def samples(self) -> tuple[Value, ...]:
        """All of a short range, the bounds of a long one."""
        short = self.high - self.low < CHECKED_WHOLES
        return tuple(range(self.low, self.high + 1)) if short else (self.low, self.high)


Dimension = Choice | Range | Whole


@dataclass(frozen=True)
class Space:
    """A dimension for each field that is searched over."""

    dimensions: Mapping[str, Dimension]

    def described(self) -> dict[str, str]:
        """Every field with its dimension as text; `from_described` undone."""
        return {name: dimension.text for name, dimension in self.dimensions.items()}

    @classmethod
    def from_described(cls, texts: Mapping[str, str]) -> "Space":
        """The space whose dimensions are written so."""
        return cls(dict(parse_dimension(f"{name}={text}") for name, text in texts.items()))

    def ordered(self) -> Iterator[tuple[str, Dimension]]:
        """The dimensions, those first that decide whether others are read."""
        first = [name for name in (SWITCH_OT, LAMBDA_OT) if name in self.dimensions]
        for name in [*first, *(name for name in self.dimensions if name not in first)]:
            yield name, self.dimensions[name]

    def is_idle(self, name: str, chosen: Mapping[str, Value], base: Config) -> bool:
        """Whether an experiment with `chosen` never reads `name`: λ without the OT component."""
        values = {**flatten(base), **chosen, **dict(base.facts.fixed)}
        without_ot = not values[SWITCH_OT]
        return (name == LAMBDA_OT and without_ot) or (name in LAMBDAS and (without_ot or values[LAMBDA_OT] == 0))

    def holds(self, config: Config) -> bool:
        """Whether `config` lies in the space."""
        values = flatten(config)
        return all(values[name] in dimension for name, dimension in self.dimensions.items())

    def corners(self) -> Iterator[dict[str, Value]]:
        """Settings that between them meet every value of short dimensions and the bounds of long ones.

        One dimension at a time, and b with B.
        """
        typical = {name: dimension.samples()[0] for name, dimension in self.dimensions.items()}
        for name, dimension in self.dimensions.items():
            for value in dimension.samples():
                yield {**typical, name: value}
        together = [name for name in (BUDGET, BATCH) if name in self.dimensions]
        for values in product(*(self.dimensions[name].samples() for name in together)):
            yield {**typical, **dict(zip(together, values, strict=True))}

    def known(self) -> Iterator[dict[str, Value]]:
        """Settings that between them measure all that can be known before the first trial.

        Every combination of the listed values that change what is measured, with OT on where it can be; one field at a
        time where there are too many of them. Fields with bounds stay as in the base.
        """
        typical = {name: one.values[0] for name, one in self.dimensions.items() if isinstance(one, Choice)}
        for name in (SWITCH_OT, LAMBDA_OT):
            if name in self.dimensions:
                typical[name] = max(self.dimensions[name].samples())
        listed = {name: self.dimensions[name].samples() for name in typical if changes_measured(name)}
        if math.prod(map(len, listed.values())) <= MOST_KNOWN:
            for values in product(*listed.values()):
                yield {**typical, **dict(zip(listed, values, strict=True))}
        else:
            yield from ({**typical, name: value} for name, values in listed.items() for value in values)

    def unknown(self) -> list[str]:
        """Fields that change what is measured and whose values, or combinations, `known` leaves to the trials."""
        names = [name for name in self.dimensions if changes_measured(name)]
        bounded = [name for name in names if not isinstance(self.dimensions[name], Choice)]
        listed = [name for name in names if name not in bounded and len(self.dimensions[name].samples()) > 1]
        many = math.prod(len(self.dimensions[name].samples()) for name in listed) > MOST_KNOWN
        return [*bounded, *(listed if many else [])]

    def check(self, base: Config) -> None:
        """Raise `InvalidInput` where a value cannot be."""
        require(
            bool(self.dimensions),
            "--space must name at least one field to search over, got none; give --space FIELD=VALUES.",
        )
        for changes in self.corners():
            try:
                override(base, changes)
            except InvalidInput as error:
                listed = ", ".join(f"{name}={value}" for name, value in changes.items() if name in (BATCH, BUDGET))
                where = f"{listed}: {error}" if listed and "acquisition" in str(error) else str(error)
                raise InvalidInput(f"--space must hold only values that can be, got {where}") from None


def parse_space(texts: Iterable[str], default: Space) -> Space:
    """`default` with the dimensions of `texts` in place of its own or beside them; `none` leaves the defaults out."""
    listed = list(texts)
    dimensions = {} if "none" in listed else dict(default.dimensions)
    for text in listed:
        if text != "none":
            name, dimension = parse_dimension(text)
            dimensions[name] = dimension
    return Space(dimensions)


def parse_dimension(text: str) -> tuple[str, Dimension]:
    """A field and its dimension.

    >>> parse_dimension("acquisition.candidate_batches=2,5,10")
    ('acquisition.candidate_batches', Choice(values=(2, 5, 10)))
    >>> parse_dimension("utility_model.lambda_ot=log:1e-3,1e2,0")[1].zero
    True
    """
    name, separator, values = text.partition("=")
    require(bool(separator and values), f"--space must be FIELD=VALUES, log:, uniform: or int: bounds, got {text!r}.")
    require(name != "seed", "--space must leave the seed alone, got seed; every trial runs all of --seeds.")
    require(name in fields(), f"--space must name a field that --help lists, got {name!r}.")
    kind, separator, bounds = values.partition(":")
    if separator and kind in ("log", "uniform"):
        return name, _range(name, kind == "log", bounds.split(","))
    if separator and kind == "int":
        low, high = _bounds(name, bounds.split(","))
        _check_kind(name, "int", values)
        return name, Whole(int(coerce(name, low)), int(coerce(name, high)))
    parts = [coerce(name, part) for part in values.split(",")]
    require(len(set(parts)) == len(parts), f"--space {name} must list different values, got {values}.")
    return name, Choice(tuple(parts))


def _range(name: str, log: bool, parts: Sequence[str]) -> Range:
    zero = len(parts) == 3 and parts[2] == "0"
    low, high = (float(coerce(name, bound)) for bound in _bounds(name, parts[:2] if zero else parts))
    _check_kind(name, "float", ",".join(parts))
    require(
        not log or low > 0,
        f"--space {name} must have a lower bound above 0 for its logarithm, got {low:g}; write log:LOW,HIGH,0 to have "
        "0 as a choice.",
    )
    return Range(low, high, log=log, zero=zero)


def _bounds(name: str, parts: Sequence[str]) -> tuple[str, str]:
    require(len(parts) == 2, f"--space {name} must have a lower and an upper bound, got {','.join(parts) or 'none'}.")
    low, high = (float(coerce(name, part)) for part in parts)
    require(
        math.isfinite(high - low),
        f"--space {name} must have bounds that a number can be drawn between, got {low:g} and {high:g}.",
    )
    require(low < high, f"--space {name} must have a lower bound below the upper, got {low:g} and {high:g}.")
    return parts[0], parts[1]


def _check_kind(name: str, kind: str, values: str) -> None:
    hint = fields()[name].choices
    require(kind in hint.split("|"), f"--space {name} must list values, since it takes {hint}, got bounds {values}.")


def default_space(base: Config, num_classes: int, num_available: int, objectives: Sequence[str]) -> Space:
    """λ_OT with 0 apart, λ1 to λ3, and every b that Algorithm 1 can be run with; with the budget sought, B as well.

    `num_available`: images in the pool. A base without û, or without OT, has fewer dimensions.
    """
    base, dimensions = in_force(base), dict[str, Dimension]()
    if base.needs_utility_model and base.switches.ot:
        dimensions[LAMBDA_OT] = Range(1e-3, 1e2, log=True, zero=True)
        dimensions |= dict.fromkeys(LAMBDAS, Range(1e-2, 1e1, log=True))
    budgets = [base.acquisition.budget]
    if "budget" in objectives:
        multiples = [factor * base.acquisition.budget for factor in BUDGET_MULTIPLES]
        budgets = [int(b) for b in multiples if b == int(b) <= num_available and _can_be(base, int(b), None, 0)]
        dimensions[BUDGET] = Choice(tuple(budgets))
    if base.needs_batches:
        sizes = range(1, min(budgets) // 2 + 1)
        fit = [size for size in sizes if all(_can_be(base, budget, size, num_classes) for budget in budgets)]
        dimensions[BATCH] = Choice(tuple(fit or [base.acquisition.batch_size]))
    return Space(dimensions)


def _can_be(base: Config, budget: int, size: int | None, num_classes: int) -> bool:
    """Whether b divides B into at least two batches, τ1 lies in 1..8 and k1 ≥ 2C."""
    changes = {BUDGET: budget, BATCH: base.acquisition.batch_size if size is None else size}
    try:
        config = override(base, changes)
    except InvalidInput:
        return False
    return not config.needs_utility_model or config.num_start_labels >= 2 * num_classes
