"""How a study was made, as its report says it: from the plan and the trial folders, so the same on every report."""

import shlex
from collections.abc import Mapping

from ablations.factors import Factor, level_text, switches
from ablations.statistics import seeds_text
from ablations.study import Study
from cluster.costs import duration
from rambo.fields import Value, flatten
from rambo.presets import PRESETS, preset
from rambo.strategies.facts import CONTROLS

SIZES = {
    "data.num_seed_labels": "k, labels of the seed set",
    "acquisition.budget": "B, labels bought",
    "classifier.name": "Classifier",
}
"""Fields that every report names, in words."""


def made_lines(study: Study) -> list[str]:
    """Preset, k, B, classifier, command, machines and cost."""
    name, changed = _preset(study)
    beside = f", with {', '.join(f'{field} = {text}' for field, text in changed.items())}" if changed else ""
    lines = [f"Preset: {name}{beside}."]
    lines += [f"{words}: {_levels(study, field)}." for field, words in SIZES.items()]
    lines.append(f"Command: {command(study)}")
    if study.effort is not None:
        effort = study.effort
        lines.append(f"Machine: {'; '.join(effort.machines) or 'unknown'}.")
        lines.append(
            f"Cost: {duration(effort.seconds)} of one process for {effort.num_trials} trials, and the "
            f"{effort.num_trainings} trainings that were measured in them; what was measured ahead of them for all "
            "is not counted here."
        )
    return lines


def command(study: Study) -> str:
    """One that makes this study, with the name of the data's file for its path; others may have made parts of it."""
    grid, fixed = study.grid, study.fixed
    name, changed = _preset(study)
    words = ["python", "-m", "ablations", "run", "--preset", name]
    for field, text in changed.items():
        words += [f"--{field}", text]
    words += ["--seeds", seeds_text(grid.seeds).replace("–", "-").replace(", ", ",")]
    if grid.factors != tuple(switches()):
        words += [word for factor in grid.factors for word in ("--factor", _factor(factor))]
    if grid.design != "factorial":
        words += ["--design", grid.design]
    controls = list(dict.fromkeys(str(cell.control) for cell in grid.controls))
    if controls != [control for control in CONTROLS if control not in grid.strategies]:
        words += ["--controls", ",".join(controls) or "none"]
    called = study.name if fixed is None else fixed.name
    words += ["--study", called] if called != name else []
    return shlex.join(words) + (" --retune …" if fixed is not None else "")


def _preset(study: Study) -> tuple[str, Mapping[str, str]]:
    """The preset that the base is nearest to, and the fields that differ from it, as flags take them."""
    base = {name: value for name, value in flatten(study.grid.base).items() if name != "seed"}
    if study.grid.design == "factorial":  # the base's own level of a factor is in no cell
        base = {name: value for name, value in base.items() if name not in {one.name for one in study.grid.factors}}
    changed = {}
    for name in PRESETS:
        there = flatten(preset(name))
        changed[name] = {field: _text(field, value) for field, value in base.items() if there[field] != value}
    nearest = min(changed, key=lambda name: len(changed[name]))
    return nearest, changed[nearest]


def _text(field: str, value: Value) -> str:
    """A file by its name alone: where it lay is no matter of the study."""
    kind, colon, path = str(value).partition(":")
    if field == "data.source" and colon:
        return f"{kind}:{path.rstrip('/').rpartition('/')[2]}"
    return level_text(value)


def _levels(study: Study, field: str) -> str:
    levels = next((factor.levels for factor in study.grid.factors if factor.name == field), None)
    return ", ".join(map(level_text, levels)) if levels else level_text(flatten(study.grid.base)[field])


def _factor(factor: Factor) -> str:
    return factor.name if factor.is_switch else f"{factor.name}={','.join(map(level_text, factor.levels))}"
