"""Strategies of the user's own, `package.module:function`: found, imported, and what is known of them.

A function says what it wants by attributes, all of which may be left out: `grants` (some of `GRANTS`), `scores_pool`
and `num_scouts`. Its file is a part of what it is: other bytes are another strategy. Nothing here needs torch, and no
module is imported before somebody asks for its facts.
"""

import hashlib
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import import_module, invalidate_caches
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

from rambo.errors import InvalidInput, require
from rambo.formats import first_line
from rambo.strategies.facts import BATCHES, Grant, StrategyFacts

FORM = "module:function"
"""How one is named, beside the names in `FACTS`."""

GRANTS = tuple(grant for grant in get_args(Grant) if grant not in ("measured", "marginally_measured"))
"""What one may ask for: not what only oracles are told, whose results tables mark as for study only."""

REQUEST = (*BATCHES, "acquisition.block_epsilon")
"""Fields that every request holds; which of them a function of the user's goes by is not known."""


@dataclass(frozen=True)
class Source:
    """The file of a strategy's module."""

    module: str
    path: Path
    content: bytes

    @property
    def digest(self) -> str:
        """16 hex digits of SHA-256 over the file's bytes; where it lies does not matter."""
        return hashlib.sha256(self.content).hexdigest()[:16]

    @property
    def folder(self) -> Path:
        """What the module is imported from: the folder of its file, or of its outermost package."""
        depth = self.module.count(".") + (self.path.name == "__init__.py")
        return self.path.parents[depth]


_imported: dict[str, tuple[ModuleType, Source]] = {}
"""By name: the modules that this process has imported here, and their files as they were then."""


def is_own(name: str) -> bool:
    """Whether `name` has the form of a function in a module.

    >>> is_own("lab.mine:pick"), is_own("margin"), is_own("mine.py"), is_own("mine:")
    (True, False, False, False)
    """
    module, colon, function = name.partition(":")
    return bool(colon) and function.isidentifier() and all(part.isidentifier() for part in module.split("."))


def facts_of(name: str) -> StrategyFacts:
    """The record of a strategy of the user's own, whose module is imported now.

    Raises `InvalidInput` where there is no such function, or where it asks for what cannot be.
    """
    select = _function(name)
    scores_pool, num_scouts = getattr(select, "scores_pool", True), getattr(select, "num_scouts", 1)
    require(isinstance(scores_pool, bool), f"strategy {name} must have scores_pool True or False, got {scores_pool!r}.")
    require(
        isinstance(num_scouts, int) and num_scouts >= 1,
        f"strategy {name} must have num_scouts a number from 1, got {num_scouts!r}.",
    )
    return StrategyFacts(
        name=name,
        about="a function of your own",
        select=name,
        grants=_grants(name, select),
        scores_pool=scores_pool,
        num_scouts=num_scouts,
        own=REQUEST,
        source=source_of(name).digest,
    )


def source_of(name: str) -> Source:
    """The file of the strategy called `name`, as this process has imported it, else as it is now.

    Of a module in packages, the packages' `__init__` run. Raises `InvalidInput` where there is none.
    """
    module = _module(name)
    return _imported[module][1] if module in _imported else _find(name)


def folders() -> list[str]:
    """Where the strategies that this process has imported come from."""
    return sorted({str(source.folder) for _, source in _imported.values()})


def look_in(found: Iterable[str]) -> None:
    """Let this process import strategies from the folders that another one has `found` them in."""
    for folder in found:
        if folder not in sys.path:
            sys.path.insert(0, folder)


def _module(name: str) -> str:
    return name.partition(":")[0]


def _function(name: str) -> Any:
    module, source = _import(name)
    called = name.partition(":")[2]
    require(
        hasattr(module, called), f"strategy {name} must be a function of its module, got no {called} in {source.path}."
    )
    found = getattr(module, called)
    require(callable(found), f"strategy {name} must be a function, got one of type {type(found).__name__}.")
    return found


def _import(name: str) -> tuple[ModuleType, Source]:
    """The module and its file; a file that is edited later counts as it was."""
    module = _module(name)
    if module not in _imported:
        source = _find(name)
        try:
            _imported[module] = import_module(module), source
        except (Exception, SystemExit) as error:  # whatever a module of the user's does
            raise _unusable(name, error) from None
    return _imported[module]


def _find(name: str) -> Source:
    module = _module(name)
    invalidate_caches()
    try:
        spec = find_spec(module)
    except (Exception, SystemExit) as error:  # whatever a package of the user's does
        if not (isinstance(error, ModuleNotFoundError) and f"{module}.".startswith(f"{error.name}.")):
            raise _unusable(name, error) from None
        spec = None
    if spec is None:
        raise InvalidInput(
            f"strategy {name} must name a module that can be imported, got {module}, which is not there; PYTHONPATH or "
            "the current folder must hold it."
        )
    if not spec.has_location or spec.origin is None:
        raise InvalidInput(f"strategy {name} must be written in a file, got {module}, which has none.")
    path = Path(spec.origin).absolute()
    try:
        return Source(module, path, path.read_bytes())
    except OSError as error:
        raise InvalidInput(
            f"strategy {name} must be in a file that can be read, got {path} ({error.strerror})."
        ) from None


def _unusable(name: str, error: BaseException) -> InvalidInput:
    return InvalidInput(
        f"strategy {name} must name a module that can be imported, got {type(error).__name__} in it: "
        f"{first_line(error)}."
    )


def _grants(name: str, select: Any) -> frozenset[Grant]:
    given = getattr(select, "grants", ())
    listed = list(given) if isinstance(given, Iterable) and not isinstance(given, str) else [given]
    unknown = [str(one) for one in listed if one not in GRANTS]
    require(not unknown, f"strategy {name} must have grants among {', '.join(GRANTS)}, got {', '.join(unknown)}.")
    return frozenset(listed)
