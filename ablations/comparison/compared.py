"""What is compared: strategies, in settings, on seeds that all of them have in every setting.

A setting is a level of each factor that even random selection's result hangs on: data, noise, classifier, budget. The
factors beside these are a method's own, such as λ_OT, and stand in its name as far as its strategy reads them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ablations.effects import reference_cell
from ablations.factors import Cell, Grid, label, level_text
from ablations.study import Study
from ablations.tables import strategy
from rambo.arrays import Floats
from rambo.config import Config
from rambo.fields import Value, flatten, read_fields
from rambo.strategies.facts import FACTS

BUDGET, SEED_LABELS, SOURCE, STRATEGY = "acquisition.budget", "data.num_seed_labels", "data.source", "strategy"

AXES = (BUDGET, SEED_LABELS)
"""What curves are drawn over: B, or k where it varies and B does not."""

LEAST_SEEDS = 2
"""From which there is an error to print."""

Levels = tuple[tuple[str, Value], ...]

Lines = dict[str, dict[Levels, Cell]]
"""The cells of each method by setting."""


@dataclass(frozen=True)
class Setting:
    """Where strategies are compared."""

    levels: Levels
    """(field, level) of each factor that is no strategy's own."""
    data: str
    """The level of `data.source`, or the base's."""
    budget: int
    num_labelled: int
    """Labels that f is trained on after the acquisition, k + B."""

    def without(self, axis: str) -> Levels:
        """All levels but that of `axis`: settings that agree in them lie on one curve."""
        return tuple((name, level) for name, level in self.levels if name != axis)


@dataclass(frozen=True, eq=False)
class Compared:
    """Test accuracies of methods that share their seeds."""

    study: Study
    methods: tuple[str, ...]
    settings: tuple[Setting, ...]
    seeds: tuple[int, ...]
    """Those that every method has in every setting, at least two."""
    accuracy: Floats
    """(methods, settings, seeds) in [0, 1]."""
    saw: tuple[bool | None, ...]
    """Whether labels of S_val entered a method's choice; None where that is not known."""
    left_out: tuple[str, ...]
    """Methods that lack all results of a setting, and so are not compared."""
    reference: int
    """The method that others are compared with: that of the base configuration."""
    equal: Mapping[str, str] = field(default_factory=dict)
    """Methods that are the same in effect as one before them, by name, and that one; they are compared once."""

    @property
    def data_sets(self) -> tuple[str, ...]:
        """The sources, in the order of the settings."""
        return tuple(dict.fromkeys(setting.data for setting in self.settings))

    @property
    def axis(self) -> str:
        """The first of `AXES` that varies among the settings."""
        levels = [dict(setting.levels) for setting in self.settings]
        return next((one for one in AXES if len({each.get(one) for each in levels}) > 1), BUDGET)

    @property
    def scenes(self) -> dict[Levels, list[int]]:
        """Places of the settings that differ in the axis alone, fewest labels first."""
        found: dict[Levels, list[int]] = {}
        for place in sorted(range(len(self.settings)), key=lambda place: self.settings[place].num_labelled):
            found.setdefault(self.settings[place].without(self.axis), []).append(place)
        order = list(dict.fromkeys(setting.without(self.axis) for setting in self.settings))
        return {scene: found[scene] for scene in order}

    @property
    def curves(self) -> dict[Levels, list[int]]:
        """The same of those scenes that have two points at least."""
        return {scene: places for scene, places in self.scenes.items() if len(places) > 1}

    @property
    def unshared(self) -> tuple[Levels, ...]:
        """Settings that not every method is planned in, as of one factor at a time, or that none has a result in."""
        shared = {setting.levels for setting in self.settings}
        return tuple(levels for levels in _all_settings(self.study.grid) if levels not in shared)

    @property
    def absent_seeds(self) -> tuple[int, ...]:
        """Seeds of the study that a compared method lacks somewhere."""
        return tuple(seed for seed in self.study.grid.seeds if seed not in self.seeds)


def compare(study: Study) -> Compared | None:
    """None for a study that compares no strategies, or has fewer than two seeds of them to compare.

    Strategies are compared where they are a factor; beside controls, where these run in two settings at least. The
    controls of a study of switches have their differences among its effects.
    """
    lines, equal = _distinct(study.grid, _lines(study.grid))
    names = {strategy(study, cell) for cells in lines.values() for cell in cells.values()}
    planned = [levels for levels in _all_settings(study.grid) if all(levels in cells for cells in lines.values())]
    settings = [levels for levels in planned if any(study.accuracies(cells[levels]) for cells in lines.values())]
    is_factor = any(factor.name == STRATEGY for factor in study.grid.factors)
    if len(names) < 2 or len(settings) < (1 if is_factor else 2):
        return None
    begun = {name: cells for name, cells in lines.items() if all(study.accuracies(cells[one]) for one in settings)}
    table = [[study.accuracies(cells[levels]) for levels in settings] for cells in begun.values()]
    seeds = tuple(seed for seed in study.grid.seeds if all(seed in found for row in table for found in row))
    if len(begun) < 2 or len(seeds) < LEAST_SEEDS:
        return None
    rows = list(begun.values())
    return Compared(
        study=study,
        methods=tuple(begun),
        settings=tuple(_setting(study, rows[0][levels], levels, seeds[0]) for levels in settings),
        seeds=seeds,
        accuracy=np.array([[[found[seed] for seed in seeds] for found in row] for row in table]),
        saw=tuple(study.saw_validation(cells[settings[0]]) for cells in rows),
        left_out=tuple(name for name in lines if name not in begun),
        reference=_reference(study.grid, begun, equal),
        equal=equal,
    )


def scene_text(levels: Sequence[tuple[str, Value]]) -> str:
    """Levels in words, empty where there are none.

    >>> scene_text([("data.label_noise", 0.2), ("acquisition.budget", 500)])
    'label noise=0.2, B=500'
    """
    return ", ".join(f"{label(name)}={level_text(level)}" for name, level in levels)


def _lines(grid: Grid) -> Lines:
    """The cells of each method by setting; of two that are equal in effect the first."""
    found: Lines = {}
    for cell in grid.cells:
        found.setdefault(_method(grid, cell), {}).setdefault(_of_settings(cell), cell)
    return found


def _distinct(grid: Grid, lines: Lines) -> tuple[Lines, dict[str, str]]:
    """Each method once, and which of the others is the same in effect: its trials would only be counted twice."""
    firsts, equal = dict[object, str](), dict[str, str]()
    for name, cells in lines.items():
        read = [_in_effect(grid.config(cell, grid.seeds[0])) for cell in cells.values()]
        first = firsts.setdefault((tuple(cells), tuple(read)), name)
        if first != name:
            equal[name] = first
    return {name: cells for name, cells in lines.items() if name not in equal}, equal


def _in_effect(config: Config) -> object:
    """What its choices hang on; of a strategy its code and what that is handed, which a setting can make another's."""
    fields = read_fields(config)
    if not config.has_own_strategy:
        facts = config.facts
        fields[STRATEGY] = f"{facts.select} {sorted(facts.grants)} {facts.proposes_batches} {config.num_scouts}"
        fields.pop("acquisition.num_scouts", None)
    return tuple(fields.items())


def _all_settings(grid: Grid) -> list[Levels]:
    return list(dict.fromkeys(map(_of_settings, grid.cells)))


def _of_settings(cell: Cell) -> Levels:
    return tuple((name, level) for name, level in cell.levels if _is_setting(name))


def _is_setting(field: str) -> bool:
    """Whether `field` changes what every strategy reaches."""
    return field != STRATEGY and FACTS["random"].reads(field)


def _method(grid: Grid, cell: Cell) -> str:
    name = str(cell.control or cell.level(STRATEGY) or grid.base.strategy)
    own = [one for one in cell.levels if one[0] != STRATEGY and not _is_setting(one[0]) and _reads(name, one[0])]
    return " ".join([name, *(f"{label(one)}={level_text(level)}" for one, level in own)])


def _reads(name: str, field: str) -> bool:
    """Of a strategy of the user's own, whose module may be gone, all is taken to be read."""
    facts = FACTS.get(name)
    return facts is None or (facts.reads(field) and field not in dict(facts.fixed))


def _reference(grid: Grid, begun: Lines, equal: Mapping[str, str]) -> int:
    """The base configuration's method; where it is not compared, the first."""
    names, wanted = list(begun), _method(grid, reference_cell(grid))
    wanted = equal.get(wanted, wanted)
    return names.index(wanted) if wanted in names else 0


def _setting(study: Study, cell: Cell, levels: Levels, seed: int) -> Setting:
    fields = {**flatten(study.grid.base), **dict(levels)}
    num_labelled = study.outcomes_of(cell, seed)[0].num_labelled
    return Setting(levels, str(fields[SOURCE]), int(fields[BUDGET]), num_labelled)
