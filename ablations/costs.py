"""What a trial of each cell takes, stage by stage, in seconds of one process.

Times differ between two runs of one trial, so they have files of their own and stand in no other table.
"""

from dataclasses import asdict, dataclass

from ablations.comparison.views import Numbers, View, digits
from ablations.sentences import provenance
from ablations.statistics import summarise
from ablations.study import Outcome, Study
from ablations.tables import Table, markdown_table, one_a_line
from rambo.formats import csv_bytes

NAMES = ("costs.md", "costs.csv")

HEADER = ("cell", "f(S_0)", "utility samples", "fits of û", "picking", "f(S_1)", "together", "n")

FIELDS = ("cell", "scorer", "samples", "fits", "picking", "final", "together", "n")


@dataclass(frozen=True)
class Cost:
    """Seconds of one process, whichever run took them."""

    scorer: float
    """One training of f on S_0."""
    offline: float
    """The pairs that û begins with."""
    growing: float
    """Its growing sets and audited pairs; pairs that only judge it are left out."""
    fits: float
    picking: float
    """With what the strategy trains for it, unless the store had that."""
    final: float
    """One training of f on S_1."""

    @property
    def together(self) -> float:
        """All of it: what a user of the method pays."""
        return sum(asdict(self).values())


def cost(outcome: Outcome) -> Cost | None:
    """Of one trial; None where its result is older than what tells."""
    trained, stages = outcome.training_seconds or {}, outcome.seconds or {}
    if not {"f on S_0", "f on S_1"} <= trained.keys() or "acquisition" not in stages:
        return None
    return Cost(
        scorer=trained["f on S_0"],
        offline=trained.get("offline pairs", 0.0),
        growing=sum(trained.get(stage, 0.0) for stage in ("growing sets", "audited pairs")),
        fits=outcome.utility_seconds or 0.0,
        picking=stages["acquisition"],
        final=trained["f on S_1"],
    )


def costs_view(study: Study) -> View | None:
    """A row for each cell, means over the seeds that tell; None where none does."""
    rows, numbers = [], []
    for cell in study.grid.cells:
        outcomes = [one for seed in study.grid.seeds for one in study.outcomes_of(cell, seed)]
        found = [told for one in outcomes if (told := cost(one)) is not None]
        columns = [
            [one.scorer for one in found],
            [one.offline + one.growing for one in found],
            [one.fits for one in found],
            [one.picking for one in found],
            [one.final for one in found],
            [one.together for one in found],
        ]
        means = [summarise(column).mean for column in columns]
        rows.append((cell.name, *("" if one is None else f"{one:.1f}" for one in means), str(len(found))))
        numbers.append((cell.name, *map(digits, means), len(found)))
    if not any(row[-1] != "0" for row in rows):
        return None
    table: Numbers = (FIELDS, *numbers)
    return View("costs", "What a trial takes, in core-seconds", Table(HEADER, tuple(rows), ()), _note(study), table)


def costs_files(view: View, study: Study) -> dict[str, bytes]:
    """Markdown to read and CSV to reckon with."""
    lines = [f"# {view.title}", "", *markdown_table(view.table.header, view.table.studied), "", view.note]
    return {"costs.md": one_a_line([*lines, *provenance(study)]), "costs.csv": csv_bytes(view.numbers)}


def machines(study: Study) -> str:
    """In brackets; empty where nothing tells."""
    found = "" if study.effort is None else "; ".join(study.effort.machines)
    return f" ({found})" if found else ""


def _note(study: Study) -> str:
    return (
        f"Seconds of one process{machines(study)}, means over n seeds, by whichever run took them: one training on "
        "S_0, the utility samples that û learns from (those that only judge it are left out), its fits, the picking, "
        "and one training on S_1. What a strategy trains while it picks is in the picking, unless the store had it. "
        "Trials share samples and fits through the store, so a study takes less than their sum."
    )
