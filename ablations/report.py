"""Every file that a study leaves, by its name: tables, sentences, figures and the page with all of it.

The same trial folders give the same bytes: no times but the day of its plan and, on the page and in files of their own,
what trials took; no paths of this run. A picture that cannot be drawn is left out.
"""

from collections.abc import Callable
from functools import partial

from ablations.comparison.pages import NAMES as COMPARED
from ablations.comparison.pages import comparison
from ablations.costs import NAMES as COSTS
from ablations.costs import costs_files, costs_view
from ablations.figures import cells_figure, effects_figure, labels_figure
from ablations.html import page
from ablations.luck import num_searches
from ablations.margin import MARGIN
from ablations.paper.beside import beside_paper
from ablations.paper.minutes import beside_minutes
from ablations.paper.pages import NAMES as PRINTED
from ablations.paper.pages import paper_files
from ablations.records import cells_csv, effects_csv, luck_csv, trials_csv
from ablations.sentences import sentences
from ablations.statistics import analyse
from ablations.study import Study
from ablations.tables import both_markdown, latex, markdown
from rambo.drawing import Drawn, drawn_of
from rambo.formats import text_bytes

SOMETIMES = frozenset((*COMPARED, *PRINTED, *COSTS, "both.md", "luck.csv"))
"""Files that only some studies have, pictures apart: a study that has become smaller leaves them behind."""


def render(
    study: Study, *, margin: float = MARGIN, reason: str | None = None, allow_mixed: bool = False
) -> dict[str, bytes]:
    """All files; raises `InvalidInput` for cells that cannot be compared, unless allowed (then they are marked).

    Test accuracy is the headline; effects on validation accuracy stand beside those in effects.csv and the page.
    `reason` is that of a margin which is not the plan's.
    """
    test = analyse(study, margin=margin, reason=reason, allow_mixed=allow_mixed)
    validation = analyse(study, "val_accuracy", margin=margin, reason=reason, allow_mixed=allow_mixed)
    pictures: dict[str, Callable[[], Drawn]] = {
        "figures/cells": partial(cells_figure, test),
        "figures/effects": partial(effects_figure, test),
        "figures/labels": partial(labels_figure, test),
    }
    compared = comparison(test)
    if compared is not None:
        pictures |= compared.pictures
    figures = drawn_of(pictures, f"python -m ablations report --study {study.name}, with the same --home,")
    fixed = None if study.fixed is None else analyse(study.fixed, margin=margin, allow_mixed=allow_mixed)
    both = {} if fixed is None else {"both.md": both_markdown(fixed, test)}
    if num_searches(study) > 1:
        both["luck.csv"] = luck_csv([test, validation])
    paper, costs = beside_paper(study) or beside_minutes(study), costs_view(study)
    return {
        **both,
        **({} if paper is None else paper_files(paper, test)),
        **({} if costs is None else costs_files(costs, study)),
        **({} if compared is None else compared.files),
        "table.md": markdown(test),
        "table.tex": latex(test),
        "table.csv": cells_csv(study),
        "effects.csv": effects_csv([test, validation]),
        "trials.csv": trials_csv(study),
        "sentences.txt": text_bytes("\n".join(sentences(test, validation)) + "\n"),
        **figures,
        "report.html": page(test, validation, figures, fixed, compared, paper, costs),
    }
