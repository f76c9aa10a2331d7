"""Commands that a job may run: read, tried on this machine, and made independent of the folder they are typed in."""

import shlex
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from cluster.credentials import refuse_credentials
from cluster.databases import database_url
from rambo.config import Config
from rambo.errors import InvalidInput, require
from rambo.fields import Value, flatten, override, read_config, with_absolute_paths
from rambo.formats import path_of
from rambo.home import Home
from rambo.presets import PRESETS, preset
from rambo.strategies.own import is_own
from rambo.terminal import SCRIPTS

RUNNABLE = {"ablations": ["run"], "tune": ["run"], "cluster": ["collect"], "rambo": []}
"""Modules that a job may run, and the subcommand that does their work."""

PATHS = ("data.source", "utility_model.weights")
"""Fields that may name a file."""

LEVELS = ("--factor", "--space", "--retune-space")
"""Flags of the form FIELD=VALUE,VALUE."""


@dataclass(frozen=True)
class Inner:
    """A command of the project's own, as a job runs it."""

    words: tuple[str, ...]
    """From `python` on, all paths absolute."""
    study: str
    """What people call it."""
    home: Home
    config: Path | None
    """The file that must travel, under the name that `shipped_name` gives."""
    stays: tuple[Path, ...]
    """Folders and files that the command names and that must not travel."""
    strategies: tuple[str, ...] = ()
    """Those of the user's own, whose modules must travel."""

    @property
    def entrypoint(self) -> str:
        """One line of shell."""
        return shlex.join(self.words)


def read_inner(words: Sequence[str]) -> Inner:
    """The command that `words` are, with what is relative to this folder made absolute.

    Raises `InvalidInput` where it is not one that does the project's work, names no home or carries a password.
    """
    words = _by_module(words)
    flags = _flags(words)
    refuse_credentials(words)
    given = dict(_pairs(flags))
    require(
        "--home" in given,
        "A submitted command must say where its results stay, got no --home; give a path that every node of the "
        "cluster can reach, or a URL.",
    )
    home = Home(given["--home"])
    config = Path(given["--config"]) if "--config" in given else None
    readers: dict[str, Callable[[str], str]] = {
        "--home": lambda text: home.root,
        "--data-dir": lambda text: str(path_of(text, "--data-dir").resolve()),
        "--config": lambda text: shipped_name(Path(text)),
        "--storage": _absolute_storage,
        **dict.fromkeys(LEVELS, _absolute_levels),
        **{f"--{field}": _reader(field) for field in PATHS},
    }
    changed = _changed(flags, readers)
    fields = _fields_of(config, given) if config is not None else {}
    changed += _paths_of(fields, given)
    study = given.get("--study") or given.get("--recipe") or given.get("--preset") or (config.stem if config else "")
    files = [value.partition(":")[2] for flag, value in _pairs(changed) if flag == "--data.source"]
    folders = [value for flag, value in _pairs(changed) if flag == "--data-dir"]
    stays = [*files, *folders, *([home.root] if home.is_local else [])]
    return Inner(
        ("python", *words[1:3], *changed),
        study or words[2],
        home,
        config,
        tuple(Path(text) for text in stays if text),
        _own_strategies(flags, str(fields.get("strategy", ""))),
    )


def try_plan(words: Sequence[str]) -> None:
    """Run the command's own --plan here; raises `InvalidInput` with the sentence that it ends in, if it does."""
    words = _by_module(words)
    # the GPU that it asks for may be the cluster's, and a sign of life must not be its last word
    command = [sys.executable, *words[1:], "--plan", "--device=auto", "--quiet"]
    answer = subprocess.run(command, capture_output=True, text=True)
    if answer.returncode:
        said = answer.stderr.strip().splitlines() or [f"{shlex.join(words)} --plan must end well, got no word of why."]
        raise InvalidInput(said[-1].removeprefix(f"{words[2]}: "))


def shipped_name(config: Path) -> str:
    """Where a --config file is in a job's working folder."""
    try:
        digest = sha256(path_of(config, "--config").read_bytes()).hexdigest()[:12]
    except OSError as error:
        raise InvalidInput(f"--config must name a file that can be read, got {config} ({error.strerror}).") from None
    return f"submitted/{digest}/{config.name}"


def _by_module(words: Sequence[str]) -> list[str]:
    """`words` as `python -m ROOM …` where they begin with an installed script, which the nodes may lack."""
    room = SCRIPTS.get(Path(words[0]).name) if words else None
    return list(words) if room is None else ["python", "-m", room, *words[1:]]


def _flags(words: Sequence[str]) -> list[str]:
    """What follows `python -m MODULE`; refused where a job is not for that."""
    choices = ", ".join(" ".join(["python -m", module, *command]) for module, command in RUNNABLE.items())
    is_ours = len(words) > 2 and Path(words[0]).name.startswith("python") and words[1] == "-m" and words[2] in RUNNABLE
    require(
        is_ours and list(words[3 : 3 + len(RUNNABLE[words[2]])]) == RUNNABLE[words[2]],
        f"A submitted command must be one of {choices}, got {shlex.join(words) or 'nothing'}; write it after --.",
    )
    require("--plan" not in words, "A submitted command must do its work, got --plan; run that here, without submit.")
    return list(words[3:])


def _pairs(words: Sequence[str]) -> list[tuple[str, str]]:
    """Flags and their values, written as one word or two."""
    found = []
    for place, word in enumerate(words):
        flag, equals, value = word.partition("=")
        if word.startswith("--"):
            found.append((flag, value if equals else "".join(words[place + 1 : place + 2])))
    return found


def _changed(words: Sequence[str], readers: dict[str, Callable[[str], str]]) -> list[str]:
    """`words` with the values of some flags read anew."""
    changed: list[str] = []
    for word in words:
        flag, equals, value = word.partition("=")
        if changed and changed[-1] in readers:
            changed.append(readers[changed[-1]](word))
        elif equals and flag in readers:
            changed.append(f"{flag}={readers[flag](value)}")
        else:
            changed.append(word)
    return changed


def _absolute(field: str, value: str) -> str:
    return str(flatten(with_absolute_paths(override(Config(), {field: value})))[field])


def _reader(field: str) -> Callable[[str], str]:
    return lambda text: _absolute(field, text)


def _absolute_levels(text: str) -> str:
    """A factor or a dimension, its levels absolute where they are files."""
    field, equals, levels = text.partition("=")
    if field not in PATHS or not equals:
        return text
    return f"{field}={','.join(_absolute(field, level) for level in levels.split(','))}"


def _absolute_storage(text: str) -> str:
    return database_url(text, "--storage") if text.startswith("sqlite") else text


def _fields_of(config: Path, given: Mapping[str, str]) -> Mapping[str, Value]:
    """What a configuration file says, over the preset if any."""
    name = given.get("--preset")
    return flatten(read_config(config, preset(name) if name in PRESETS else None))


def _paths_of(fields: Mapping[str, Value], given: Mapping[str, str]) -> list[str]:
    """Flags for the files that a configuration file names relative to this folder."""
    flags = []
    for field in (field for field in PATHS if field in fields):
        absolute = _absolute(field, str(fields[field]))
        if absolute != fields[field] and f"--{field}" not in given:
            flags.append(f"--{field}={absolute}")
    return flags


def _own_strategies(words: Sequence[str], configured: str) -> tuple[str, ...]:
    """The user's own among the strategies that flags and a configuration file name."""
    listed = [configured]
    for flag, value in _pairs(words):
        field, equals, levels = value.partition("=")
        if flag == "--strategy":
            listed.append(value)
        elif flag in LEVELS and field == "strategy" and equals:
            listed.append(levels)
    return tuple(sorted({name for names in listed for name in names.split(",") if is_own(name)}))
