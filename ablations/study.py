"""A study as statistics, tables and figures see it: its grid, and what the finished trials say."""

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean

from ablations.factors import Cell, Grid
from ablations.margin import Margin
from rambo.ceiling import Ceiling, pooled_ceiling
from rambo.fields import in_force
from rambo.own import is_own


@dataclass(frozen=True)
class Outcome:
    """What one finished trial says, and what it came from. Nothing in it differs between two runs of one trial."""

    test_accuracy: float
    """Mean over R trainings on the labelled set after the acquisition, in [0, 1]: the headline."""
    val_accuracy: float
    """The same on S_val: the paper's metric, but û has learned from S_val."""
    base_test_accuracy: float
    """Of the seed set alone."""
    base_val_accuracy: float
    num_labelled: int
    pair_accuracy: float | None
    """Share of held-out pairs that û orders as measured; None for strategies without û."""
    pair_ceiling: float | None
    """Upper bound of the former, from this trial alone."""
    label_agreement: float | None
    data: str
    """Name and fingerprint of the data."""
    config_id: str
    commit: str | None
    training_version: int
    num_test: int | None = None
    """Test images; None, like the next, where the trial does not tell which of them it got right."""
    test_correct: str | None = None
    """Which of them each of the R trainings got right (`rambo.correctness`)."""
    repeat_agreement: float | None = None
    """Share of the repeated held-out pairs that both trainings order alike; None in older trials and without û."""
    num_ceiling_pairs: int | None = None
    test_accuracy_all: float | None = None
    """On the labelled set and S_val together; None, like the next, where that was not asked for."""
    base_test_accuracy_all: float | None = None
    """On the seed set and S_val: nothing bought, every label used."""
    saw_validation: bool | None = None
    """Whether labels of S_val entered the choice; None in older trials."""
    seconds: Mapping[str, float] | None = None
    """By stage of the run; these three differ between two runs of one trial."""
    utility_seconds: float | None = None
    """Of the fits of û."""
    training_seconds: Mapping[str, float] | None = None
    """By what was trained (`rambo.result.Result`)."""


@dataclass(frozen=True)
class Effort:
    """What the finished trials took, each folder once. It differs between two runs of one trial, so no table has it."""

    machines: tuple[str, ...]
    """Device, system and versions, all different."""
    seconds: float
    num_trials: int
    num_trainings: int
    """Those that the store lacked when each trial began."""


@dataclass(frozen=True)
class Study:
    """A grid and its outcomes so far."""

    name: str
    grid: Grid
    outcomes: Mapping[tuple[str, int], Outcome]
    """By name of the cell and seed; trials that are not finished are absent."""
    failures: Mapping[tuple[str, int], str]
    """Why a trial failed, one sentence."""
    fixed: "Study | None" = None
    """The same cells at the settings of the base, where this study has retuned them."""
    margin: Margin | None = None
    """Of equivalence, as the plan has it; None for plans from before they had one."""
    effort: Effort | None = None
    """None where no trial is finished."""
    recipe: str | None = None
    """The table or figure of the paper that it is."""
    scale: str = "full"
    """At which the recipe was run (`ablations.scale`)."""

    def accuracies(self, cell: Cell, metric: str = "test_accuracy") -> dict[int, float]:
        """`metric` of `cell` by seed, in the order of the seeds; a mean over its searches, where they are all there."""
        found: dict[int, float] = {}
        for seed in self.grid.seeds:
            outcomes = self.outcomes_of(cell, seed)
            if len(outcomes) == len(cell.variants):
                found[seed] = _mean([getattr(outcome, metric) for outcome in outcomes])
        return found

    def outcomes_of(self, cell: Cell, seed: int) -> list[Outcome]:
        """Those of the cell's searches that have one, in their order."""
        found = (self.outcomes.get((variant.name, seed)) for variant in cell.variants)
        return [outcome for outcome in found if outcome is not None]

    def ceiling(self, cell: Cell) -> Ceiling | None:
        """Upper bound of the pair accuracy of `cell`, from all its trials; None without û."""
        return pooled_ceiling([outcome for (name, _), outcome in self.outcomes.items() if name == cell.name])

    def saw_validation(self, cell: Cell) -> bool | None:
        """Whether labels of S_val entered the choice of `cell`.

        Of a strategy of the user's own its results say so, since its module may be gone; None where there are none.
        """
        config = self.grid.config(cell, self.grid.seeds[0])
        if not is_own(config.strategy):
            return in_force(config).sees_validation_labels
        said = [outcome.saw_validation for (name, _), outcome in self.outcomes.items() if name == cell.name]
        return said[0] if said else None

    @property
    def missing(self) -> list[tuple[Cell, int]]:
        """Trials without an outcome, failed ones included."""
        grid = self.grid
        return [(cell, seed) for cell in grid.variants for seed in grid.seeds if (cell.name, seed) not in self.outcomes]


def _mean(values: list[float]) -> float:
    """Of several; one is as it is, which may be None."""
    return values[0] if len(values) == 1 or values[0] is None else fmean(values)
