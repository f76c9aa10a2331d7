"""Names as MLflow takes them: one rule for whatever a level, a cell or a study is called."""

import hashlib
import posixpath
import re
from collections import Counter
from collections.abc import Iterable

LONGEST = 250
"""Characters of a name of anything in MLflow and in the databases behind it."""

REFUSED = re.compile(r"[^\w.\- :/]")
"""What MLflow takes in no name of a metric."""


def metric_name(text: str) -> str:
    """`text` where MLflow takes it as the name of a metric, else what is left of it and a digest that tells it apart.

    MLflow takes letters, digits, `_-. :/`, at most 250 of them, and no name that is another one as a path.

    >>> metric_name("test_accuracy/OT=on"), metric_name("test_accuracy/source=images:a/")
    ('test_accuracy/OT on', 'test_accuracy/source images:a 501fff8f')
    """
    text = text.replace("=", " ")
    plain = posixpath.normpath(REFUSED.sub("_", text)).lstrip("/.") or "_"
    return _told_apart(plain, text)


def model_name(text: str) -> str:
    """`text` as the name of a logged model, which need not be its alone; MLflow takes none of `/:.%"'`.

    >>> model_name("û seed 0, λ1=0.5")
    'û seed 0, λ1=0·5'
    """
    return short_name(re.sub(r"[/:%\"']", "_", text).replace(".", "·"))


def last_parts(fields: Iterable[str]) -> dict[str, str]:
    """The last part of each dotted name, or the whole where two would be alike.

    >>> last_parts(["a.size", "b.size", "b.rate"])
    {'a.size': 'a.size', 'b.size': 'b.size', 'b.rate': 'rate'}
    """
    names = list(fields)
    counts = Counter(name.rpartition(".")[2] for name in names)
    return {name: last if counts[last := name.rpartition(".")[2]] == 1 else name for name in names}


def short_name(text: str) -> str:
    """`text` where it is not too long to be the name of a run or an experiment, else its beginning and a digest."""
    return _told_apart(text, text)


def _told_apart(plain: str, text: str) -> str:
    if plain == text and len(text) <= LONGEST:
        return text
    digest = hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()[:8]
    return f"{plain[: LONGEST - len(digest) - 1]} {digest}"
