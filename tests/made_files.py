"""Files of no meaning, for what packs, ships and looks for files."""

from pathlib import Path


def write(path: Path, content: bytes = b"x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path
