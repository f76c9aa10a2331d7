"""Shapes in annotations are checked while tests run, in every package; mypy sees to all other annotations.

Imported before any of ours. The modules that lie in `rambo` itself take no tensors: what they pass on is in packages.
"""

import pkgutil
from collections.abc import Callable
from typing import Any

from beartype import beartype
from jaxtyping import AbstractArray, install_import_hook

import rambo


def check(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` under beartype where it takes or returns an array of a given shape."""
    hints = getattr(function, "__annotations__", {})
    return beartype(function) if any(map(_names_a_shape, hints.values())) else function


def _names_a_shape(hint: Any) -> bool:
    if isinstance(hint, type):
        return issubclass(hint, AbstractArray)
    return any(map(_names_a_shape, getattr(hint, "__args__", ())))


PACKAGES = [name for _, name, is_package in pkgutil.iter_modules(rambo.__path__, "rambo.") if is_package]
install_import_hook([*PACKAGES, "cluster", "tune", "ablations"], "shapes.check")
