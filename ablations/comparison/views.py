"""What a comparison looks like: a table to read, a note that explains it, and a CSV row for each number.

Each view is worked out from `Compared` alone. Accuracies are in percent, differences in points; CSV files hold shares
in [0, 1] with ten digits, so that another BLAS gives the same bytes.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ablations.comparison.compared import Compared, Levels, scene_text
from ablations.sentences import seeds_name
from ablations.statistics import summarise
from ablations.tables import Table
from rambo.arrays import Floats
from rambo.formats import counted
from rambo.inference import t_interval
from rambo.strategies.facts import FACTS

Numbers = tuple[tuple[object, ...], ...]
"""Rows of a CSV file, the header first."""


@dataclass(frozen=True)
class View:
    """One way to compare."""

    name: str
    """Of its files."""
    title: str
    table: Table
    note: str
    """What the numbers are and how to read them."""
    numbers: Numbers


def caption(compared: Compared) -> str:
    """What all views are of: data, settings, seeds, who saw labels of S_val, and what is missing."""
    study = compared.study
    data = sorted({outcome.data for outcome in study.outcomes.values()})
    settings, absent = (_listed(levels) for levels in ([one.levels for one in compared.settings], compared.unshared))
    where = f" in {counted(len(compared.settings), 'setting')} ({settings})"
    said = [
        f"Test accuracy of {len(compared.methods)} methods on {', '.join(data)}"
        f"{where if len(compared.settings) > 1 or absent else ''}, over "
        f"{seeds_name(compared.seeds)}: those that every method has in every setting.",
        *_saw_text(compared),
    ]
    told = [name for name in compared.methods if (facts := FACTS.get(name.split()[0])) and facts.for_study]
    if told:
        said.append(f"For study only, since nobody could use it: {', '.join(told)}.")
    if compared.equal:
        same = ", ".join(f"{name} is {first}" for name, first in compared.equal.items())
        said.append(f"The same in effect, and compared once: {same}.")
    if absent:
        said.append(f"Left out, since not every method is planned or none has a result there: {absent}.")
    if compared.absent_seeds:
        said.append(f"Left out, since a method lacks them somewhere: {seeds_name(compared.absent_seeds)}.")
    if compared.left_out:
        said.append(f"Missing, without a result in some setting: {', '.join(compared.left_out)}.")
    if study.missing:
        total = len(study.grid.variants) * len(study.grid.seeds)
        said.append(f"{len(study.missing)} of the study's {total} trials have no result.")
    return " ".join(said)


def _saw_text(compared: Compared) -> Iterator[str]:
    named = {
        known: [name for name, saw in zip(compared.methods, compared.saw, strict=True) if saw is known]
        for known in (True, False, None)
    }
    if named[True]:
        yield f"Labels of S_val entered the choice of {', '.join(named[True])}."
    if named[False] and not named[True]:
        nobody = "Nobody's choice saw labels of S_val."
        yield f"Labels of S_val did not enter the choice of {', '.join(named[False])}." if named[None] else nobody
    elif named[False]:
        yield f"They did not in {', '.join(named[False])}."
    if named[None]:
        yield f"Whether labels of S_val entered the choice of {', '.join(named[None])} is not known."


def _listed(settings: Iterable[Levels]) -> str:
    return "; ".join(map(scene_text, settings))


def moments(values: Floats) -> tuple[object, ...]:
    """n, mean, se, and the ends of the t interval."""
    summary, ends = summarise(list(values)), t_interval(values)
    return (summary.n, *map(digits, (summary.mean, summary.se, *map(float, ends))))


def mark(saw: bool | None) -> str:
    """Whether labels of S_val entered a choice, as tables show it."""
    return {True: "✓", False: "–", None: ""}[saw]


def digits(number: float | None) -> str:
    """A derived number as CSV files have it; empty for none."""
    return "" if number is None else f"{number:.10g}"
