"""The files of what stands beside the paper: Markdown to read, LaTeX to print, CSV to reckon with."""

from ablations.comparison.views import View
from ablations.sentences import provenance
from ablations.statistics import Analysis
from ablations.tables import markdown_table, one_a_line, tabular
from rambo.formats import csv_bytes

NAMES = ("paper.md", *(f"paper/{name}.{kind}" for name in ("paper", "minutes") for kind in ("tex", "csv")))
"""Of all files that stand beside the paper."""


def paper_files(view: View, analysis: Analysis) -> dict[str, bytes]:
    """`paper.md`, and `paper/` with the LaTeX and the CSV of it; marked as the study's other tables are."""
    rows, told = [*view.table.studied, *view.table.controls], [*analysis.marks, *provenance(analysis.study)]
    lines = [f"# {view.title}", "", *markdown_table(view.table.header, rows), "", view.note, *told]
    return {
        "paper.md": one_a_line(lines),
        f"paper/{view.name}.tex": one_a_line([*tabular(view.table), *(f"% {line}" for line in (view.note, *told))]),
        f"paper/{view.name}.csv": csv_bytes(view.numbers),
    }
