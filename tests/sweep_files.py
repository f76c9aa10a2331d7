"""The text of sweeps' files."""

from tiny_experiment import TINY


def toml(value: object) -> str:
    if isinstance(value, dict):
        return "\n".join(f'"{name}" = {toml(item)}' for name, item in value.items())
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(toml, value))}]"
    return str(value).lower() if isinstance(value, bool) else f'"{value}"' if isinstance(value, str) else str(value)


def study_text(name, *, seeds="0-1", priority=0, fields=None, **grid):
    levels = {"strategy": ["random", "margin"], **{key.replace("__", "."): value for key, value in grid.items()}}
    lines = [f'name = "{name}"', 'preset = "quickstart"', f"priority = {priority}", f'seeds = "{seeds}"']
    same = toml({**TINY, **(fields or {})})
    varied = toml({key: value for key, value in levels.items() if value})
    return "\n".join(["[[study]]", *lines, "controls = []", "[study.fields]", same, "[study.grid]", varied])
