"""What a search leaves behind: the best configuration, a table of trials, importances, figures; all from its trials."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial

from rambo.drawing import Drawn, drawn_of
from rambo.fields import to_json
from rambo.formats import csv_bytes, percent
from tune import figures
from tune.importances import Importance, importance_text, importances
from tune.noise import noise_text
from tune.records import Attempt, SearchPlan, settings_of


def render(plan: SearchPlan, attempts: Sequence[Attempt]) -> dict[str, bytes]:
    """Every file of the report by its name; nothing in it tells when or where the trials ran."""
    finished = [one for one in attempts if one.is_finished]
    shares = importances(plan, attempts)
    ended = [one for one in attempts if one.state != "RUNNING"]
    files = {"trials.csv": trials_csv(plan, ended), "importances.csv": importances_csv(shares)}
    best = plan.best(attempts)
    if best is not None:
        files["best.json"] = to_json(plan.config(best.fields)).encode()
    if "budget" in plan.objectives:
        files |= _front_files(plan, finished)
    again = f"python -m tune report --study {plan.name}, with the same --home,"
    return files | drawn_of(_pictures(plan, attempts, shares), again)


def trials_csv(plan: SearchPlan, attempts: Sequence[Attempt]) -> bytes:
    """A row a trial: state, setting, accuracies of each seed and their means, and why it failed."""
    names = list(plan.space.dimensions)
    seeds = [f"{metric}_{seed}" for metric in ("val", "test") for seed in plan.seeds]
    rows: list[Iterable[object]] = [["number", "state", *names, *seeds, "val_mean", "test_mean", "reason"]]
    for one in attempts:
        values = [one.fields.get(name, "") for name in names]
        rows.append([one.number, one.state, *values, *_accuracies(plan, one), one.reason or ""])
    return csv_bytes(rows)


def importances_csv(shares: Sequence[Importance]) -> bytes:
    """A row a coordinate: its importance, and what permuted accuracies give in its place."""
    rows = ([one.coordinate, *map(_digits, (one.share, one.null_mean, one.null_high, one.p))] for one in shares)
    return csv_bytes([["coordinate", "importance", "null_mean", "null_95", "p"], *rows])


def summary_text(plan: SearchPlan, attempts: Sequence[Attempt]) -> str:
    """What a person reads of a search, in Markdown."""
    lines = [f"# {plan.name}", count_text(plan, attempts)]
    best = plan.best(attempts)
    if best is None:
        return "\n\n".join([*lines, "No trial is complete yet."])
    lines += [best_text(plan, best, attempts), _setting_table(plan, best)]
    if "budget" in plan.objectives:
        lines.append(_front_table(plan, attempts))
    return "\n\n".join([*lines, noise_text(plan, attempts), importance_text(plan, attempts)])


def _repeated(attempts: Sequence[Attempt]) -> str:
    finished, settings = sum(one.is_finished for one in attempts), len(settings_of(attempts))
    if settings == finished:
        return ""
    return f" The {finished} finished ones are {settings} settings: those that are equal in effect count once below."


def count_text(plan: SearchPlan, attempts: Sequence[Attempt]) -> str:
    """How many trials there are of each state."""
    counts = {state: sum(one.state == state for one in attempts) for state in ("COMPLETE", "PRUNED", "FAIL")}
    seeds = f"{len(plan.seeds)} seed{'s' if len(plan.seeds) > 1 else ''}"
    return (
        f"{counts['COMPLETE']} trials ran all of {seeds}, {counts['PRUNED']} were stopped earlier, "
        f"{counts['FAIL']} failed.{_repeated(attempts)}"
    )


def best_text(plan: SearchPlan, best: Attempt, attempts: Sequence[Attempt]) -> str:
    """What the best trial reached, beside the base, and how far to believe it."""
    text = f"Best: trial {best.number}, validation {percent(best.val_accuracy)}, test {percent(best.test_accuracy)}"
    base = [one for one in attempts if one.state == "COMPLETE" and plan.config(one.fields) == plan.config({})]
    if base:
        text += f"; the base configuration has {percent(base[0].val_accuracy)} and {percent(base[0].test_accuracy)}"
    return f"{text}. The best of many is optimistic in what it was chosen by: tune confirm runs it on fresh seeds."


def _setting_table(plan: SearchPlan, best: Attempt) -> str:
    rows = [f"| {name} | {_short(best.fields.get(name, '(not read)'))} |" for name in plan.space.dimensions]
    return "\n".join(["| field | best |", "|---|---|", *rows])


def _front_table(plan: SearchPlan, attempts: Sequence[Attempt]) -> str:
    rows = [
        f"| {one.number} | {plan.budget_of(one)} | {100 * one.val_accuracy:.2f} | {100 * one.test_accuracy:.2f} |"
        for one in plan.front(attempts)
    ]
    return "\n".join(["| trial on the front | B | validation % | test % |", "|---|---|---|---|", *rows])


def _front_files(plan: SearchPlan, finished: Sequence[Attempt]) -> dict[str, bytes]:
    best = plan.front(finished)
    rows: list[Iterable[object]] = [["number", "budget", "val_mean", "test_mean"]]
    rows += [[one.number, plan.budget_of(one), one.val_accuracy, one.test_accuracy] for one in best]
    files = {"front.csv": csv_bytes(rows)}
    return files | {f"front/trial_{one.number}.json": to_json(plan.config(one.fields)).encode() for one in best}


def _pictures(
    plan: SearchPlan, attempts: Sequence[Attempt], shares: Sequence[Importance]
) -> dict[str, Callable[[], Drawn]]:
    """What draws each picture of which there is anything to draw."""
    ended, finished = [one for one in attempts if one.state != "RUNNING"], [one for one in attempts if one.is_finished]
    pictures: dict[str, Callable[[], Drawn]] = {}
    if plan.best(attempts) is not None:
        points = [plan.coordinates(one) for one in finished]
        pictures["figures/history"] = partial(figures.history, ended)
        pictures["figures/slices"] = partial(figures.slices, points, finished)
    if shares:
        pictures["figures/importances"] = partial(figures.importances, shares)
    best = plan.front(finished) if "budget" in plan.objectives else []
    if best:
        line = [(plan.budget_of(one), one.val_accuracy) for one in best]
        pictures["figures/front"] = partial(figures.front, [plan.budget_of(one) for one in finished], finished, line)
    return pictures


def _accuracies(plan: SearchPlan, one: Attempt) -> list[object]:
    missing = [""] * (len(plan.seeds) - len(one.outcomes))
    means: list[object] = [one.val_accuracy, one.test_accuracy] if one.outcomes else ["", ""]
    val = [outcome.val_accuracy for outcome in one.outcomes]
    return [*val, *missing, *(outcome.test_accuracy for outcome in one.outcomes), *missing, *means]


def _digits(number: float) -> str:
    """So many that another order of sums gives the same."""
    return f"{number:.6g}"


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
