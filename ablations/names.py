"""What a reader calls the cells of a study: by what makes each differ from the others, nothing else.

`Cell.name` says every level and is what files and MLflow know a cell by; these stand in figures and narrow columns.
"""

from collections.abc import Mapping, Sequence

from ablations.factors import Cell, Factor, Grid, label, level_text
from rambo.fields import Value


def short_names(grid: Grid) -> dict[str, str]:
    """The short name of every cell, and of each of its searches, by its full name; all different.

    Of the switches bilevel, OT and RankNet: `all on`, `no bilevel`, `RankNet only`, `all off`; one at a time: `base`,
    then what was changed; controls: `random`. Other levels follow: `no bilevel, B=500`.
    """
    base = grid.cells[0].levels if grid.design == "one-at-a-time" else None
    short = {variant.name: _short(variant, grid.factors, base) for variant in grid.variants}
    return short if len(set(short.values())) == len(short) else {name: name for name in short}


def _short(cell: Cell, factors: Sequence[Factor], base: tuple[tuple[str, Value], ...] | None) -> str:
    levels = dict(cell.levels)
    if cell.control is not None:
        parts = [cell.control, *map(_level, levels.items())]
    elif base is not None:
        parts = [_level(level) for level in cell.levels if level not in base]
    else:
        switches = {factor.name: bool(levels.pop(factor.name)) for factor in factors if factor.is_switch}
        parts = [_switches(switches), *map(_level, levels.items())]
    name = ", ".join(part for part in parts if part) or "base"
    return name if cell.search == 1 else f"{name}, search {cell.search}"


def _switches(switches: Mapping[str, bool]) -> str:
    """Which components are on, by the fewest words."""
    on = [label(name) for name, is_on in switches.items() if is_on]
    off = [label(name) for name, is_on in switches.items() if not is_on]
    if len(switches) < 2:
        return "".join(on) + "".join(f"no {name}" for name in off)
    if not on or not off:
        return "all off" if off else "all on"
    if len(on) == 1:
        return f"{on[0]} only"
    return f"no {off[0]}" if len(off) == 1 else " + ".join(on)


def _level(field_level: tuple[str, Value]) -> str:
    """A level in words; a strategy is called by its name alone."""
    field, level = field_level
    if isinstance(level, bool):
        return f"{label(field)} on" if level else f"no {label(field)}"
    return str(level) if field == "strategy" else f"{label(field)}={level_text(level)}"
