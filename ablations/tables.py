"""The table over cells, laid out as the paper's Table 1: components off and on, then accuracy; controls below a line.

Markdown to read, LaTeX to print. Both end in where the numbers come from.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ablations.effects import Effect
from ablations.factors import Cell, Factor, label, level_text
from ablations.images import level_error
from ablations.luck import given, luck_of, num_searches, widened_cell, widened_effects, widened_text
from ablations.sentences import interval, mean_error, provenance
from ablations.statistics import Analysis, Summary, summarise
from ablations.study import Outcome, Study
from rambo.ceiling import Ceiling
from rambo.formats import p_value, points, text_bytes
from rambo.strategies.facts import FACTS

MEASURED = ("n", "test %", "test %, S_val too", "validation %", "û pairs % (upper bound)", "Eq. 4 %", "saw S_val")
"""Columns after the factors: seeds; accuracies, one of f trained on S_val as well; how often û and Eq. 4 order held-out
pairs as training does; whether labels of S_val entered the choice. Of those between, the ones that say nothing of any
cell are left out."""

_ALWAYS = {"n", "test %", "validation %", "saw S_val"}

_METRICS = ("test_accuracy", "val_accuracy", "pair_accuracy", "label_agreement", "test_accuracy_all")

CAPTION = "Mean ± standard error over seeds, on the same test images, of the accuracy after the acquisition."

BOUND = (
    "The upper bound of û pairs is how often the true order could agree with single trainings at most, by how often "
    "two trainings agree, pooled over seeds; with its 95 % interval."
)

CLIPPED = (
    "It is too high here: these records hold each trial's own bound, cut off at 50 %, in place of how often trainings "
    "agreed."
)

CROSSED = f"{CAPTION} In brackets, the standard error for other test images too."
"""The caption where trials tell which test images they got right."""

SAW = "✓ under “saw S_val”: labels of S_val entered the choice; of every row, f itself is trained without them."

TOGETHER = (
    "Under “test %, S_val too” the same f is trained on S_1 ∪ S_val, as somebody would who owns these labels; “nothing "
    "bought” is f on S_0, and on S_0 ∪ S_val."
)

BOTH_CAPTION = (
    "Gain: retuned − fixed, seed by seed. Settings were searched for each cell alone, on other seeds, by "
    "validation accuracy; a control takes those of the cell that it is compared with."
)

WITH_LUCK = "Retuned is the mean over searches; with luck in tuning, errors and intervals hold for other searches too."

Row = tuple[str, ...]

_TEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": "$<$",
    "≤": r"$\leq$",
    ">": "$>$",
    "|": r"\textbar{}",
    "û": r"$\hat{u}$",
    "λ": r"$\lambda$",
    "±": r"$\pm$",
    "×": r"$\times$",
    "✓": r"\checkmark",
    "−": "$-$",
    "–": "--",
}


@dataclass(frozen=True)
class Table:
    """Text by row and column."""

    header: Row
    studied: tuple[Row, ...]
    controls: tuple[Row, ...]


def cell_table(study: Study) -> Table:
    """One row a cell: strategy, level of each factor, results."""
    factors = _columns(study)
    header = ("strategy", *(factor.label for factor in factors), *MEASURED)
    studied, controls = (
        tuple(_row(study, cell, factors) for cell in cells) for cells in (study.grid.studied, study.grid.controls)
    )
    nothing = _nothing_bought(study, len(factors))
    return _without_empty(Table(header, studied, (*controls, *nothing)))


def effect_table(analysis: Analysis) -> Table:
    """Contrasts or levels, Shapley values, then comparisons with controls, in points."""
    header = ("effect", "points", "95 % interval", "sign-flip p", "after Holm", "TOST p", "after Holm", "n")
    factors = tuple(map(_effect_row, (*analysis.tested, *analysis.shapley)))
    return Table(header, factors, tuple(map(_effect_row, analysis.controls)))


def markdown(analysis: Analysis) -> bytes:
    """`table.md`."""
    table = cell_table(analysis.study)
    lines = markdown_table(table.header, [*table.studied, *table.controls])
    return one_a_line([*lines, "", caption(analysis.study), *analysis.marks, *provenance(analysis.study)])


def caption(study: Study) -> str:
    """What the columns of a cell table are, and what they are given."""
    known = any(level_error(study, cell) is not None for cell in study.grid.cells)
    accuracies = CROSSED if known else f"{CAPTION} What other images would add is not known from these records."
    told = given(study)
    conditions = [f"All {told}."] if told else []
    ceilings = [ceiling for cell in study.grid.cells if (ceiling := study.ceiling(cell)) is not None]
    notes = {
        SAW: any(study.saw_validation(cell) is not None for cell in study.grid.cells),
        TOGETHER: any(one.test_accuracy_all is not None for one in study.outcomes.values()),
        BOUND: bool(ceilings),
        CLIPPED: any(ceiling.is_clipped for ceiling in ceilings),
    }
    return " ".join([accuracies, *conditions, *(note for note, holds in notes.items() if holds)])


def both_caption(study: Study) -> str:
    """The same of the retuned `study` beside the one at fixed settings."""
    several = [WITH_LUCK] if num_searches(study) > 1 else []
    return " ".join([caption(study), BOTH_CAPTION, *several])


def both_tables(fixed: Analysis, retuned: Analysis) -> tuple[Table, Table]:
    """Each cell and each effect at the settings of the base, and at those found for the cell alone.

    A component is switched off at settings that were chosen with it on; what it loses there it may regain once the rest
    is tuned without it.
    """
    factors = _columns(retuned.study)
    header = (
        "strategy",
        *(factor.label for factor in factors),
        "n",
        "fixed, test %",
        "retuned, test %",
        "gain",
        "found",
    )
    rows = tuple(_row_of_both(fixed.study, retuned.study, cell, factors) for cell in retuned.study.grid.studied)
    before = {effect.name: effect for effect in (*fixed.tested, *fixed.controls)}
    effects, controls = (
        tuple((effect.name, _estimated(before.get(effect.name)), _estimated(effect)) for effect in found)
        for found in (retuned.tested, retuned.controls)
    )
    after = "points [95 % interval], sign-flip p after Holm"
    both = Table(header, rows, ()), Table(("effect", f"fixed: {after}", f"retuned: {after}"), effects, controls)
    return both if num_searches(retuned.study) == 1 else _with_luck(*both, retuned)


def both_markdown(fixed: Analysis, retuned: Analysis) -> bytes:
    """`both.md`."""
    cells, effects = both_tables(fixed, retuned)
    lines = [
        *markdown_table(cells.header, cells.studied),
        "",
        both_caption(retuned.study),
        "",
        *markdown_table(effects.header, [*effects.studied, *effects.controls]),
        "",
        *(f"Fixed: {mark}" for mark in fixed.marks),
        *(f"Retuned: {mark}" for mark in retuned.marks),
    ]
    return one_a_line(lines)


def latex(analysis: Analysis) -> bytes:
    r"""`table.tex`: a tabular for \input; needs booktabs and amssymb."""
    comments = [f"% {line}" for line in (caption(analysis.study), *analysis.marks, *provenance(analysis.study))]
    return one_a_line([*tabular(cell_table(analysis.study)), *comments])


def tabular(table: Table) -> list[str]:
    """The lines of a tabular, controls below a line of their own."""
    lines = [r"% \usepackage{booktabs,amssymb}", rf"\begin{{tabular}}{{l{'c' * (len(table.header) - 1)}}}", r"\toprule"]
    lines += [_tex_row(table.header), r"\midrule", *map(_tex_row, table.studied)]
    if table.controls:
        lines += [r"\midrule", *map(_tex_row, table.controls)]
    return [*lines, r"\bottomrule", r"\end{tabular}"]


def tex(text: str) -> str:
    r"""`text` with everything escaped that LaTeX would read as a command, and our symbols as its.

    >>> tex("λ_OT 50 %")
    '$\\lambda_{\\mathrm{OT}}$ 50 \\%'
    """
    parts = re.split(r"(λ_?\w+)", text)
    return "".join(_subscript(part) if part.startswith("λ") and len(part) > 1 else _escape(part) for part in parts)


def strategy(study: Study, cell: Cell) -> str:
    """Whose results a cell holds."""
    return str(cell.control or cell.level("strategy") or study.grid.base.strategy)


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a table whose first column is on the left."""
    aligned = ["---" if column == 0 else ":---:" for column in range(len(header))]
    return ["| " + " | ".join(text.replace("|", "\\|") for text in row) + " |" for row in (header, aligned, *rows)]


def _row_of_both(fixed: Study, retuned: Study, cell: Cell, factors: Sequence[Factor]) -> Row:
    before, after = fixed.accuracies(cell.variants[0]), retuned.accuracies(cell)
    gains = summarise([round(after[seed] - before[seed], 12) + 0.0 for seed in after if seed in before])
    found = "; ".join(_found(variant) for variant in cell.variants)
    return (
        strategy(retuned, cell),
        *(_level_mark(cell, factor) for factor in factors),
        str(gains.n),
        *(mean_error(summarise(list(values.values()))) or "missing" for values in (before, after)),
        _gain(gains),
        found,
    )


def _gain(gains: Summary) -> str:
    """Without an error where all seeds agree, as they do if the search has found the base."""
    if gains.mean is None or gains.se is None or gains.se > 1e-12:
        return mean_error(gains, signed=True)
    return f"{points(gains.mean)} on every seed"


def _found(cell: Cell) -> str:
    return ", ".join(f"{label(name)}={_short(value)}" for name, value in cell.tuned) or "(the base)"


def _with_luck(cells: Table, effects: Table, retuned: Analysis) -> tuple[Table, Table]:
    """Both with a column for other searches; `none` where that cannot be told."""
    study, metric = retuned.study, retuned.metric
    luck = luck_of(study, metric)
    own = [None if luck is None else widened_cell(study, cell, metric, luck) for cell in study.grid.studied]
    families = [] if luck is None else [widened_effects(found, luck) for found in (retuned.tested, retuned.controls)]
    told = {effect.name: widened_text(one, p) for family in families for effect, one, p in family}
    errors = ["none" if one is None else f"± {100 * one.se:.2f}" for one in own]
    tested, controls = ([told.get(row[0], "none") for row in rows] for rows in (effects.studied, effects.controls))
    after = "points [95 % t interval], p after Holm"
    return (
        _with_column(cells, "retuned, with luck in tuning", (errors, [])),
        _with_column(effects, f"retuned, with luck in tuning: {after}", (tested, controls)),
    )


def _with_column(table: Table, name: str, texts: tuple[Sequence[str], Sequence[str]]) -> Table:
    studied, controls = (
        tuple((*row, text) for row, text in zip(rows, own, strict=True))
        for rows, own in zip((table.studied, table.controls), texts, strict=True)
    )
    return Table((*table.header, name), studied, controls)


def _short(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _estimated(effect: Effect | None) -> str:
    if effect is None or effect.estimate is None:
        return "missing"
    return f"{points(effect.estimate.mean)} [{interval(effect)}], {p_value(effect.p_holm)}"


def _columns(study: Study) -> list[Factor]:
    """The factors with a column of their own."""
    return [factor for factor in study.grid.factors if factor.name != "strategy"]


def _row(study: Study, cell: Cell, factors: Sequence[Factor]) -> Row:
    marks = (_level_mark(cell, factor) for factor in factors)
    name = strategy(study, cell)
    shown = f"{name} (study only)" if name in FACTS and FACTS[name].for_study else name
    return (shown, *marks, *_measured(study, cell))


def _nothing_bought(study: Study, num_factors: int) -> list[Row]:
    """f trained on S_0, and on S_0 and S_val: what there is before a label is bought; none where cells differ in it."""
    if any(factor.name.startswith(("data.", "classifier.", "training.")) for factor in study.grid.factors):
        return []
    found: dict[int, Outcome] = {}
    for (_, seed), outcome in study.outcomes.items():
        if outcome.base_test_accuracy_all is not None:
            found.setdefault(seed, outcome)
    if not found:
        return []
    test, together, validation = (
        mean_error(summarise([getattr(one, name) for one in found.values()]))
        for name in ("base_test_accuracy", "base_test_accuracy_all", "base_val_accuracy")
    )
    return [("nothing bought", *["–"] * num_factors, str(len(found)), test, together, validation, "", "", "–")]


def _without_empty(table: Table) -> Table:
    """The table without the columns that hold nothing and need not stand there."""
    rows = (*table.studied, *table.controls)
    kept = [
        place
        for place, name in enumerate(table.header)
        if name not in MEASURED or name in _ALWAYS or any(row[place] for row in rows)
    ]

    def cut(row: Row) -> Row:
        return tuple(row[place] for place in kept)

    return Table(cut(table.header), tuple(map(cut, table.studied)), tuple(map(cut, table.controls)))


def _level_mark(cell: Cell, factor: Factor) -> str:
    level = cell.level(factor.name)
    if level is None:
        return "–"
    return {True: "✓", False: "×"}[bool(level)] if factor.is_switch else level_text(level)


def _measured(study: Study, cell: Cell) -> Iterator[str]:
    found = {name: summarise(list(study.accuracies(cell, name).values())) for name in _METRICS}
    planned, n = len(study.grid.seeds), found["test_accuracy"].n
    yield str(n) if n == planned else f"{n} of {planned}"
    crossed = level_error(study, cell)
    with_images = "" if crossed is None else f" ({100 * crossed.se:.2f})"
    yield f"{mean_error(found['test_accuracy'])}{with_images}" or "missing"
    yield mean_error(found["test_accuracy_all"])
    yield mean_error(found["val_accuracy"]) or "missing"
    yield mean_error(found["pair_accuracy"]) + _at_most(study.ceiling(cell))
    yield mean_error(found["label_agreement"])
    yield {True: "✓", False: "–", None: ""}[study.saw_validation(cell)]


def _at_most(ceiling: Ceiling | None) -> str:
    """` (≤ 69.8 [50, 79])`; nothing without û."""
    if ceiling is None:
        return ""
    if ceiling.low is None or ceiling.high is None:
        return f" (≤ {100 * ceiling.bound:.1f})"
    return f" (≤ {100 * ceiling.bound:.1f} [{100 * ceiling.low:.0f}, {100 * ceiling.high:.0f}])"


def _effect_row(effect: Effect) -> Row:
    found, name = effect.estimate, effect.name if effect.kind != "Shapley value" else f"{effect.name} (Shapley value)"
    if found is None:
        return (name, "missing", *[""] * 5, str(len(effect.seeds)))
    spread = f"{points(found.mean)} ± {100 * found.se:.2f}" if found.varies else f"{points(found.mean)} on every seed"
    absence = (p_value(found.p_tost), p_value(effect.p_tost_holm)) if found.varies else ("cannot be told", "")
    tests = (p_value(found.p), p_value(effect.p_holm), *absence)
    return (name, spread, interval(effect), *(tests if effect.num_tests else [""] * 4), str(found.n))


def _tex_row(row: Row) -> str:
    return " & ".join(map(tex, row)) + r" \\"


def _subscript(symbol: str) -> str:
    below = symbol.removeprefix("λ").removeprefix("_")
    inside = below if below.isdigit() else rf"\mathrm{{{_escape(below)}}}"
    return rf"$\lambda_{{{inside}}}$"


def _escape(text: str) -> str:
    return "".join(_TEX.get(character, character) for character in text)


def one_a_line(lines: Sequence[str]) -> bytes:
    """A file of `lines`, each on one, whatever names hold."""
    return text_bytes("\n".join(" ".join(line.splitlines()) for line in lines) + "\n")
