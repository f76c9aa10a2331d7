"""Every file of a comparison, by its name, and the pictures that stand with it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from ablations.comparison.aubc import aubc_view
from ablations.comparison.compared import BUDGET, Compared, compare
from ablations.comparison.curves import curves_view
from ablations.comparison.figures import curves_figure, penalties_figure, profiles_figure, ranks_figure
from ablations.comparison.penalties import penalties_view
from ablations.comparison.profiles import profiles_view
from ablations.comparison.ranks import ranks_view
from ablations.comparison.rivals import rivals_view
from ablations.comparison.views import View, caption
from ablations.sentences import provenance
from ablations.statistics import Analysis
from ablations.tables import markdown_table, one_a_line, tabular
from rambo.drawing import Drawn
from rambo.formats import csv_bytes

FOLDER = "comparison"
"""Of its tables, in that of the study."""

VIEWS = ("curves", "aubc", "rivals", "ranks", "penalties", "profiles")
"""Names of all views."""

NAMES = (f"{FOLDER}.md", *(f"{FOLDER}/{name}.{kind}" for name in VIEWS for kind in ("tex", "csv")))
"""Of all files but pictures that a comparison can have."""

FIGURES = {
    "figures/curves": "Test accuracy over the number of labels: means and 95 % t intervals over seeds.",
    "figures/ranks": "Mean ranks: 1 is the best.",
    "figures/penalties": "Who beats whom: in how many settings the row beats the column, those of a data set as one.",
    "figures/profiles": "Performance profile: how often a method is within τ times the errors of the best.",
}
"""Pictures, with their captions."""


@dataclass(frozen=True, eq=False)
class Comparison:
    """What there is to print."""

    compared: Compared
    caption: str
    views: tuple[View, ...]
    marks: tuple[str, ...]
    """What makes the study's cells hard to compare."""

    @property
    def pictures(self) -> dict[str, Callable[[], Drawn]]:
        """How each is drawn; curves where there are some."""
        drawn = {
            "figures/curves": curves_figure,
            "figures/ranks": ranks_figure,
            "figures/penalties": penalties_figure,
            "figures/profiles": profiles_figure,
        }
        return {
            name: partial(draw, self.compared)
            for name, draw in drawn.items()
            if name != "figures/curves" or self.compared.curves
        }

    @property
    def files(self) -> dict[str, bytes]:
        """`comparison.md` with all of it, and a LaTeX and a CSV table for each view."""
        return {
            f"{FOLDER}.md": self._markdown(),
            **{f"{FOLDER}/{view.name}.tex": self._latex(view) for view in self.views},
            **{f"{FOLDER}/{view.name}.csv": csv_bytes(view.numbers) for view in self.views},
        }

    def _markdown(self) -> bytes:
        lines = ["# Strategies compared", "", self.caption, *self.marks]
        for view in self.views:
            rows = [*view.table.studied, *view.table.controls]
            lines += ["", f"## {view.title}", "", *markdown_table(view.table.header, rows), "", view.note]
        return one_a_line([*lines, "", *provenance(self.compared.study)])

    def _latex(self, view: View) -> bytes:
        told: Sequence[str] = (view.title, view.note, self.caption, *self.marks, *provenance(self.compared.study))
        return one_a_line([*tabular(view.table), *(f"% {line}" for line in told)])


def comparison(analysis: Analysis) -> Comparison | None:
    """None for a study that compares no strategies."""
    compared = compare(analysis.study)
    if compared is None:
        return None
    over_labels = [curves_view(compared)] if compared.curves else []
    if compared.curves and compared.axis == BUDGET:
        over_labels.append(aubc_view(compared, analysis.margin))
    single = [ranks_view(compared), penalties_view(compared), profiles_view(compared)]
    views = (*over_labels, rivals_view(compared, analysis.margin), *single)
    return Comparison(compared, caption(compared), views, analysis.marks)
