"""Identities that outlive growth: ids and keys digest explicit (name, value) pairs, never how a class prints itself.

A field that comes after results have been kept says which of its values means what was done before there was such a
field. At that value it stays out of every id and key, so nothing that was ever recorded moves.
"""

import dataclasses
from collections.abc import Iterable
from typing import Any

_AS_BEFORE = "as_before"


def later(default: Any, *, as_before: Any) -> Any:
    """A dataclass field that came later: its default for new work, and the value that means what was done without it.

    >>> from dataclasses import dataclass
    >>> @dataclass(frozen=True)
    ... class Training:
    ...     learning_rate: float = 1e-3
    ...     warm_up: int = later(0, as_before=0)
    >>> pairs(Training()), pairs(Training(warm_up=5))
    ([('learning_rate', 0.001)], [('learning_rate', 0.001), ('warm_up', 5)])
    """
    return dataclasses.field(default=default, metadata={_AS_BEFORE: as_before})


def as_before(field: "dataclasses.Field[Any]") -> Any:
    """The value at which a field of a dataclass is left out of identities; None for one that was there at first."""
    return field.metadata.get(_AS_BEFORE)


def pairs(settings: Any) -> list[tuple[str, Any]]:
    """The fields of a dataclass that identify it, by name and in order: all but later ones at their value of before."""
    listed = [(field, getattr(settings, field.name)) for field in dataclasses.fields(settings)]
    return [(field.name, value) for field, value in listed if not (_is_later(field) and value == as_before(field))]


def described(kind: str, items: Iterable[tuple[str, Any]]) -> str:
    """What is digested of named values; `kind` is part of the format, no class's name.

    >>> described("Normalisation", [("mean", (0.5,)), ("std", (1.0,))])
    'Normalisation(mean=(0.5,), std=(1.0,))'
    """
    return f"{kind}({', '.join(f'{name}={value!r}' for name, value in items)})"


def _is_later(field: "dataclasses.Field[Any]") -> bool:
    return _AS_BEFORE in field.metadata
