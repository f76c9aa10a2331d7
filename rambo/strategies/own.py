"""Strategies of the user's own: what is known of them.

A function says what it wants by attributes, all of which may be left out: `grants` (some of `GRANTS`), `scores_pool`
and `num_scouts`. `rambo.own` finds it; its module is imported when its facts are asked for.
"""

from collections.abc import Iterable
from typing import Any, get_args

from rambo.errors import require
from rambo.own import Own
from rambo.strategies.facts import BATCHES, Grant, StrategyFacts

GRANTS = tuple(grant for grant in get_args(Grant) if grant not in ("measured", "marginally_measured"))
"""What one may ask for: not what only oracles are told, whose results tables mark as for study only."""

REQUEST = (*BATCHES, "acquisition.block_epsilon")
"""Fields that every request holds; which of them a function of the user's goes by is not known."""


def facts_of(name: str) -> StrategyFacts:
    """The record of a strategy of the user's own, whose module is imported now.

    Raises `InvalidInput` where there is no such function, or where it asks for what cannot be.
    """
    own = Own("strategy", name)
    select = own.function()
    scores_pool, num_scouts = getattr(select, "scores_pool", True), getattr(select, "num_scouts", 1)
    require(isinstance(scores_pool, bool), f"strategy {name} must have scores_pool True or False, got {scores_pool!r}.")
    require(
        isinstance(num_scouts, int) and num_scouts >= 1,
        f"strategy {name} must have num_scouts a number from 1, got {num_scouts!r}.",
    )
    return StrategyFacts(
        name=name,
        about="a function of your own",
        select=name,
        grants=_grants(name, select),
        scores_pool=scores_pool,
        num_scouts=num_scouts,
        own=REQUEST,
        source=own.source().digest,
    )


def _grants(name: str, select: Any) -> frozenset[Grant]:
    given = getattr(select, "grants", ())
    listed = list(given) if isinstance(given, Iterable) and not isinstance(given, str) else [given]
    unknown = [str(one) for one in listed if one not in GRANTS]
    require(not unknown, f"strategy {name} must have grants among {', '.join(GRANTS)}, got {', '.join(unknown)}.")
    return frozenset(listed)
