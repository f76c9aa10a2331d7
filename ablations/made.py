"""How a study was made, as its report says it: from the plan and the trial folders, so the same on every report."""

import shlex
from collections.abc import Mapping

from ablations.factors import Factor, level_text, switches, value_text
from ablations.margin import MARGIN, reason_for, share
from ablations.paper.recipes import RECIPES, Recipe
from ablations.statistics import seeds_text
from ablations.study import Study
from cluster.costs import duration
from rambo.config import Config
from rambo.fields import flatten, override
from rambo.presets import PRESETS, preset
from rambo.strategies.facts import CONTROLS

SIZES = {
    "data.num_seed_labels": "k, labels of the seed set",
    "acquisition.budget": "B, labels bought",
    "classifier.name": "Classifier",
}
"""Fields that every report names, in words."""


def made_lines(study: Study, margin: float = MARGIN, reason: str | None = None) -> list[str]:
    """Preset, k, B, classifier, command, machines and cost; the command judges by `margin`, as the report does."""
    name, changed = _preset(study)
    beside = f", with {', '.join(f'{field} = {text}' for field, text in changed.items())}" if changed else ""
    lines = [f"Preset: {name}{beside}."]
    lines += [f"{words}: {_levels(study, field)}." for field, words in SIZES.items()]
    lines.append(f"Command: {command(study, margin, reason)}")
    if study.effort is not None:
        effort = study.effort
        lines.append(f"Machine: {'; '.join(effort.machines) or 'unknown'}.")
        lines.append(
            f"Cost: {duration(effort.seconds)} of one process for {effort.num_trials} trials, and the "
            f"{effort.num_trainings} trainings that were measured in them; what was measured ahead of them for all "
            "is not counted here."
        )
    return lines


def command(study: Study, margin: float = MARGIN, reason: str | None = None) -> str:
    """One that makes this study, with the name of the data's file for its path; others may have made parts of it."""
    grid, fixed, chosen = study.grid, study.fixed, _recipe(study)
    if chosen is None:
        flag, usual, usually = "--preset", tuple(switches()), CONTROLS
        name, changed = _preset(study)
    else:  # which leaves what stands beside the paper as well
        flag, usual, usually = "--recipe", chosen.factors, chosen.controls
        name, changed = str(study.recipe), _changed(study, override(preset(chosen.preset), chosen.fields))
    words = ["python", "-m", "ablations", "run", flag, name]
    for field, text in changed.items():
        words += [f"--{field}", text]
    words += ["--seeds", seeds_text(grid.seeds).replace("–", "-").replace(", ", ",")]
    if grid.factors != usual:
        words += [word for factor in grid.factors for word in ("--factor", _factor(factor))]
    if grid.design != "factorial":
        words += ["--design", grid.design]
    controls = list(dict.fromkeys(str(cell.control) for cell in grid.controls))
    if controls != [control for control in usually if control not in grid.strategies]:
        words += ["--controls", ",".join(controls) or "none"]
    called = study.name if fixed is None else fixed.name
    words += ["--study", called] if called != name else []
    given = [] if reason in (None, reason_for(margin, None)) else ["--margin-reason", str(reason)]
    if margin != MARGIN or given:
        words += ["--margin", share(margin), *given]
    return shlex.join(words) + (" --retune …" if fixed is not None else "")


def _recipe(study: Study) -> Recipe | None:
    """That by which the study was run; None where it has none, is of another scale, or other factors stand first."""
    chosen = RECIPES.get(study.recipe or "") if study.scale == "full" else None
    if chosen is None:
        return None
    names, theirs = ([factor.name for factor in one.factors] for one in (study.grid, chosen))
    return chosen if names[: len(theirs)] == theirs else None


def _preset(study: Study) -> tuple[str, Mapping[str, str]]:
    """The preset that the base is nearest to, and the fields that differ from it, as flags take them."""
    changed = {name: _changed(study, preset(name)) for name in PRESETS}
    nearest = min(changed, key=lambda name: len(changed[name]))
    return nearest, changed[nearest]


def _changed(study: Study, usual: Config) -> Mapping[str, str]:
    """The fields of the base that differ from `usual`."""
    base, there, unseen = flatten(study.grid.base), flatten(usual), {"seed"}
    if study.grid.design == "factorial":  # the base's own level of a factor is in no cell
        unseen |= {factor.name for factor in study.grid.factors}
    changed = (field for field, value in base.items() if field not in unseen and there[field] != value)
    return {field: value_text(field, base[field]) for field in changed}


def _levels(study: Study, field: str) -> str:
    levels = next((factor.levels for factor in study.grid.factors if factor.name == field), None)
    return ", ".join(map(level_text, levels)) if levels else level_text(flatten(study.grid.base)[field])


def _factor(factor: Factor) -> str:
    if factor.is_switch:
        return factor.name
    return f"{factor.name}={','.join(value_text(factor.name, level) for level in factor.levels)}"
