"""What a study prints at its end: a table of cells, one of effects, and a few sentences that conclude.

All there is to say, sentence by sentence, is in sentences.txt and report.html.
"""

from collections.abc import Sequence

from ablations.effects import Effect
from ablations.margin import share
from ablations.sentences import headline, interval, metric_text, missing_sentences
from ablations.statistics import Analysis, fewest_seeds
from ablations.tables import both_tables, cell_table
from rambo.console import Table
from rambo.formats import p_value, points

LEAVING = ("Eq. 4 %", "û pairs % (upper bound)", "saw S_val", "test %, S_val too", "validation %", "n")
"""Columns of cells in the order in which they are left out where there is not room for all."""

LEAVING_BOTH = ("found", "n", "retuned, with luck in tuning", "gain")
"""The same of cells that were retuned."""

GAIN, LOSS, NOTHING, OPEN = "shown gain", "shown loss", "as nothing", "remains open"
SMALL = {GAIN: "small gain", LOSS: "small loss"}
"""Shown to differ from nothing, and to be smaller than the margin."""

UNKNOWN, ALIKE = "few seeds", "all alike"

STYLES = {GAIN: "green", LOSS: "red", NOTHING: "yellow", OPEN: "dim", UNKNOWN: "dim", ALIKE: "dim"}

MOST_NAMED = 4
"""Effects that a sentence names; trials without a result that are told of one by one."""


def conclusion(analysis: Analysis, fixed: Analysis | None = None) -> list[Table | str]:
    """All of it; of a retuned study also what its cells have at the settings of the base, `fixed`."""
    both = [] if fixed is None else _both(fixed, analysis)
    return [*both, cells(analysis), effects(analysis), *analysis.marks, *_absent(analysis), *concluding(analysis)]


def cells(analysis: Analysis) -> Table:
    """A row a cell."""
    study = analysis.study
    table = cell_table(study)
    first = len(table.header) - sum(name in _MEASURED for name in table.header)
    names = [cell.name for cell in (*study.grid.studied, *study.grid.controls)]
    measured = [row[first:] for row in (*table.studied, *table.controls)]
    names += [row[0] for row in table.controls[len(study.grid.controls) :]]
    rows = [(name, *row) for name, row in zip(names, measured, strict=True)]
    return Table(("cell", *table.header[first:]), rows, leaving=LEAVING)


_MEASURED = {"n", "test %", *LEAVING}


def effects(analysis: Analysis) -> Table:
    """A row an effect, in points of the metric, and what is shown of it in two words."""
    header = ("effect", "points", "95 % interval", "p after Holm", "verdict")
    rows = [_row(effect) for effect in (*analysis.tested, *analysis.controls)]
    return Table(header, rows, leaving=("p after Holm", "95 % interval"), styles=STYLES, wide=("verdict",))


def verdict(effect: Effect) -> str:
    """What is shown of an effect, in two words."""
    if effect.estimate is None:
        return UNKNOWN
    if not effect.estimate.varies:
        return ALIKE
    if effect.is_significant:
        direction = GAIN if effect.estimate.mean > 0 else LOSS
        return SMALL[direction] if effect.is_equivalent else direction
    return NOTHING if effect.is_equivalent else OPEN


def concluding(analysis: Analysis) -> list[str]:
    """Two or three sentences: what is reached, what is shown, and what so many seeds cannot show."""
    tested = [*analysis.tested, *analysis.controls]
    shown = [f"{one.name} {points(one.estimate.mean)}" for one in tested if one.is_significant and one.estimate]
    alike = [one.name for one in tested if one.is_equivalent and not one.is_significant]
    metric, scale = metric_text(analysis.metric), f"{share(analysis.margin)} points"
    parts = [f"Shown to change {metric}: {_listed(shown)}" if shown else f"No effect on {metric} is shown"]
    parts += [f"shown to be within {scale} of nothing: {_listed(alike)}"] if alike else []
    rest = len(tested) - len(shown) - len(alike)
    if rest:
        it = "remains" if rest == 1 else "remain"
        parts.append(f"{'the other ' if shown or alike else 'all '}{rest} {it} open")
    return [headline(analysis), f"{'; '.join(parts)}.", *_too_few(analysis)] if tested else [headline(analysis)]


def _too_few(analysis: Analysis) -> list[str]:
    power = analysis.powers[-1]
    if power.can_reject:
        return []
    tests = f"{power.num_tests} test{'s' if power.num_tests > 1 else ''}"
    return [
        f"{power.num_seeds} seed{'s' if power.num_seeds != 1 else ''} cannot show any difference after Holm over "
        f"{tests}: that takes {fewest_seeds(power.num_tests)}."
    ]


def _absent(analysis: Analysis) -> list[str]:
    """What has no result and why, as far as a glance takes it in."""
    said = missing_sentences(analysis.study)
    rest = len(said) - MOST_NAMED
    return said if rest <= 0 else [*said[:MOST_NAMED], f"… and {rest} more such lines in sentences.txt."]


def _row(effect: Effect) -> tuple[str, ...]:
    found = effect.estimate
    if found is None:
        return (effect.name, "missing", "", "", verdict(effect))
    told = interval(effect) if found.varies else ""
    return (effect.name, points(found.mean), told, p_value(effect.p_holm), verdict(effect))


def _both(fixed: Analysis, retuned: Analysis) -> list[Table]:
    found, differences = both_tables(fixed, retuned)
    names = [cell.name for cell in retuned.study.grid.studied]
    first = found.header.index("n")
    rows = [(name, *row[first:]) for name, row in zip(names, found.studied, strict=True)]
    return [
        Table(("cell", *found.header[first:]), rows, leaving=LEAVING_BOTH, wide=("found",)),
        Table(differences.header, [*differences.studied, *differences.controls], wide=differences.header[1:]),
    ]


def _listed(names: Sequence[str]) -> str:
    rest = len(names) - MOST_NAMED
    return "; ".join(names) if rest <= 0 else f"{'; '.join(names[:MOST_NAMED])} and {rest} more"
