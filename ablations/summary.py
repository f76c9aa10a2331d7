"""What MLflow shows of a study above its trials: the parent run, and one run for each cell."""

from collections.abc import Mapping
from statistics import fmean

from ablations.effects import Effect
from ablations.factors import Cell
from ablations.naming import short_names
from ablations.plans import StudyPlan
from ablations.statistics import Analysis, summarise
from ablations.study import Study
from cluster.tracking.content import DECIMALS, source_tags
from cluster.tracking.entries import BoardSummary, CellRun
from rambo.fields import Value, read_fields

DESCRIPTION = ("both.md", "table.md", "sentences.txt")
"""Files that make up the description of the study's own page, where there are any."""

FRONT = "report.html"
"""The file that shows the tables and figures at once."""

CELL_METRICS = {"test": "test_accuracy", "val": "val_accuracy", "pair": "pair_accuracy"}
"""Of which a cell's run has the mean and the standard error, by the beginning of their names there."""


def summary_of(
    plan: StudyPlan, study: Study, files: Mapping[str, bytes], found: Analysis | None = None
) -> BoardSummary:
    """All of it; without the effects that were `found` where a study was interrupted."""
    grid, base = study.grid, read_fields(study.grid.base)
    text = [files[name].decode() for name in DESCRIPTION if name in files]
    varied = {"seed", *(factor.name for factor in grid.factors)}
    data = sorted({outcome.data for outcome in study.outcomes.values()})
    return BoardSummary(
        "\n\n".join([f"# {study.name}", *text]),
        files,
        {**_counts(study), **_means(study), **(_effects(found) if found is not None else {})},
        parameters={name: str(value) for name, value in base.items() if name not in varied},
        tags=_tags(plan, study),
        data=(data[0], str(base["data.source"])) if data else None,
        cells=[_cell_run(study, cell) for cell in grid.cells],
        front=FRONT,
    )


def _counts(study: Study) -> dict[str, float]:
    total = len(study.grid.variants) * len(study.grid.seeds)
    counts = {"trials": total, "trials_finished": len(study.outcomes), "trials_failed": len(study.failures)}
    return {name: float(count) for name, count in counts.items()}


def _means(study: Study) -> dict[str, float]:
    """The description is folded on the study's page, metrics are not."""
    found = {cell.name: list(study.accuracies(cell).values()) for cell in study.grid.cells}
    return {f"test_accuracy/{name}": _rounded(fmean(values)) for name, values in found.items() if values}


def _effects(found: Analysis) -> dict[str, float]:
    """Differences of test accuracy, and their p after Holm where they are tested."""
    metrics: dict[str, float] = {}
    for effect in (*found.tested, *found.controls):
        name = _plain(effect)
        if effect.estimate is not None:
            metrics[f"effect/{name}"] = _rounded(effect.estimate.mean)
        if effect.p_holm is not None:
            metrics[f"p_holm/{name}"] = _rounded(effect.p_holm)
    return metrics | {
        f"shapley/{_plain(one)}": _rounded(one.estimate.mean) for one in found.shapley if one.estimate is not None
    }


def _plain(effect: Effect) -> str:
    """Its name in letters that MLflow takes."""
    return effect.name.replace(" × ", " x ").replace("−", "-").replace("û", "u")


def _tags(plan: StudyPlan, study: Study) -> dict[str, str]:
    commits = sorted({outcome.commit for outcome in study.outcomes.values() if outcome.commit})
    factors = [f"{factor.name}={','.join(map(str, factor.levels))}" for factor in study.grid.factors]
    return {
        "seeds": ", ".join(map(str, study.grid.seeds)),
        "factors": "; ".join(factors) or "none",
        "design": study.grid.design,
        "data": ", ".join(sorted({outcome.data for outcome in study.outcomes.values()})) or "unknown",
        "commit": ", ".join(commits) or "unknown",
        **({} if plan.fixed is None else {"retunes": plan.fixed}),
        **source_tags("python -m ablations", commits[0] if len(commits) == 1 else ""),
    }


def _cell_run(study: Study, cell: Cell) -> CellRun:
    metrics = {"n": float(len(study.accuracies(cell)))}
    for short, metric in CELL_METRICS.items():
        found = summarise(list(study.accuracies(cell, metric).values()))
        metrics |= {} if found.mean is None else {f"{short}_mean": _rounded(found.mean)}
        metrics |= {} if found.se is None else {f"{short}_se": _rounded(found.se)}
    levels: dict[str, Value] = {"strategy": cell.control or study.grid.base.strategy, **dict(cell.levels)}
    parameters = {name: str(level) for name, level in levels.items()}
    return CellRun(cell.name, short_names(study.grid)[cell.name], parameters, metrics)


def _rounded(value: float) -> float:
    return round(value, DECIMALS)
