"""Functions of the user's own, `package.module:function`: found and imported, and known by the bytes of their file.

A strategy or a classifier may be one. Its file is a part of what it is: other bytes are another one. Nothing here needs
torch, and no module is imported before somebody asks for its function.
"""

import hashlib
import sys
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import import_module, invalidate_caches
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

from rambo.errors import InvalidInput, require
from rambo.formats import first_line

FORM = "module:function"
"""How one is named, beside the names of ours."""

FIELDS = ("strategy", "classifier.name")
"""The fields that may name one."""


@dataclass(frozen=True)
class OneOf:
    """Annotates text that is one of some names, which a table elsewhere lists, or has another form."""

    names: tuple[str, ...]
    form: str
    """The other form, for --help."""
    has_form: Callable[[str], bool]


@dataclass(frozen=True)
class Source:
    """The file of a module."""

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


@dataclass(frozen=True, order=True)
class Own:
    """One that a field names; nothing is looked for before it is asked about."""

    field: str
    """One of `FIELDS`."""
    name: str
    """`package.module:function`."""

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"

    @property
    def kind(self) -> str:
        """`strategy` or `classifier`."""
        return self.field.partition(".")[0]

    @property
    def module(self) -> str:
        """What is imported."""
        return self.name.partition(":")[0]

    def function(self) -> Any:
        """What is called, its module imported now; raises `InvalidInput` where there is none."""
        module, source = self._import()
        called = self.name.partition(":")[2]
        require(hasattr(module, called), f"{self} must be a function of its module, got no {called} in {source.path}.")
        found = getattr(module, called)
        require(callable(found), f"{self} must be a function, got one of type {type(found).__name__}.")
        return found

    def source(self) -> Source:
        """The file, as this process has imported it, else as it is now.

        Of a module in packages, the packages' `__init__` run. Raises `InvalidInput` where there is none.
        """
        return _imported[self.module][1] if self.module in _imported else self._find()

    def pinned(self) -> "Pinned":
        """It as other processes must find it; its module is imported now."""
        self.function()
        source = self.source()
        return Pinned(self, source.digest, str(source.folder))

    def said(self, error: BaseException) -> str:
        """What was raised, and the last line of this one's file that it came through, where there is one.

        >>> Own("strategy", "mine:pick").said(ValueError("too few"))
        'ValueError: too few'
        """
        frames = traceback.extract_tb(error.__traceback__)
        passed = [frame for frame in frames if Path(frame.filename) == self.source().path] if frames else []
        where = f" ({Path(passed[-1].filename).name}:{passed[-1].lineno})" if passed else ""
        return f"{type(error).__name__}: {first_line(error)}{where}"

    def _import(self) -> tuple[ModuleType, Source]:
        """The module and its file; a file that is edited later counts as it was."""
        if self.module not in _imported:
            source = self._find()
            try:
                _imported[self.module] = import_module(self.module), source
            except (Exception, SystemExit) as error:  # whatever a module of the user's does
                raise self._unusable(error) from None
        return _imported[self.module]

    def _find(self) -> Source:
        module = self.module
        invalidate_caches()
        try:
            spec = find_spec(module)
        except (Exception, SystemExit) as error:  # whatever a package of the user's does
            if not (isinstance(error, ModuleNotFoundError) and f"{module}.".startswith(f"{error.name}.")):
                raise self._unusable(error) from None
            spec = None
        if spec is None:
            raise InvalidInput(
                f"{self} must name a module that can be imported, got {module}, which is not there; PYTHONPATH or "
                "the current folder must hold it."
            )
        if not spec.has_location or spec.origin is None:
            raise InvalidInput(f"{self} must be written in a file, got {module}, which has none.")
        path = Path(spec.origin).absolute()
        try:
            return Source(module, path, path.read_bytes())
        except OSError as error:
            raise InvalidInput(f"{self} must be in a file that can be read, got {path} ({error.strerror}).") from None

    def _unusable(self, error: BaseException) -> InvalidInput:
        return InvalidInput(
            f"{self} must name a module that can be imported, got {type(error).__name__} in it: {first_line(error)}."
        )


@dataclass(frozen=True)
class Pinned:
    """One as a process has imported it, to be sent to others."""

    own: Own
    digest: str
    """Of its file."""
    folder: str
    """What it was imported from, which others may find it elsewhere than in."""

    def check_here(self) -> None:
        """Import it in this process; raises `InvalidInput` where that cannot be, or where its file is another one."""
        look_in([self.folder])
        self.own.function()
        source = self.own.source()
        require(
            source.digest == self.digest,
            f"{self.own} must be one file in every process, got {source.path}, which is another one; give the command "
            "again.",
        )


def is_own(name: str) -> bool:
    """Whether `name` has the form of a function in a module.

    >>> is_own("lab.mine:pick"), is_own("margin"), is_own("mine.py"), is_own("mine:")
    (True, False, False, False)
    """
    module, colon, function = name.partition(":")
    return bool(colon) and function.isidentifier() and all(part.isidentifier() for part in module.split("."))


def named(values: Iterable[tuple[str, object]]) -> list[Own]:
    """Those that fields and their values name, each once and sorted.

    >>> named([("strategy", "mine:pick"), ("classifier.name", "lenet5"), ("data.source", "npz:x")])
    [Own(field='strategy', name='mine:pick')]
    """
    return sorted({Own(field, str(value)) for field, value in values if field in FIELDS and is_own(str(value))})


def folders() -> list[str]:
    """Where the modules that this process has imported come from."""
    return sorted({str(source.folder) for _, source in _imported.values()})


def look_in(found: Iterable[str]) -> None:
    """Let this process import modules from the folders that another one has `found` them in."""
    for folder in found:
        if folder not in sys.path:
            sys.path.insert(0, folder)
