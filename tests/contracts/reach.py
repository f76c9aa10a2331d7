"""What can be got at from an object by following attributes, items, closures and bound methods."""

import functools
import types
from collections.abc import Iterator, Mapping
from typing import Any

LEAVES = (str, bytes, int, float, bool, type(None), type, types.ModuleType)


def reachable(start: object, *, closures: bool = True) -> Iterator[Any]:
    """Every object within reach of `start`, each once; modules, classes and globals of functions are not followed.

    Without `closures` what a function has closed over is not either: what can be had by calls and attributes is left.
    """
    waiting, seen, kept = [start], set(), []
    while waiting:
        one = waiting.pop()
        if id(one) in seen or isinstance(one, LEAVES):
            continue
        seen.add(id(one))
        kept.append(one)  # an object that lives on keeps its id
        yield one
        waiting += _neighbours(one, closures)


def _neighbours(one: Any, closures: bool) -> list[Any]:
    found = list(getattr(one, "__dict__", {}).values())
    if isinstance(one, Mapping):
        found += [*one.keys(), *one.values()]
    elif isinstance(one, (list, tuple, set, frozenset)):
        found += list(one)
    elif isinstance(one, functools.partial):
        found += [one.func, *one.args, *one.keywords.values()]
    elif isinstance(one, types.MethodType):
        found += [one.__self__, one.__func__]
    elif isinstance(one, types.FunctionType):
        cells = [cell.cell_contents for cell in one.__closure__ or ()] if closures else []
        found += [*cells, *(one.__defaults__ or ()), *(one.__kwdefaults__ or {}).values()]
    return found
