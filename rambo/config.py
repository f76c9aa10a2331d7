"""What an experiment is: one frozen tree of fields, checked where it is built.

A field's dotted name (`acquisition.budget`) is the same in JSON files, flags, factors, search spaces and MLflow
parameters. Paths of homes, devices and worker counts are not here: they do not change a result. Presets
(`rambo.presets`) return whole configurations; `rambo.fields` reads and changes them by dotted name.
"""

from dataclasses import dataclass, field
from typing import Annotated

from rambo.errors import InvalidInput, require
from rambo.own import FORM, OneOf, Own, is_own
from rambo.sections import (
    Acquisition,
    Classifier,
    Data,
    Evaluation,
    Offline,
    Pretraining,
    Switches,
    Training,
    Utility,
    UtilityModel,
    at_least,
)
from rambo.strategies.facts import FACTS, STRATEGIES, StrategyFacts
from rambo.strategies.own import facts_of

MOST_ITERATIONS = 8
"""τ1 at most."""

USUAL_START = 20
"""k1 of ten classes."""

MOST_TRIED = 10_000
"""Values of b that are looked at for those that fit, at most."""

MOST_STEPS = 200
"""How far from B, and beyond k, others are looked for."""


Strategy = Annotated[str, OneOf(STRATEGIES, FORM, is_own)]


@dataclass(frozen=True, kw_only=True)
class Config:
    """One experiment: a strategy spends one budget on one data set from one seed."""

    data: Data = field(default_factory=Data)
    classifier: Classifier = field(default_factory=Classifier)
    training: Training = field(default_factory=Training)
    offline: Offline = field(default_factory=Offline)
    pretraining: Pretraining = field(default_factory=Pretraining)
    utility: Utility = field(default_factory=Utility)
    utility_model: UtilityModel = field(default_factory=UtilityModel)
    switches: Switches = field(default_factory=Switches)
    acquisition: Acquisition = field(default_factory=Acquisition)
    evaluation: Evaluation = field(default_factory=Evaluation)
    strategy: Strategy = "rambo"
    """Who chooses what is labelled: one of ours, or a function of your own (docs/own_strategy.md)."""
    seed: int = 0
    """The one seed that every stage's generator is derived from, by name."""

    def __post_init__(self) -> None:
        known = self.strategy in FACTS
        require(known or is_own(self.strategy), f"strategy must be {'|'.join(FACTS)}|{FORM}, got {self.strategy!r}.")
        at_least("seed", self.seed, 0)
        if known:
            self.check_strategy()

    def check_strategy(self) -> None:
        """Raise `InvalidInput` where the fields do not fit what is known of the strategy.

        Of one of the user's own that is known once its module is imported, which is left to whoever runs it: what was
        run can be read where the module is not, and reading somebody's results imports nothing that they name.
        """
        self._check_rounds()
        if self.needs_batches:
            self._check_batches()
        if self.facts.reads("acquisition.portfolio"):
            self._check_portfolio()
        if self.needs_utility_model:
            self._check_schedule()

    @property
    def facts(self) -> StrategyFacts:
        """What is known of the strategy; of one of the user's own, its module is imported."""
        return FACTS[self.strategy] if self.strategy in FACTS else facts_of(self.strategy)

    @property
    def own_classifier(self) -> Own | None:
        """The classifier where it is of the user's own."""
        name = self.classifier.name
        return Own("classifier.name", name) if is_own(name) else None

    @property
    def gradient_strategies(self) -> list[str]:
        """Those that reckon with gradients by f's last layer: the strategy, or members of its portfolio."""
        members = self.acquisition.strategies if self.facts.reads("acquisition.portfolio") else ()
        used = [(self.strategy, self.facts), *((name, FACTS[name]) for name in members)]
        return [name for name, facts in used if facts.reads_gradients]

    @property
    def has_own_strategy(self) -> bool:
        """Whether the strategy is of the user's own, so that its module alone knows what it reads."""
        return self.strategy not in FACTS

    @property
    def needs_utility_model(self) -> bool:
        """Whether û is learned for the strategy."""
        return self.facts.learns_utility

    @property
    def num_scouts(self) -> int:
        """Trainings of the classifier that scores the pool; 0 where none does, 1 where all would be the same."""
        if not self.facts.scores_pool:
            return 0
        return 1 if self.classifier.is_deterministic else self.acquisition.num_scouts or self.facts.num_scouts

    @property
    def sees_validation_labels(self) -> bool:
        """Whether labels of S_val enter the choice of what is labelled, by û, by the scout or by what is granted."""
        scouted = self.facts.reads("acquisition.scout") and self.acquisition.scout == "seed_and_validation"
        return self.facts.sees_validation_labels or scouted or self.imagines

    @property
    def imagines(self) -> bool:
        """Whether B is picked in imagined rounds."""
        return self.facts.scores_pool and self.acquisition.refit == "imagined"

    @property
    def num_rounds(self) -> int:
        """R; 1 for random selection, which would pick the same, and for DULO, whose û what is bought does not grow."""
        return self.acquisition.rounds if self.facts.reads("acquisition.rounds") else 1

    @property
    def uses_ot(self) -> bool:
        """Whether û predicts OT distances."""
        return self.needs_utility_model and self.switches.ot and self.utility_model.lambda_ot > 0

    @property
    def needs_batches(self) -> bool:
        """Whether the strategy picks batch by batch among M candidates."""
        return self.facts.proposes_batches

    @property
    def num_pretraining_iterations(self) -> int:
        """τ1 = ⌊(k−1)/b⌋. Deviation[exclusive-loops]: Algorithm 1 runs i = 0 : τ1, whose last step would leave S_0."""
        return (self.data.num_seed_labels - 1) // self.acquisition.batch_size

    @property
    def num_start_labels(self) -> int:
        """k1 = k − τ1·b, the labelled set that pretraining grows from."""
        return self.data.num_seed_labels - self.num_pretraining_iterations * self.acquisition.batch_size

    def fitting_sizes(self, least_start: int = 1) -> str:
        """Which b the budget, its rounds and, where û is learned, k allow, in words; `least_start` is the least k1.

        Where none does, the nearest B, else the next larger k, with a b that fits.
        """
        budget, known, given = self.acquisition.budget, self.data.num_seed_labels, self.acquisition.batch_size
        careful = max(least_start, USUAL_START, known // 5)  # before the data are read, classes are not counted
        for least in (careful, least_start):
            if sizes := self._fitting(budget, known, least):
                some = sizes if len(sizes) <= 3 else [sizes[0], sizes[len(sizes) // 2], sizes[-1]]
                return f"acquisition.batch_size {' or '.join(map(str, some))} fits"
        steps = range(1, MOST_STEPS + 1)
        budgets = [("acquisition.budget", near, known) for step in steps for near in (budget - step, budget + step)]
        starts = [("data.num_seed_labels", budget, known + step) for step in steps]
        for name, other_budget, other_known in (*budgets, *starts):
            if sizes := self._fitting(other_budget, other_known, careful):
                size = min(sizes, key=lambda size: abs(size - given))
                value = other_budget if name == "acquisition.budget" else other_known
                return f"no other b fits: {name} {value} with acquisition.batch_size {size} does"
        return "no other b fits: change acquisition.budget and data.num_seed_labels"

    def _fitting(self, budget: int, known: int, least_start: int) -> list[int]:
        """Each b that B = `budget` and k = `known` allow."""
        start = least_start if self.needs_utility_model else None
        return fitting_sizes(budget, known, num_rounds=self.num_rounds, least_start=start)

    def _check_rounds(self) -> None:
        """R divides B and, where batches are picked and b divides B, the batches."""
        budget, batch, given = self.acquisition.budget, self.acquisition.batch_size, self.acquisition.rounds
        parts = self.needs_batches and self.facts.reads("acquisition.rounds") and budget % batch == 0
        total = budget // batch if parts else budget
        what = f"the {total} batches of {batch} images" if parts else f"acquisition.budget (B = {budget})"
        if total % given:
            fitting = [number for number in range(1, min(total, MOST_TRIED) + 1) if total % number == 0]
            nearest = sorted(sorted(fitting, key=lambda number: abs(number - given))[:3])
            raise InvalidInput(
                f"acquisition.rounds must divide {what} into equal parts, got {given}; acquisition.rounds "
                f"{' or '.join(map(str, nearest))} fits."
            )

    def _check_batches(self) -> None:
        budget, batch = self.acquisition.budget, self.acquisition.batch_size
        if budget % batch or budget // batch < 2:
            raise InvalidInput(
                f"acquisition.batch_size (b) must divide acquisition.budget (B = {budget}) into at least 2 batches, "
                f"got b = {batch}; {self.fitting_sizes()}."
            )

    def _check_portfolio(self) -> None:
        usable = [name for name, facts in FACTS.items() if facts.can_join_portfolio]
        require(
            set(self.acquisition.strategies) <= set(usable),
            f"acquisition.portfolio must list some of {','.join(usable)}, got {self.acquisition.portfolio!r}.",
        )

    def _check_schedule(self) -> None:
        iterations = self.num_pretraining_iterations
        if not 1 <= iterations <= MOST_ITERATIONS:
            raise InvalidInput(
                f"acquisition.batch_size (b) must give 1 to {MOST_ITERATIONS} pretraining iterations, got {iterations} "
                f"from k = {self.data.num_seed_labels} and b = {self.acquisition.batch_size}; {self.fitting_sizes()}."
            )


def fitting_sizes(budget: int, known: int, *, num_rounds: int = 1, least_start: int | None = None) -> list[int]:
    """Each b that B = `budget` allows; where û is learned, from k = `known` labels, `least_start` is the least k1.

    >>> fitting_sizes(100, 160), fitting_sizes(100, 160, least_start=20)
    ([1, 2, 4, 5, 10, 20, 25, 50], [20])
    """

    def fits(size: int) -> bool:
        if budget % (size * num_rounds):
            return False
        iterations = (known - 1) // size
        return least_start is None or (1 <= iterations <= MOST_ITERATIONS and known - iterations * size >= least_start)

    return [size for size in range(1, min(budget // 2, MOST_TRIED) + 1) if fits(size)]
