"""What a search prints at its end: the best setting beside the base, what decides, and what that comes to."""

from collections.abc import Sequence

from rambo.console import Table
from rambo.fields import flatten
from rambo.formats import decimals, p_value
from tune.importances import importances
from tune.noise import noise_text
from tune.records import Attempt, SearchPlan
from tune.report import best_text, count_text

MATTERS, OPEN = "shown to matter", "remains open"

STYLES = {MATTERS: "green", OPEN: "dim"}


def conclusion(plan: SearchPlan, attempts: Sequence[Attempt]) -> list[Table | str]:
    """All of it; the Markdown of the search's page in MLflow says more."""
    best = plan.best(attempts)
    if best is None:
        return [f"{count_text(plan, attempts)} No trial is complete yet."]
    fronts = [_front(plan, attempts)] if "budget" in plan.objectives else []
    shares = importances(plan, attempts)
    return [
        _settings(plan, best, attempts),
        *fronts,
        *([_importances(plan, attempts)] if shares else []),
        count_text(plan, attempts),
        best_text(plan, best, attempts),
        noise_text(plan, attempts),
    ]


def _settings(plan: SearchPlan, best: Attempt, attempts: Sequence[Attempt]) -> Table:
    before = flatten(plan.base)
    rows = [
        (name, _short(before[name]), _short(best.fields[name]) if name in best.fields else "not read")
        for name in plan.space.dimensions
    ]
    base = next(
        (one for one in attempts if one.state == "COMPLETE" and plan.config(one.fields) == plan.config({})), None
    )
    for name in ("val_accuracy", "test_accuracy"):
        mine, its = (f"{100 * getattr(one, name):.2f}" if one else "not run" for one in (best, base))
        rows.append((f"{'validation' if name == 'val_accuracy' else 'test'} %", its, mine))
    return Table(("field", "base", f"best (trial {best.number})"), rows)


def _importances(plan: SearchPlan, attempts: Sequence[Attempt]) -> Table:
    rows = [
        (one.coordinate, decimals(one.share), decimals(one.null_high), p_value(one.p), MATTERS if one.exceeds else OPEN)
        for one in importances(plan, attempts)
    ]
    header = ("coordinate", "importance", "by chance, up to", "p", "verdict")
    return Table(header, rows, leaving=("by chance, up to", "p"), styles=STYLES, wide=("verdict",))


def _front(plan: SearchPlan, attempts: Sequence[Attempt]) -> Table:
    rows = [
        (
            f"trial {one.number}",
            str(plan.budget_of(one)),
            f"{100 * one.val_accuracy:.2f}",
            f"{100 * one.test_accuracy:.2f}",
        )
        for one in plan.front(attempts)
    ]
    return Table(("on the front", "B", "validation %", "test %"), rows)


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
