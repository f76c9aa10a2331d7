"""A study of the paper beside the paper's own numbers, where it prints them."""

from ablations.comparison.views import Numbers, View, digits
from ablations.factors import Cell, value_text
from ablations.paper.printed import Printed, printed_cells
from ablations.paper.recipes import DATA, Recipe, recipe
from ablations.sentences import mean_error
from ablations.statistics import Summary, summarise
from ablations.study import Study
from ablations.tables import Row, Table
from rambo.fields import flatten, override
from rambo.presets import preset

MARK = "*"
"""Beside a difference that exceeds both errors."""

METRIC = "val_accuracy"
"""§5.1: "the accuracy of the validation set as the key performance metric"."""

HEADER = ("cell", "paper %", "here, validation %", "here − paper", "n", "here, test %")

FIELDS = ("cell", "paper_mean", "paper_se", "val_mean", "val_se", "n", "difference", "exceeds_both_errors", "test_mean")


def beside_paper(study: Study) -> View | None:
    """A row for each cell that the paper prints; None for a study that it prints nothing of, or of another scale."""
    printed = {} if study.recipe is None or study.scale != "full" else printed_cells(study.recipe)
    pairs = [(cell, printed[cell.name]) for cell in study.grid.cells if cell.name in printed]
    if not pairs or study.recipe is None:
        return None
    rows, numbers = tuple(_row(study, *pair) for pair in pairs), tuple(_numbers(study, *pair) for pair in pairs)
    controls = sum(cell.control is not None for cell, _ in pairs)
    studied = len(rows) - controls
    table = Table(HEADER, rows[:studied], rows[studied:])
    found: Numbers = (FIELDS, *numbers)
    return View(
        "paper", f"Beside the paper's {_called(study.recipe)}", table, _note(study, recipe(study.recipe)), found
    )


def exceeds(ours: Summary, paper: Printed) -> bool | None:
    """Whether the means differ by more than both standard errors together; None where ours is not known.

    >>> exceeds(Summary(0.951, 0.001, 10), Printed(95.3, 0.2))
    False
    """
    if ours.mean is None or ours.se is None:
        return None
    return abs(100 * ours.mean - paper.mean) > 100 * ours.se + paper.error + 1e-9


def difference_text(ours: Summary, paper: Printed) -> str:
    """In points, marked where it exceeds both errors; empty where there is nothing here."""
    if ours.mean is None:
        return ""
    points = f"{100 * ours.mean - paper.mean:+.2f}".replace("-", "−")
    return f"{points}{MARK}" if exceeds(ours, paper) else points


def printed_text(paper: Printed) -> str:
    """As the paper has it."""
    return f"{paper.mean:.1f} ± {paper.error:.1f}"


def _row(study: Study, cell: Cell, paper: Printed) -> Row:
    ours, test = _summary(study, cell), _summary(study, cell, "test_accuracy")
    here, tested = (mean_error(one) if one.mean is not None else "" for one in (ours, test))
    return (cell.name, printed_text(paper), here, difference_text(ours, paper), str(ours.n), tested)


def _numbers(study: Study, cell: Cell, paper: Printed) -> tuple[object, ...]:
    ours, test = _summary(study, cell), _summary(study, cell, "test_accuracy")
    known = exceeds(ours, paper)
    difference = None if ours.mean is None else ours.mean - paper.mean / 100
    told = "" if known is None else int(known)
    printed = (digits(paper.mean / 100), digits(paper.error / 100))
    return (
        cell.name,
        *printed,
        digits(ours.mean),
        digits(ours.se),
        ours.n,
        digits(difference),
        told,
        digits(test.mean),
    )


def _summary(study: Study, cell: Cell, metric: str = METRIC) -> Summary:
    return summarise(list(study.accuracies(cell, metric).values()))


def _called(name: str) -> str:
    return name.replace("table", "Table ")


def _note(study: Study, chosen: Recipe) -> str:
    said = (
        f"The paper's numbers are of {DATA[chosen.data]}, accuracy on S_val, mean ± standard error over ten trials. "
        f"Differences are in points; {MARK}: larger than both standard errors together, which chance alone gives "
        "about one of six where nothing differs and the errors are alike."
    )
    changed = _changed(study, chosen)
    return f"{said} Here, unlike in the recipe: {', '.join(changed)}." if changed else said


def _changed(study: Study, chosen: Recipe) -> list[str]:
    """Fields whose value is another than the recipe's, and where the data are from."""
    there = flatten(override(preset(chosen.preset), chosen.fields))
    varied = {"seed", *(factor.name for factor in study.grid.factors)}
    here = {name: value for name, value in flatten(study.grid.base).items() if name not in varied}
    changed = {name: value_text(name, value) for name, value in here.items() if value != there[name]}
    if "data.source" in changed:
        changed["data.source"] = ", ".join(sorted({one.data for one in study.outcomes.values()}))
    return [f"{name} = {text}" for name, text in changed.items() if text]
