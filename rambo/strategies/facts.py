"""What is known of each strategy without running it: one record each, and the one place where strategies differ.

Configuration, ids, plans, controls, figures and tables ask the record; so does whoever hands a strategy what it may
use. A new strategy is its file and its record. Nothing here needs torch.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

Grant = Literal[
    "utility",
    "validation_labels",
    "learning_rate",
    "training",
    "predicted_loss",
    "measured",
    "marginally_measured",
]
"""What a strategy can be given beside the pool and f's predictions: û's scores of sets | the labels of S_val |
the step size that f is trained with | a way to train f on labelled images | what f's losses are predicted to be by a
module trained beside it | measured utilities of sets, with the labels that would be bought | or with labels drawn from
the predictions of who scores the pool."""

EVERY = (
    "data.",
    "classifier.",
    "training.",
    "acquisition.budget",
    "evaluation.repeats",
    "evaluation.with_validation",
    "evaluation.first_repeat",
    "strategy",
)
"""Fields, or whole sections, that every strategy's result depends on."""

BATCHES = ("acquisition.batch_size", "acquisition.candidate_batches")
"""Those of a strategy that proposes batches of b among M candidates."""

SCOUTS = tuple(f"acquisition.{name}" for name in ("scout", "num_scouts", "refit", "num_parts", "rounds"))
"""Those of a strategy that scores the pool by a classifier, which more labels make another one."""

LOSSES = ("acquisition.scout", "acquisition.rounds")
"""Those of a strategy that goes by predicted losses: the f beside them has seen what a scout has."""

UTILITY = (
    "offline.",
    "pretraining.",
    "utility.",
    "utility_model.",
    "switches.",
    "evaluation.num_held_out_pairs",
    "evaluation.num_ceiling_pairs",
    "acquisition.batch_size",
)
"""Those of a strategy that learns û."""


@dataclass(frozen=True, kw_only=True)
class StrategyFacts:
    """One strategy."""

    name: str
    about: str
    """For --help."""
    select: str
    """`package.module:function`, a `rambo.strategies.request.Select`."""
    grants: frozenset[Grant] = frozenset()
    """What it is handed; all else is out of its reach."""
    scores_pool: bool = True
    """Whether it is handed a classifier's predictions and features; which labels that one has seen is a field."""
    num_scouts: int = 1
    """How many trainings of that classifier it asks for, unless `acquisition.num_scouts` names another number."""
    proposes_batches: bool = False
    """Whether it picks batch by batch among the M candidates that the margin filter lets through."""
    fixed: tuple[tuple[str, str | int | float | bool], ...] = ()
    """(field, value) that make it what it is, whatever the configuration says."""
    own: tuple[str, ...] = ()
    """Fields, or whole sections, that it reads beside those of all strategies of its sort."""
    num_trainings: int = 0
    """How many trainings of f each of its choices asks for, at most, beside those that score the pool."""
    reads_gradients: bool = False
    """Whether it reckons with gradients by f's last layer, taken to be linear on f's features."""
    for_study: bool = False
    """Whether nobody could use it, since it is told what a label would be, or trains on every candidate."""
    is_control: bool = False
    """Whether studies run it beside the method unless told otherwise."""
    source: str = ""
    """Digest of the file that it is written in, where it is the user's own (`rambo.strategies.own`)."""

    @property
    def learns_utility(self) -> bool:
        """Whether û is learned for it."""
        return "utility" in self.grants

    @property
    def predicts_losses(self) -> bool:
        """Whether a module learns f's losses for it."""
        return "predicted_loss" in self.grants

    @property
    def sees_validation_labels(self) -> bool:
        """Whether labels of S_val enter its choice; û has learned from them."""
        return bool(self.grants & {"utility", "validation_labels", "measured", "marginally_measured"})

    @property
    def measures_candidates(self) -> bool:
        """Whether f is trained with each candidate batch."""
        return bool(self.grants & {"measured", "marginally_measured"})

    @property
    def can_join_portfolio(self) -> bool:
        """Whether it picks from the pool and f's predictions alone, as many images as it is asked for."""
        return not (self.grants or self.proposes_batches or self.fixed) and self.num_scouts == 1

    def reads(self, field: str) -> bool:
        """Whether the configuration's `field` can change its result."""
        return field in self._read or field.startswith(self._read_sections)

    @cached_property
    def _read(self) -> frozenset[str]:
        parts = (
            (BATCHES, self.proposes_batches),
            (SCOUTS, self.scores_pool),
            (LOSSES, self.predicts_losses),
            (UTILITY, self.learns_utility),
        )
        return frozenset((*EVERY, *self.own, *(name for names, reads in parts if reads for name in names)))

    @cached_property
    def _read_sections(self) -> tuple[str, ...]:
        """Beginnings of names, of which all that begin so are read."""
        return tuple(name for name in self._read if name.endswith("."))


FACTS = {
    facts.name: facts
    for facts in (
        StrategyFacts(
            name="rambo",
            about="the candidate batch that û likes best (Algorithm 2)",
            select="rambo.strategies.rambo:select_by_utility",
            grants=frozenset({"utility"}),
            proposes_batches=True,
        ),
        StrategyFacts(
            name="random",
            about="uniformly at random",
            select="rambo.strategies.random_sampling:select_random",
            scores_pool=False,
            is_control=True,
        ),
        StrategyFacts(
            name="margin",
            about="the smallest margins",
            select="rambo.strategies.margin_sampling:select_margin",
            is_control=True,
        ),
        StrategyFacts(
            name="filtered_random",
            about="a random batch of the same M candidates",
            select="rambo.strategies.filtered_random:select_filtered_random",
            proposes_batches=True,
            is_control=True,
        ),
        StrategyFacts(
            name="entropy",
            about="the largest entropies of f's predictions",
            select="rambo.strategies.entropy:select_entropy",
        ),
        StrategyFacts(
            name="least_confidence",
            about="the smallest probabilities of the likeliest class",
            select="rambo.strategies.least_confidence:select_least_confidence",
        ),
        StrategyFacts(
            name="coreset",
            about="the farthest from all that is labelled, in f's features (CoreSet)",
            select="rambo.strategies.coreset:select_coreset",
        ),
        StrategyFacts(
            name="badge",
            about="large gradients of f's last layer that differ (BADGE)",
            select="rambo.strategies.badge:select_badge",
            reads_gradients=True,
        ),
        StrategyFacts(
            name="scout_margin",
            about="margin by a classifier that has seen S_val's labels as well, as û has",
            select="rambo.strategies.margin_sampling:select_margin",
            fixed=(("acquisition.scout", "seed_and_validation"),),
            is_control=True,
        ),
        StrategyFacts(
            name="ensemble_margin",
            about="the smallest margins of the mean probabilities of several classifiers",
            select="rambo.strategies.margin_sampling:select_margin",
            num_scouts=5,
        ),
        StrategyFacts(
            name="glister",
            about="the gradient steps that lower the loss on S_val most (GLISTER-online)",
            select="rambo.strategies.glister:select_glister",
            grants=frozenset({"validation_labels", "learning_rate"}),
            reads_gradients=True,
        ),
        StrategyFacts(
            name="typiclust",
            about="the most typical image of each cluster of f's features (TypiClust)",
            select="rambo.strategies.typiclust:select_typical",
        ),
        StrategyFacts(
            name="uncertainty_herding",
            about="cover the images that f is unsure of, in f's features (UHerding)",
            select="rambo.strategies.uncertainty_herding:select_by_herding",
            grants=frozenset({"training"}),
            num_trainings=5,
        ),
        StrategyFacts(
            name="oracle",
            about="the candidate batch that f learns most from, by training on true labels (for study only)",
            select="rambo.strategies.oracle:select_by_measuring",
            grants=frozenset({"measured"}),
            proposes_batches=True,
            own=("acquisition.oracle_repeats",),
            for_study=True,
        ),
        StrategyFacts(
            name="marginal_oracle",
            about="the same by training on labels drawn from the predictions (for study only)",
            select="rambo.strategies.oracle:select_by_measuring",
            grants=frozenset({"marginally_measured"}),
            proposes_batches=True,
            own=("acquisition.oracle_repeats",),
            for_study=True,
        ),
        StrategyFacts(
            name="portfolio",
            about="the batch that û likes best among those of several strategies",
            select="rambo.strategies.portfolio:select_from_portfolio",
            grants=frozenset({"utility"}),
            proposes_batches=True,
            own=("acquisition.portfolio",),
        ),
        StrategyFacts(
            name="portfolio_random",
            about="any batch of the same portfolio",
            select="rambo.strategies.portfolio:select_any_of_portfolio",
            proposes_batches=True,
            own=("acquisition.portfolio",),
        ),
        StrategyFacts(
            name="portfolio_oracle",
            about="the batch of the same portfolio that f learns most from, by true labels (for study only)",
            select="rambo.strategies.oracle:select_from_portfolio_by_measuring",
            grants=frozenset({"measured"}),
            proposes_batches=True,
            own=("acquisition.oracle_repeats", "acquisition.portfolio"),
            for_study=True,
        ),
        StrategyFacts(
            name="dulo",
            about="the random block of the whole pool that a û by regression likes best (Wang et al. 2023)",
            select="rambo.strategies.dulo:select_by_blocks",
            grants=frozenset({"utility"}),
            scores_pool=False,
            proposes_batches=True,
            fixed=(
                ("switches.bilevel", False),
                ("switches.ot", False),
                ("switches.ranknet", False),
                ("acquisition.candidate_batches", "all"),
            ),
            own=("acquisition.block_epsilon",),
        ),
        StrategyFacts(
            name="llal",
            about="the largest losses of f as a module beside it predicts them (Yoo and Kweon 2019)",
            select="rambo.strategies.llal:select_by_predicted_loss",
            grants=frozenset({"predicted_loss"}),
            scores_pool=False,
        ),
    )
}
"""By name, in the order in which they are listed to people."""

STRATEGIES = tuple(FACTS)

CONTROLS = tuple(name for name, facts in FACTS.items() if facts.is_control)
"""Strategies that the method is compared with: what anybody would use, the margin filter without û, equal labels."""
