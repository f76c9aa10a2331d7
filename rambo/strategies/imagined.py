"""Imagined rounds (in no paper): B is picked in parts, and after each f is trained on the picks with guessed labels.

No label is asked for. The picks no longer repeat each other, since f has learned from the first what it would learn
from the next; and what the guesser already knows for sure is not bought.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from rambo.arrays import Indices, Labels
from rambo.data.pool import Pool
from rambo.strategies.request import Request, Select, Selection
from rambo.training.committee import Committee

Guess = Callable[[Indices], Labels]
"""The likeliest labels (n,) of images (n,)."""

Refit = Callable[[Pool], Committee]
"""The classifier that scores the pool, trained on all that the pool shows as labelled."""


def select_in_parts(
    select: Select, request: Request, generator: np.random.Generator, *, num_parts: int, guess: Guess, refit: Refit
) -> Selection:
    """B images picked by `select` in `num_parts` parts, whole batches where it `proposes` them.

    Before each part but the first, the picks so far count as labelled, with the labels of `guess`, and `refit` gives
    the classifier that scores what is left.
    """
    parts: list[Selection] = []
    for size in part_sizes(request, num_parts):
        if parts:
            pool = imagine(request.pool, parts[-1].indices, guess(parts[-1].indices))
            request = replace(request, pool=pool, scout=refit(pool))
        request = replace(request, budget=size)
        parts.append(select(request, generator))
    return Selection.one_after_another(parts)


def part_sizes(request: Request, num_parts: int) -> list[int]:
    """Sizes of at most `num_parts` parts of B, as equal as whole batches allow, larger ones first."""
    unit = request.batch_size if request.in_batches else 1
    units = request.budget // unit
    return [len(part) * unit for part in np.array_split(np.arange(units), min(num_parts, units))]


def imagine(pool: Pool, indices: Indices, labels: Labels) -> Pool:
    """The pool as if `indices` (n,) had been labelled with `labels` (n,) in a round of their own."""
    shown, rounds = pool.labels.copy(), pool.rounds.copy()
    shown[indices], rounds[indices] = labels, pool.rounds.max() + 1
    return replace(pool, labels=shown, rounds=rounds)
