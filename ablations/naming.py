"""What cells are called where there is little room: by what differs between them."""

from ablations.effects import reference_cell
from ablations.factors import Cell, Grid, label, level_text
from rambo.fields import Value


def short_names(grid: Grid) -> dict[str, str]:
    """The short name of each variant by its full one: `full`, `no bilevel`, `RankNet only`, `none B=500`, `random`.

    A factorial of switches is named by what is on or off, other factors by their levels; of one factor at a time a cell
    is named by what it changes. Names of a study differ as the full ones do.
    """
    return {cell.name: _short(grid, cell) for cell in grid.variants}


def _short(grid: Grid, cell: Cell) -> str:
    if cell.control is not None or not cell.levels:
        return cell.name
    switches = {factor.name for factor in grid.factors if factor.is_switch}
    levels = list(cell.levels)
    if grid.design == "one-at-a-time":
        reference = dict(reference_cell(grid).levels)
        whole = "full" if len(switches) == len(grid.factors) and all(reference.values()) else "base"
        changed = [(name, level) for name, level in levels if level != reference[name]]
        parts = [_changed(name, level, name in switches) for name, level in changed] or [whole]
    else:
        on = {label(name): bool(level) for name, level in levels if name in switches}
        parts = [_switched(on)] if on else []
        parts += [f"{label(name)}={level_text(level)}" for name, level in levels if name not in switches]
    return " ".join([*parts, *([f"search={cell.search}"] if cell.search > 1 else [])])


def _changed(name: str, level: Value, is_switch: bool) -> str:
    if not is_switch:
        return f"{label(name)}={level_text(level)}"
    return f"with {label(name)}" if level else f"no {label(name)}"


def _switched(on: dict[str, bool]) -> str:
    """By the smaller number of words."""
    these, others = [name for name in on if on[name]], [name for name in on if not on[name]]
    if len(on) == 1:
        return these[0] if these else f"no {others[0]}"
    if not these or not others:
        return "full" if these else "none"
    if len(these) == 1:
        return f"{these[0]} only"
    return f"no {others[0]}" if len(others) == 1 else " + ".join(these)
