"""Commands that a job may run: read, tried on this machine, and made independent of the folder they are typed in."""

import shlex
import subprocess
import sys
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from cluster.credentials import refuse_credentials
from cluster.databases import database_url
from rambo.config import Config
from rambo.errors import InvalidInput, require
from rambo.fields import Value, flatten, override, read_config, with_absolute_paths
from rambo.formats import first_line, path_of
from rambo.home import Home
from rambo.own import FIELDS, Own, named
from rambo.presets import PRESETS, preset
from rambo.terminal import SCRIPTS

RUNNABLE = {"ablations": (["run"], ["sweep", "apply"]), "tune": (["run"],), "cluster": (["collect"],), "rambo": ([],)}
"""Modules that a job may run, and the subcommands that do their work."""

SWEEP = ["ablations", "sweep", "apply"]

PATHS = ("data.source", "data.labels", "utility_model.weights")
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
    own: tuple[Own, ...] = ()
    """Strategies and classifiers of the user's own, whose modules must travel."""

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
    if list(words[2:5]) == SWEEP:
        return _read_sweep(words, flags[2:])
    given = dict(_pairs(flags))
    home = _home(given)
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
        _own_named(flags, fields),
    )


def _home(given: Mapping[str, str]) -> Home:
    require(
        "--home" in given,
        "A submitted command must say where its results stay, got no --home; give a path that every node of the "
        "cluster can reach, or a URL.",
    )
    return Home(given["--home"])


def _read_sweep(words: Sequence[str], flags: Sequence[str]) -> Inner:
    """A sweep whose file travels, and whose paths stay relative to the folder that it lies in here."""
    given, home = dict(_pairs(flags)), _home(dict(_pairs(flags)))
    file = Path(flags[0]) if flags and not flags[0].startswith("--") else None
    if file is None:
        raise InvalidInput("A submitted sweep must begin with its file, got a flag; write it behind apply.")
    shipped, folder = shipped_name(file, "A sweep's file"), path_of(file, "A sweep's file").resolve().parent
    content = _toml(file)
    studies = [study for study in content.get("study", []) if isinstance(study, dict)]
    levels = [value for study in studies for part in ("fields", "grid") for value in study.get(part, {}).items()]
    values = [(name, one) for name, value in levels for one in (value if isinstance(value, list) else [value])]
    data = [str(one).partition(":")[2] for name, one in values if name == "data.source" and ":" in str(one)]
    readers: dict[str, Callable[[str], str]] = {
        "--home": lambda text: home.root,
        "--data-dir": lambda text: str(path_of(text, "--data-dir").resolve()),
    }
    stays = [folder / Path(one).expanduser() for one in data]
    stays += [Path(home.root)] if home.is_local else []
    stays += [Path(given["--data-dir"]).resolve()] if "--data-dir" in given else []
    return Inner(
        ("python", *words[1:5], shipped, f"--paths-from={folder}", *_changed(flags[1:], readers)),
        f"{content.get('name', file.stem)}-{Path(shipped).parent.name[:6]}",  # an edited file is another job's
        home,
        file,
        tuple(stays),
        tuple(named(values)),
    )


def _toml(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path_of(file, "A sweep's file").read_bytes().decode("utf-8-sig"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InvalidInput(f"A sweep's file must be readable TOML, got {file} ({first_line(error)}).") from None


def try_plan(words: Sequence[str]) -> None:
    """Run the command's own --plan here; raises `InvalidInput` with the sentence that it ends in, if it does."""
    words = _by_module(words)
    # the GPU that it asks for may be the cluster's, and a sign of life must not be its last word
    command = [sys.executable, *words[1:], "--plan", "--device=auto", "--quiet"]
    if list(words[2:5]) == SWEEP:
        command = [sys.executable, *words[1:4], "plan", *(word for word in words[5:] if word != "--rerun-outdated")]
    answer = subprocess.run(command, capture_output=True, text=True)
    if answer.returncode:
        said = answer.stderr.strip().splitlines() or [f"{shlex.join(words)} --plan must end well, got no word of why."]
        raise InvalidInput(said[-1].removeprefix(f"{words[2]}: "))


def shipped_name(config: Path, name: str = "--config") -> str:
    """Where a file that a command names, as by --config, is in a job's working folder."""
    try:
        digest = sha256(path_of(config, name).read_bytes()).hexdigest()[:12]
    except OSError as error:
        raise InvalidInput(f"{name} must name a file that can be read, got {config} ({error.strerror}).") from None
    return f"submitted/{digest}/{config.name}"


def _by_module(words: Sequence[str]) -> list[str]:
    """`words` as `python -m ROOM …` where they begin with an installed script, which the nodes may lack."""
    room = SCRIPTS.get(Path(words[0]).name) if words else None
    return list(words) if room is None else ["python", "-m", room, *words[1:]]


def _flags(words: Sequence[str]) -> list[str]:
    """What follows `python -m MODULE`; refused where a job is not for that."""
    known = [(module, command) for module, commands in RUNNABLE.items() for command in commands]
    choices = ", ".join(" ".join(["python -m", module, *command]) for module, command in known)
    is_ours = len(words) > 2 and Path(words[0]).name.startswith("python") and words[1] == "-m" and words[2] in RUNNABLE
    require(
        is_ours and any(list(words[3 : 3 + len(command)]) == command for command in RUNNABLE[words[2]]),
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


def _own_named(words: Sequence[str], fields: Mapping[str, Value]) -> tuple[Own, ...]:
    """Functions of the user's own that flags and a configuration file name."""
    listed = [(field, str(fields.get(field, ""))) for field in FIELDS]
    for flag, value in _pairs(words):
        field, _, levels = value.partition("=")
        listed.append((field, levels) if flag in LEVELS else (flag.removeprefix("--"), value))
    return tuple(named((field, name) for field, names in listed for name in names.split(",")))
