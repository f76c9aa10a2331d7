"""Sweeps as a home keeps them: what is wanted, and whether it runs. The driver reads them anew at each choice."""

import json
import os
import platform
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from ablations.sweeps.declaration import Sweep, at_scale, read_text
from cluster.named import Kind, Named
from rambo.errors import InvalidInput, require
from rambo.formats import json_bytes
from rambo.home import Home

SWEEP = Kind("sweep", "sweeps", "ablations", experiments="sweeps")

KEPT, CONTROL = "sweep.json", "control.json"

DRIVER_LOCK, DRIVER = "sweeps/driver.lock", "sweeps/driver.json"
"""Held by the one driver of a home, and what it says of itself every few seconds."""

State = Literal["running", "paused", "cancelled"]


@dataclass(frozen=True)
class Kept:
    """A sweep as it was last applied, or as its file was last read by the driver."""

    sweep: str
    """Its name."""
    text: str
    """The content of its file."""
    source: str
    """The path of the file."""
    folder: str
    """What relative paths in it are relative to."""
    host: str
    """Whose path that is."""
    applied: float
    """When, in seconds since 1970."""
    scale: str = "full"
    """That it runs at (`ablations.scale`)."""

    @classmethod
    def of(cls, path: Path, folder: Path | None = None, *, scale: str = "full") -> tuple["Kept", Sweep]:
        """What the file at `path` declares, checked whole; raises `InvalidInput` with the line of what is wrong.

        `folder`: what relative paths in it are relative to, its own unless given.
        """
        text, folder = _text_of(path), folder or path.absolute().parent
        sweep = at_scale(read_text(text, str(path), folder), scale)
        # not resolved: a mounted ConfigMap's file is a link whose target goes with every edit
        return cls(sweep.name, text, str(path.absolute()), str(folder), platform.node(), time.time(), scale), sweep

    def declared(self) -> Sweep:
        """The sweep."""
        return _read(self.text, self.source, self.folder, self.scale)

    def edited(self) -> "Kept | None":
        """As the file is now, where it is there on this machine, can be read and says something else.

        Raises `InvalidInput` with the line of what is wrong in an edited file.
        """
        path = Path(self.source)
        if self.host != platform.node() or not os.path.isfile(path) or _text_of(path) == self.text:
            return None
        found, _ = Kept.of(path, Path(self.folder), scale=self.scale)
        require(
            found.sweep == self.sweep,
            f"{self.source} must keep the name {self.sweep}, got {found.sweep}; apply it as a sweep of its own.",
        )
        return found


def _text_of(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not in UTF-8"
        raise InvalidInput(f"A sweep's file must be readable text, got {path} ({reason}).") from None


@cache
def _read(text: str, source: str, folder: str, scale: str) -> Sweep:
    return at_scale(read_text(text, source, Path(folder)), scale)


def named_sweep(name: str, home: Home) -> Named:
    """The sweep called `name`, there or not."""
    return Named(SWEEP, name, home)


def read_kept(home: Home, name: str) -> Kept | None:
    """The sweep called `name` as it was applied, None where there is none; raises `InvalidInput` for something else."""
    cure = "remove it and apply the file again"
    return home.record(f"{named_sweep(name, home).folder}/{KEPT}", lambda content: Kept(**json.loads(content)), cure)


def all_kept(home: Home) -> list[Kept]:
    """Every sweep of a home, the first applied first."""
    found = [read_kept(home, name) for name in home.folders(SWEEP.folder)]
    return sorted((one for one in found if one is not None), key=lambda one: (one.applied, one.sweep))


def existing(home: Home, name: str) -> Kept:
    """The sweep called `name`, or `InvalidInput` with the names there are."""
    kept = read_kept(home, name)
    if kept is None:
        there = ", ".join(one.sweep for one in all_kept(home)) or "none"
        raise InvalidInput(f"The name must be that of a sweep of {home.root}, got {name}; there: {there}.")
    return kept


def keep(home: Home, kept: Kept, declared: Sweep) -> None:
    """Make it what is wanted; raises `InvalidInput` as `check_kept` does."""
    check_kept(home, kept, declared)
    home.write(f"{named_sweep(kept.sweep, home).folder}/{KEPT}", json_bytes(asdict(kept)))


def check_kept(home: Home, kept: Kept, declared: Sweep) -> None:
    """Raise `InvalidInput` where another sweep has its name, or one of its studies.

    It is the same sweep if it has the same file, or shares a study with what was wanted before.
    """
    before = read_kept(home, kept.sweep)
    if before is not None and (before.source, before.host) != (kept.source, kept.host):
        names = {study.name for study in before.declared().studies}
        ours = {study.name for study in declared.studies}
        require(
            bool(names & ours),
            f"{kept.source} must declare a study of the sweep {kept.sweep} that {home.root} has from {before.source}, "
            f"of which are {', '.join(sorted(names))}, got {', '.join(sorted(ours))}; give it another name, or use "
            "another home.",
        )
    others = []
    for one in all_kept(home):
        if one.sweep != kept.sweep:
            with suppress(InvalidInput):  # such as a strategy whose module is elsewhere: that keeps no other sweep back
                others.append(one.declared())
    check_studies(declared, others)


def check_studies(sweep: Sweep, others: Sequence[Sweep]) -> None:
    """Raise `InvalidInput` where a study of `sweep` has the name of another sweep's that is not the same."""
    for other in others:
        theirs = {study.name: study for study in other.studies}
        for study in sweep.studies:
            same = study.name not in theirs or theirs[study.name].grid == study.grid
            require(
                same,
                f"The study {study.name} of {sweep.name} must be as the sweep {other.name} has it, got other fields, "
                "levels or seeds; give it another name.",
            )


def read_state(home: Home, name: str) -> State:
    """Whether it runs; what was never paused does."""
    cure = "remove it: the sweep then runs"
    found = home.record(f"{named_sweep(name, home).folder}/{CONTROL}", _state, cure)
    return found or "running"


def _state(content: bytes) -> State:
    state: State = json.loads(content)["state"]
    if state not in ("running", "paused", "cancelled"):
        raise ValueError(f"{state} is no state of a sweep")
    return state


def keep_state(home: Home, name: str, state: State) -> None:
    """Make it run, pause or end; the driver sees it at its next choice."""
    home.write(f"{named_sweep(name, home).folder}/{CONTROL}", json_bytes({"state": state}))
