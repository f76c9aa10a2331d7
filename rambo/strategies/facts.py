"""What is known of each strategy without running it: one record each, and the one place where strategies differ.

Configuration, ids, plans, controls, figures and tables ask the record; so does whoever hands a strategy what it may
use. A new strategy is its file and its record. Nothing here needs torch.
"""

from dataclasses import dataclass
from typing import Literal

Grant = Literal["utility", "validation_labels", "learning_rate", "training"]
"""What a strategy can be given beside the pool and f's predictions: û's scores of sets | the labels of S_val |
the step size that f is trained with | a way to train f on labelled images."""

EVERY = ("data.", "classifier.", "training.", "acquisition.budget", "evaluation.repeats", "strategy")
"""Fields, or whole sections, that every strategy's result depends on."""

BATCHES = ("acquisition.batch_size", "acquisition.candidate_batches")
"""Those of a strategy that proposes batches of b among M candidates."""

SCOUTS = ("acquisition.scout", "acquisition.num_scouts")
"""Those of a strategy that scores the pool by a classifier."""

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
    """Whether a classifier's predictions or features enter its choice; which labels that one has seen is a field."""
    num_scouts: int = 1
    """How many trainings of that classifier it asks for, unless `acquisition.num_scouts` names another number."""
    proposes_batches: bool = False
    """Whether it picks batch by batch among the M candidates that the margin filter lets through."""
    own: tuple[str, ...] = ()
    """Fields, or whole sections, that it reads beside those of all strategies of its sort."""
    is_control: bool = False
    """Whether studies run it beside the method unless told otherwise."""
    source: str = ""
    """Digest of the file that it is written in, where it is the user's own (`rambo.strategies.own`)."""

    @property
    def learns_utility(self) -> bool:
        """Whether û is learned for it."""
        return "utility" in self.grants

    @property
    def sees_validation_labels(self) -> bool:
        """Whether labels of S_val enter its choice; û has learned from them."""
        return bool(self.grants & {"utility", "validation_labels"})

    def reads(self, field: str) -> bool:
        """Whether the configuration's `field` can change its result."""
        parts = ((BATCHES, self.proposes_batches), (SCOUTS, self.scores_pool), (UTILITY, self.learns_utility))
        read = (*EVERY, *self.own, *(name for names, reads in parts if reads for name in names))
        return any(field == one or (one.endswith(".") and field.startswith(one)) for one in read)


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
    )
}
"""By name, in the order in which they are listed to people."""

STRATEGIES = tuple(FACTS)

CONTROLS = tuple(name for name, facts in FACTS.items() if facts.is_control)
"""Strategies that the method is compared with; the last shows what û adds over the margin filter."""
