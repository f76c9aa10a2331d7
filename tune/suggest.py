"""From a space to questions that a sampler answers, and back."""

from collections.abc import Sequence
from typing import Any, Protocol

from rambo.config import Config
from rambo.fields import Value, flatten
from tune.space import Choice, Dimension, Range, Space


class Asked(Protocol):
    """The part of an Optuna trial that answers."""

    def suggest_categorical(self, name: str, choices: Sequence[Any], /) -> Any: ...

    def suggest_float(self, name: str, low: float, high: float, /, *, log: bool) -> float: ...

    def suggest_int(self, name: str, low: int, high: int, /) -> int: ...


def suggest(trial: Asked, space: Space, base: Config, *, idle: bool = False) -> dict[str, Value]:
    """A setting from `space`; fields that it never reads are left out of it, and not asked for unless `idle`."""
    chosen: dict[str, Value] = {}
    for name, dimension in space.ordered():
        unread = space.is_idle(name, chosen, base)
        if idle or not unread:
            value = _suggest_one(trial, name, dimension)
            chosen |= {} if unread else {name: value}
    return chosen


def as_parameters(space: Space, config: Config) -> dict[str, Any]:
    """What `suggest` would have asked for to end at `config`."""
    parameters: dict[str, Any] = {}
    for name, dimension in space.ordered():
        if space.is_idle(name, {}, config):
            continue
        value = flatten(config)[name]
        zero = isinstance(dimension, Range) and dimension.zero
        if zero:
            parameters[_zero(name)] = value == 0
        if not (zero and value == 0):
            parameters[name] = value
    return parameters


def _suggest_one(trial: Asked, name: str, dimension: Dimension) -> Value:
    if isinstance(dimension, Choice):
        chosen: Value = trial.suggest_categorical(name, dimension.values)
        return chosen
    if isinstance(dimension, Range):
        if dimension.zero and trial.suggest_categorical(_zero(name), (False, True)):
            return 0.0
        return trial.suggest_float(name, dimension.low, dimension.high, log=dimension.log)
    return trial.suggest_int(name, dimension.low, dimension.high)


def _zero(name: str) -> str:
    return f"{name} is 0"
