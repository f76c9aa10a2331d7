"""What a study shows, in sentences that a paper could print; the same text for the same study."""

from collections.abc import Sequence

from ablations.effects import Effect, reference_cell
from ablations.factors import Cell
from ablations.images import level_error
from ablations.luck import given, luck_sentences
from ablations.margin import margin_text, share
from ablations.statistics import Analysis, Summary, finished, power_text, precision_text, seeds_text, summarise
from ablations.study import Study
from rambo import formats
from rambo.formats import p_value, points, relation
from rambo.inference import ALPHA

BLIND = {
    2: " Each is its main effect: the interaction does not show in them.",
    3: " Each is its main effect plus a twelfth of the three-way interaction: those of two do not show in them.",
}
"""What Shapley values cannot tell, by the number of components."""

METRICS = {"test_accuracy": "test accuracy", "val_accuracy": "validation accuracy"}
"""Metrics in words; others go by their field."""


def sentences(analysis: Analysis, other: Analysis | None = None) -> list[str]:
    """All of them: what to mind, what differs, what is missing, what so many seeds can tell.

    Of `other`, the same study by another metric, whatever is shown; the rest of its effects are named.
    """
    effects = _effects(analysis)
    return [
        *analysis.marks,
        headline(analysis),
        *(effect_sentence(effect, analysis) for effect in effects if effect.estimate is not None),
        *_untested([effect for effect in effects if effect.estimate is None]),
        *shapley_sentences(analysis),
        *luck_sentences(analysis),
        *([] if other is None else shown_sentences(other)),
        *family_sentences(analysis),
        margin_text(analysis.margin, analysis.reason, analysis.study.margin),
        *image_sentences(analysis),
        *missing_sentences(analysis.study),
        *failure_sentences(analysis),
        *power_sentences(analysis),
    ]


def headline(analysis: Analysis) -> str:
    """What the cell with every component on, or the base, reaches."""
    cell = reference_cell(analysis.study.grid)
    summary = _summary(analysis, cell)
    if summary.mean is None:
        return f"{cell.name} has no result yet."
    reached = f"{mean_error(summary)} % {metric_text(analysis.metric)}"
    said = f"{cell.name} reaches {reached} (mean ± standard error over seeds, {_seeds(summary.n, analysis)})"
    crossed = level_error(analysis.study, cell) if analysis.metric == "test_accuracy" else None
    if crossed is None:
        return f"{said}."
    ends = formats.interval(crossed.low, crossed.high)
    return f"{said}; for other test images too it is ± {100 * crossed.se:.2f} (95 % interval {ends})."


def power_sentences(analysis: Analysis) -> list[str]:
    """What so many seeds can show, in standard deviations, then in points; and how many it would take."""
    said = list(map(power_text, analysis.powers))
    precision = precision_text(analysis.compared, analysis.powers[-1], analysis.margin)
    return said if precision is None else [*said, precision]


def shown_sentences(analysis: Analysis) -> list[str]:
    """Every effect that is shown to differ from nothing or to be as good as nothing, then the names of the others."""
    tested = [effect for effect in _effects(analysis) if effect.num_tests]
    shown = [effect for effect in tested if effect.is_significant or effect.is_equivalent]
    said = [effect_sentence(effect, analysis) for effect in shown]
    rest = [effect.name for effect in tested if effect not in shown]
    if rest:
        said.append(
            f"On {metric_text(analysis.metric)} neither a difference nor its absence is shown of {'; '.join(rest)}."
        )
    return said


def family_sentences(analysis: Analysis) -> list[str]:
    """Which tests share which error rate, and that intervals do not."""
    families = {
        "contrasts" if analysis.contrasts else "levels": analysis.tested,
        "comparisons with controls": analysis.controls,
    }
    counts = {name: max((effect.num_tests for effect in effects), default=0) for name, effects in families.items()}
    named = " and ".join(f"{count} {name}" for name, count in counts.items() if count)
    if not named:
        return []
    return [
        f"Families: {named}. In each, and of each metric apart, the sign-flip tests together err with a chance of "
        f"{100 * ALPHA:g} % at most (Holm), and so do the TOSTs; intervals hold 95 % one by one, unadjusted. Sign-flip "
        "tests are exact if differences are symmetric around their expectation."
    ]


def image_sentences(analysis: Analysis) -> list[str]:
    """What ± covers: seeds; where trials tell which test images they got right, what other images would add."""
    outcomes = finished(analysis.study)
    untold = sum(outcome.test_correct is None for outcome in outcomes)
    if not outcomes or analysis.metric != "test_accuracy":
        return []
    said = "± is the standard error over seeds, which share their test images; validation images are each seed's own."
    if untold:
        number = "none" if untold == len(outcomes) else f"{len(outcomes) - untold} of {len(outcomes)}"
        unknown = "What other test images would add to the errors of levels is not known from these records:"
        return [f"{said} {unknown} {number} of the trials tell which images they got right."]
    levels = [error.se for cell in analysis.study.grid.cells if (error := level_error(analysis.study, cell))]
    if levels:
        least, most = 100 * min(levels), 100 * max(levels)
        span = f"{most:.2f}" if f"{least:.2f}" == f"{most:.2f}" else f"{least:.2f} to {most:.2f}"
        said += f" For new seeds and other test images too, levels have standard errors of {span} points, in brackets."
    added = [
        (effect.se_images - effect.estimate.se, effect.name, effect.estimate.se, effect.se_images)
        for effect in _effects(analysis)
        if effect.estimate is not None and effect.se_images is not None
    ]
    if added:
        _, name, alone, both = max(added)
        said += (
            f" Images are shared by both sides of a difference: other ones would change the standard error of {name} "
            f"the most, from {100 * alone:.2f} to {100 * both:.2f} points."
        )
    return [said]


def _effects(analysis: Analysis) -> tuple[Effect, ...]:
    return (*analysis.tested, *analysis.controls)


def effect_sentence(effect: Effect, analysis: Analysis) -> str:
    """The estimate with its interval and p, then whether it is smaller than the margin or remains open."""
    found, metric = effect.estimate, metric_text(analysis.metric)
    if found is None:
        raise ValueError(f"{effect.name} has no estimate")
    if not found.varies:
        return (
            f"{_claim(effect, metric)} {points(found.mean)} points{_between(effect)}, the same on every seed "
            f"(sign-flip p {relation(found.p)}{_holm(effect, effect.p_holm)}, {_seeds(found.n, analysis)}). "
            "Without variation over seeds neither an interval nor an absence can be told."
        )
    said = (
        f"{_claim(effect, metric)} {points(found.mean)} points{_between(effect)} (95 % interval {interval(effect)}, "
        f"sign-flip p {relation(found.p)}{_holm(effect, effect.p_holm)}, {_seeds(found.n, analysis)})."
    )
    tost = f"TOST p {relation(found.p_tost)}{_holm(effect, effect.p_tost_holm)}"
    if effect.is_equivalent:
        it = "It differs" if effect.kind == "interaction" else f"It changes {metric}"
        return f"{said} {it} by less than {share(analysis.margin)} points either way ({tost})."
    if effect.is_significant:
        return said
    return (
        f"{said} Whether it matters at the scale of {share(analysis.margin)} points remains open: neither a difference "
        f"nor its absence is shown ({tost})."
    )


def _claim(effect: Effect, metric: str) -> str:
    """What the number is of; nothing is stated as a fact that is not shown."""
    if effect.kind != "interaction":
        return f"{effect.subject} {'changes' if effect.is_significant else 'is estimated to change'} {metric} by"
    verb = "differs" if effect.is_significant else "is estimated to differ"
    if len(effect.among) > 1:
        return f"How {effect.subject}'s effect on {metric} differs between {effect.among[-1]} {verb} by"
    return f"{effect.subject}'s effect on {metric} {verb} by"


def _between(effect: Effect) -> str:
    """The levels that an effect differs between; of three factors and more, those of the outer ones."""
    if effect.kind != "interaction":
        return ""
    outer = effect.among[:-1] if len(effect.among) > 1 else effect.among
    return f" between {', '.join(outer)}"


def shapley_sentences(analysis: Analysis) -> list[str]:
    """Each component's share of the way from none of them to all, and the seeds for which there is none."""
    effects = analysis.shapley
    if not effects:
        return []
    seeds = effects[0].seeds
    said = []
    if seeds:
        total = summarise([sum(effect.values[i] for effect in effects) for i in range(len(seeds))])
        shares = ", ".join(f"{effect.name} {mean_error(summarise(effect.values), signed=True)}" for effect in effects)
        said.append(
            f"From no component to all of them, {metric_text(analysis.metric)} changes by "
            f"{mean_error(total, signed=True)} points; exact Shapley values give {shares} "
            f"(mean ± standard error, {_seeds(len(seeds), analysis)}).{BLIND.get(len(effects), '')}"
        )
    undefined = [seed for seed in analysis.study.grid.seeds if seed not in seeds]
    if undefined:
        said.append(f"Shapley values are undefined where a cell is missing: {seeds_name(undefined)}.")
    return said


def missing_sentences(study: Study) -> list[str]:
    """Cell by cell what has not run, and why what failed did."""
    missing = study.missing
    if not missing:
        return []
    total = len(study.grid.variants) * len(study.grid.seeds)
    verb = "has" if len(missing) == 1 else "have"
    said = [f"{len(missing)} of {total} trials {verb} no result; effects that need one leave out its seed."]
    absent: dict[Cell, list[int]] = {}
    for cell, seed in missing:
        if (cell.name, seed) not in study.failures:
            absent.setdefault(cell, []).append(seed)
    for seeds in dict.fromkeys(map(tuple, absent.values())):
        names = [cell.name for cell, mine in absent.items() if tuple(mine) == seeds]
        said.append(f"Missing, {seeds_name(seeds)}: {'; '.join(names)}.")
    failed = [(cell, seed) for cell, seed in missing if (cell.name, seed) in study.failures]
    return said + [f"Failed: {cell.name}, seed {seed}: {study.failures[cell.name, seed]}" for cell, seed in failed]


def failure_sentences(analysis: Analysis) -> list[str]:
    """What a cell's mean is if its failed trials are scored as random selection, which one would fall back on.

    Failures are informative: a setting that fails on the hard seeds looks better by those that are left.
    """
    study, said = analysis.study, []
    plain = [control for control in study.grid.controls if control.control == "random"]
    for cell in study.grid.studied:
        failed = [seed for seed in study.grid.seeds if any((v.name, seed) in study.failures for v in cell.variants)]
        control = next((one for one in plain if set(one.levels) <= set(cell.levels)), None)
        if not failed or control is None:
            continue
        own, fallback = (study.accuracies(one, analysis.metric) for one in (cell, control))
        if not set(failed) <= set(fallback):
            continue
        scored = summarise([*own.values(), *(fallback[seed] for seed in failed)])
        said.append(
            f"With {seeds_name(failed)}, which failed, scored as {control.name}'s, {cell.name} has a mean "
            f"{metric_text(analysis.metric)} of {mean_error(scored)} % ({_count(scored.n, 'seed')}) in place of "
            f"{mean_error(summarise([*own.values()])) or 'none'} ({len(own)})."
        )
    return said


def provenance(study: Study) -> list[str]:
    """Where the numbers come from: data, commits, training versions and seeds, each with all there are."""
    outcomes = finished(study)
    data = sorted({outcome.data for outcome in outcomes})
    commits = sorted({outcome.commit or "unknown" for outcome in outcomes})
    versions = sorted({outcome.training_version for outcome in outcomes})
    return [
        f"{_plural('Data', data, plural='Data')}: {', '.join(data) or 'none'}.",
        f"{_plural('Commit', commits)}: {', '.join(commits) or 'none'}.",
        f"{_plural('Training version', versions)}: {', '.join(map(str, versions)) or 'none'}.",
        f"Seeds: {seeds_text(study.grid.seeds)}; {len(outcomes)} of {len(outcomes) + len(study.missing)} trials.",
    ]


def metric_text(metric: str) -> str:
    """A metric in words."""
    return METRICS.get(metric, metric.replace("_", " "))


def interval(effect: Effect) -> str:
    """The ends of the 95 % interval in points; that there is none where nothing varies."""
    if effect.estimate is None:
        return ""
    if not effect.estimate.varies:
        return "cannot be told"
    return formats.interval(effect.estimate.low, effect.estimate.high)


def mean_error(summary: Summary, *, signed: bool = False) -> str:
    """`93.53 ± 0.18`, in percent or points; without the error from one value, empty from none."""
    if summary.mean is None:
        return ""
    mean = points(summary.mean) if signed else f"{100 * summary.mean:.2f}"
    return mean if summary.se is None else f"{mean} ± {100 * summary.se:.2f}"


def seeds_name(seeds: Sequence[int]) -> str:
    """`seed 3` or `seeds 3–5`."""
    return f"seed{'s' if len(seeds) > 1 else ''} {seeds_text(seeds)}"


def _summary(analysis: Analysis, cell: Cell) -> Summary:
    return summarise(list(analysis.study.accuracies(cell, analysis.metric).values()))


def _untested(effects: Sequence[Effect]) -> list[str]:
    if not effects:
        return []
    names = "; ".join(effect.name for effect in effects)
    return [f"Nothing can be said of what fewer than two seeds have all cells for: {names}."]


def _holm(effect: Effect, p: float | None) -> str:
    noun = {"level": "levels", "control": "controls"}.get(effect.kind, "contrasts")
    return f", {p_value(p)} after Holm over {effect.num_tests} {noun}" if effect.num_tests > 1 else ""


def _seeds(number: int, analysis: Analysis) -> str:
    """How many there are, and what else the error is given."""
    return ", ".join(filter(None, [_count(number, "seed"), given(analysis.study)]))


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _plural(noun: str, items: Sequence[object], plural: str | None = None) -> str:
    return noun if len(items) < 2 else plural or f"{noun}s"
