"""What every benchmark leaves behind: a table on standard output, and JSON with the hardware and versions behind it."""

import json
import os
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

FOLDER = Path(__file__).parent
"""JSON lies beside the benchmarks, out of version control."""


def keep(name: str, content: Mapping[str, object]) -> None:
    """Write `content` as NAME.json with what it was measured on."""
    path = FOLDER / f"{name}.json"
    path.write_text(json.dumps({**content, "machine": machine()}, indent=2) + "\n")
    print(f"written: {path}", flush=True)


def machine() -> dict[str, object]:
    """Processor, GPU if any, and the versions of what does the work."""
    import torch

    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    found = {"processor": _processor(), "cores": os.cpu_count(), "gpu": gpu, "python": platform.python_version()}
    return {**found, "packages": {name: known for name in ("torch", "numpy", "ray") if (known := _version(name))}}


def table(title: str, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Columns, the first left-aligned."""
    cells = [list(header), *([_text(value) for value in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    print(f"\n{title}")
    for row in cells:
        padded = [
            row[0].ljust(widths[0]),
            *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)),
        ]
        print("  " + "   ".join(padded), flush=True)


def _text(value: object) -> str:
    return (
        f"{value:.3g}"
        if isinstance(value, float) and abs(value) < 100
        else f"{value:,.0f}"
        if isinstance(value, float)
        else str(value)
    )


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())
