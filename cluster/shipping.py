"""What travels with a job in one archive: the code of the working folder, and what else a command names.

Data, results, caches and hidden files stay where they are.
"""

import hashlib
import subprocess
import zipfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import rambo
from rambo.errors import InvalidInput
from rambo.own import Own

ROOMS = ("rambo", "cluster", "tune", "ablations")

OWN = frozenset({*ROOMS, "pyproject.toml", "constraints.txt"})
"""What of a working folder decides what a job computes; a --config file is named in the command by its digest."""

LIMIT_BYTES = 100 * 2**20
"""What Ray's job server takes in one upload, whatever its warnings say."""

LEFT_BEHIND = {"node_modules", "venv", "env", "build", "dist", "runs", "data", "mlruns", "mlartifacts"}
"""Folders of these names outside the rooms are never the code; neither is anything hidden or ignored by Git."""


@dataclass(frozen=True)
class Shipment:
    """Files of a job by their path in its working folder."""

    files: Mapping[str, Path]
    code: frozenset[str] = OWN
    """What of the working folder decides what the job computes."""

    def digest(self) -> str:
        """Identifies the names and contents of all that is code; a note or a log beside it changes nothing."""
        described = hashlib.sha256()
        own = {name: path for name, path in self.files.items() if name.split("/")[0] in self.code}
        for name, path in sorted(own.items()):
            described.update(f"{name}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
        return described.hexdigest()

    def write(self, archive: Path | IO[bytes]) -> None:
        """Put all files into the zip file `archive`; the same files give the same bytes."""
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as target:
            for name, path in sorted(self.files.items()):
                entry = zipfile.ZipInfo(name)  # of 1980, whenever the file was written
                entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
                target.writestr(entry, path.read_bytes())


def pack(
    folder: Path,
    *,
    without: Iterable[Path] = (),
    extra: Mapping[str, Path] | None = None,
    own: Iterable[Own] = (),
) -> Shipment:
    """The working `folder` without data, results and caches, nor what lies in `without`, and with `extra` by name.

    Of a folder that is no checkout of the project nothing is taken: the code that runs here travels in its place. The
    modules of the user's `own` strategies and classifiers come along from wherever they are imported here.
    Raises `InvalidInput` where one is not found, or where all this is more than Ray takes.
    """
    kept = {path.resolve() for path in without}
    if (folder / "rambo" / "__init__.py").exists():
        files = dict(_files(folder, kept))
    else:
        root = Path(rambo.__file__).parents[1]
        files = {f"{room}/{name}": path for room in ROOMS for name, path in _files(root / room, kept, is_room=True)}
    modules = {name: path for one in own for name, path in _module_files(one)}
    files |= modules | dict(extra or {})
    _check_size(files, folder)
    return Shipment(files, OWN | {name.split("/")[0] for name in modules})


def _module_files(own: Own) -> Iterator[tuple[str, Path]]:
    """The file of its module, or all of its outermost package, as a job imports it from its working folder."""
    source = own.source()
    yield source.path.relative_to(source.folder).as_posix(), source.path
    package = source.folder / source.module.split(".")[0]
    if package in source.path.parents:
        for name, path in _files(package, set(), is_room=True):
            yield f"{package.name}/{name}", path


def _files(folder: Path, without: set[Path], *, is_room: bool = False) -> Iterator[tuple[str, Path]]:
    listed = _not_ignored(folder)
    waiting = [folder]
    while waiting:
        for path in sorted(waiting.pop().iterdir()):
            name = path.relative_to(folder).as_posix()
            if path.name.startswith(".") or path.resolve() in without:
                continue
            if path.is_dir():
                code = is_room or name.split("/")[0] in ROOMS
                left = path.name == "__pycache__" or (path.name in LEFT_BEHIND and not code)
                if not (path.is_symlink() or left or path.suffix == ".egg-info" or _is_home(path)):
                    waiting.append(path)
            elif path.is_file() and path.suffix != ".pyc" and (listed is None or name in listed):
                yield name, path


def _is_home(folder: Path) -> bool:
    return (folder / "mlflow.db").exists() or ((folder / "store").is_dir() and (folder / "trials").is_dir())


def _not_ignored(folder: Path) -> set[str] | None:
    """Files that Git tracks or would; None where there is no Git to ask, or it ignores the folder itself."""
    command = ["git", "-C", str(folder), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        answer = subprocess.run(command, capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return {name.decode(errors="surrogateescape") for name in answer.stdout.split(b"\0") if name} or None


def _check_size(files: Mapping[str, Path], folder: Path) -> None:
    sizes: dict[str, int] = defaultdict(int)
    for name, path in files.items():
        first, slash, _ = name.partition("/")
        sizes[first + slash] += path.stat().st_size
    total = sum(sizes.values())
    if total > LIMIT_BYTES:
        largest = sorted(sizes, key=lambda name: -sizes[name])[:3]
        raise InvalidInput(
            f"The working folder must hold at most {_megabytes(LIMIT_BYTES)} of code, which is what Ray uploads, got "
            f"{_megabytes(total)} in {folder} (largest: "
            f"{', '.join(f'{name} {_megabytes(sizes[name])}' for name in largest)}); move data out of it, to where "
            "every node can read it, or list it in .gitignore."
        )


def _megabytes(size: int) -> str:
    return f"{size / 2**20:.1f} MiB"
