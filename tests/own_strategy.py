"""What docs/own_strategy.md and own_classifier.md show, and such modules in files outside the checkout."""

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rambo import own

DOCS = Path(__file__).parents[1] / "docs"
EXAMPLE, NETS = (
    re.findall(r"```python\n(.*?)```", (DOCS / page).read_text(), flags=re.DOTALL)[0]
    for page in ("own_strategy.md", "own_classifier.md")
)


class Modules:
    """Each file that is written is imported anew, as by a process that has imported nothing yet."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self._folder, self._patch = folder, patch
        self._names: set[str] = set()

    def write(self, source: str, name: str = "mine", folder: Path | None = None) -> Path:
        """The file of the module `name`, found from now on in `folder`, first of all."""
        folder = folder or self._folder
        path = folder.joinpath(*name.split(".")).with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
        self._names |= {name, name.split(".")[0]}
        self.forget()
        self._patch.syspath_prepend(str(folder))
        return path

    def forget(self) -> None:
        """Whatever was imported of them."""
        for name in self._names:
            sys.modules.pop(name, None)
        own._imported.clear()


@contextmanager
def modules_in(folder: Path) -> Iterator[Modules]:
    """Modules of this process until the end; no bytecode is kept, which knows a file by its second and its size."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "dont_write_bytecode", True)
        modules = Modules(folder, patch)
        yield modules
        modules.forget()
