"""Whether the settings of a search differ more than noise: seeds and trainings make any two of them differ."""

from collections.abc import Sequence

import numpy as np

from rambo.anova import Layout, layout
from rambo.formats import decimals, relation
from rambo.inference import ALPHA
from tune.records import Attempt, SearchPlan, settings_of


def settings_layout(plan: SearchPlan, attempts: Sequence[Attempt]) -> Layout | None:
    """Validation accuracies of the settings that ran all seeds, settings × seeds; None where nothing can be tested.

    Seeds are blocks, since all settings run the same ones. Whatever a sampler goes by, accuracies of equal settings are
    noise alone. Halving leaves settings that were good at the first seeds; where none is better, their first and second
    accuracies then move against each other, and F comes out too small rather than too large (simulated size .02).
    """
    complete = [one for one in settings_of(attempts) if one.state == "COMPLETE"]
    if not complete:
        return None
    return layout(np.array([[outcome.val_accuracy for outcome in one.outcomes] for one in complete]))


def noise_text(plan: SearchPlan, attempts: Sequence[Attempt]) -> str:
    """The F test of the settings in words, of what it is, and what it leaves out."""
    settings, found = settings_of(attempts), settings_layout(plan, attempts)
    complete = sum(one.state == "COMPLETE" for one in settings)
    stopped = len(settings) - complete
    if found is None:
        return f"Whether settings differ more than noise cannot be tested: {_why_not(plan, complete)}."
    verb = "differ" if found.p < ALPHA else "are not shown to differ"
    f = f"F({found.df_rows}, {found.df_residual}) = {decimals(found.f)}, p {relation(found.p)}"
    said = [
        f"Settings {verb} more than seeds and trainings make them differ: {f}.",
        f"That is of the {complete} that ran all of {len(plan.seeds)} seeds"
        f"{f'; {stopped} that were stopped, being worse at the first, are left out' if stopped else ''}.",
    ]
    if found.p >= ALPHA:
        said.append(
            "With 80 % power it finds a standard deviation between settings of "
            f"{decimals(100 * found.detectable_sd())} points."
        )
    return " ".join(said)


def _why_not(plan: SearchPlan, complete: int) -> str:
    if len(plan.seeds) < 2:
        return "it takes two seeds"
    if complete < 2:
        return f"it takes two settings that ran all seeds, and there {'is one' if complete else 'are none'}"
    return "accuracies do not vary beside what settings and seeds make of them"
