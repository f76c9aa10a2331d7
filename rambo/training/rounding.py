"""What decides how a training's sums are rounded: two machines that agree in it train the same f to the bit."""

import platform
from contextlib import suppress
from functools import cache
from importlib.metadata import version
from pathlib import Path

import torch


def rounding(device: torch.device) -> str | None:
    """PyTorch's version, the CPU's instructions and its name; None of a GPU, whose stacks round by what they hold."""
    if device.type != "cpu":
        return None
    return f"torch {version('torch')}, {torch.backends.cpu.get_cpu_capability()}, {_processor()}"


@cache
def _processor() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
