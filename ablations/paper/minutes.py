"""What each strategy takes, stage by stage, beside the minutes that B.7 prints."""

from ablations.comparison.views import Numbers, View, digits
from ablations.costs import cost, machines
from ablations.paper.printed import MINUTES, NEGLIGIBLE
from ablations.statistics import summarise
from ablations.study import Outcome, Study
from ablations.tables import Table

STAGES = ("offline", "pretraining", "acquisition")
"""B.7: collecting the offline pairs, the pretraining stage, and the acquisition."""

HEADER = ("cell", *STAGES, "of it picking", "paper", "n")

FIELDS = ("cell", *(f"{stage}_minutes" for stage in (*STAGES, "picking")), *(f"paper_{stage}" for stage in STAGES), "n")


def beside_minutes(study: Study) -> View | None:
    """A row for each cell with minutes of one process, means over seeds; None for a study that is none of B.7's."""
    recipe = study.recipe or ""
    if recipe not in MINUTES:
        return None
    rows, numbers = [], []
    for cell in study.grid.cells:
        outcomes = [one for seed in study.grid.seeds for one in study.outcomes_of(cell, seed)]
        took = [told for one in outcomes if (told := minutes(one)) is not None]
        here = {stage: summarise([one[stage] for one in took]).mean for stage in (*STAGES, "picking")}
        name = study.grid.config(cell, study.grid.seeds[0]).strategy
        theirs, paper = MINUTES[recipe].get(name, ()), _printed(recipe, name)
        rows.append((cell.name, *("" if one is None else f"{one:.2f}" for one in here.values()), paper, str(len(took))))
        numbers.append((cell.name, *map(digits, here.values()), *(theirs or ("", "", "")), len(took)))
    found: Numbers = (FIELDS, *numbers)
    return View("minutes", "Minutes beside the paper's (B.7)", Table(HEADER, tuple(rows), ()), _note(study), found)


def minutes(outcome: Outcome) -> dict[str, float] | None:
    """Of one trial by stage, and of the picking alone, where its result tells; whichever run measured what it took.

    The pretraining is f on S_0 and, of RAMBO and DULO, the growing sets, the audited pairs and the fits of û; the
    acquisition is the picking and f on S_1. Pairs that only judge û are left out.
    """
    took = cost(outcome)
    if took is None:
        return None
    seconds = {
        "offline": took.offline,
        "pretraining": took.scorer + took.growing + took.fits,
        "acquisition": took.picking + took.final,
        "picking": took.picking,
    }
    return {stage: each / 60 for stage, each in seconds.items()}


def _printed(recipe: str, strategy: str) -> str:
    """As the paper has it; empty where it gives no time."""
    if strategy in NEGLIGIBLE.get(recipe, ()):
        return "negligible"
    return " + ".join(f"{each:g}" for each in MINUTES[recipe].get(strategy, ()))


def _note(study: Study) -> str:
    scale = "" if study.scale == "full" else f" Here it is the study at {study.scale} scale, so compare strategies."
    return (
        f"Minutes of one process{machines(study)}, means over seeds: offline, the pairs that û "
        "begins with; pretraining, f on S_0, and for û its growing sets, audited pairs and fits; acquisition, the "
        "picking and f on S_1. What a strategy trains while it picks counts as picking, but not where the store had "
        "it. The paper's, two A40: offline + pretraining + acquisition; empty where B.7 gives none."
        f"{scale}"
    )
