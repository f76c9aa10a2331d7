"""A chosen method against each of the others, on paired seeds."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ablations.comparison.compared import Compared
from ablations.comparison.views import View, digits
from ablations.tables import Table
from rambo.arrays import Floats
from rambo.formats import interval, p_value, points, relation
from rambo.inference import ALPHA, Estimate, estimate, holm
from rambo.randomness import numpy_generator

TEST_FIELDS = ("difference", "difference_se", "difference_low", "difference_high", "p", "p_holm")
"""A paired comparison in CSV files."""

TESTS = ("difference", "95 % interval", "sign-flip p", "after Holm")
"""The same in tables."""


@dataclass(frozen=True)
class Rival:
    """One of the others."""

    name: str
    estimate: Estimate
    """Of the chosen method minus this one."""
    p_holm: float
    """Of the sign-flip test, over all rivals."""

    @property
    def is_beaten(self) -> bool:
        """Whether the chosen method is shown to be better."""
        return self.estimate.mean > 0 and self.p_holm < ALPHA


def rivals(values: Floats, names: Sequence[str], chosen: int, margin: float) -> tuple[Rival, ...]:
    """The differences of `values` (methods, seeds) between row `chosen` and every other, Holm's p over all of them.

    Needs two seeds at least; `margin` is that of equivalence, in the unit of `values`.
    """
    others = [place for place in range(len(names)) if place != chosen]
    found = []
    for place in others:
        differences = np.round(values[chosen] - values[place], 12)
        one = estimate(list(differences), margin, numpy_generator(0, "sign flips", "rival", names[place]))
        if one is None:
            raise ValueError(f"a rival must have two seeds at least, got {values.shape[1]}")
        found.append(one)
    adjusted = holm([one.p for one in found])
    return tuple(Rival(names[place], one, p) for place, one, p in zip(others, found, adjusted, strict=True))


def beats_all(found: Sequence[Rival]) -> float | None:
    """The p of "better than every one", the largest of all, which needs no correction (Berger 1982).

    None where the chosen method's mean is not above each rival's.
    """
    if any(rival.estimate.mean <= 0 for rival in found):
        return None
    return max(rival.estimate.p for rival in found)


def rivals_view(compared: Compared, margin: float) -> View:
    """The reference against each other method, over all settings."""
    chosen = compared.methods[compared.reference]
    found = rivals(compared.accuracy.mean(axis=1), compared.methods, compared.reference, margin)
    rows = tuple((f"{chosen} − {one.name}", *told(one)) for one in found)
    over = f", each the mean over {len(compared.settings)} settings" if len(compared.settings) > 1 else ""
    best = beats_all(found)
    every = (
        f"That {chosen} is better than every one has p {relation(best)}, the largest of theirs uncorrected."
        if best is not None
        else f"{chosen} {'has not' if any(one.estimate.mean < 0 for one in found) else 'shares'} the highest mean."
    )
    note = (
        f"Differences of test accuracy in points{over}, on paired seeds, {len(compared.seeds)} of them: mean ± "
        f"standard error, t interval, two-sided sign-flip p, and after Holm's correction over {len(found)} rivals. "
        f"{every}"
    )
    numbers = tuple((chosen, one.name, one.estimate.n, *numbers_of(one)) for one in found)
    fields = ("chosen", "rival", "n", *TEST_FIELDS)
    return View("rivals", f"{chosen} against each", Table(("pair", *TESTS), rows, ()), note, (fields, *numbers))


def told(rival: Rival) -> tuple[str, str, str, str]:
    """What a table says of one."""
    found = rival.estimate
    if not found.varies:
        return (f"{points(found.mean)} on every seed", "cannot be told", p_value(found.p), p_value(rival.p_holm))
    spread = f"{points(found.mean)} ± {100 * found.se:.2f}"
    return (spread, interval(found.low, found.high), p_value(found.p), p_value(rival.p_holm))


def numbers_of(rival: Rival | None) -> tuple[object, ...]:
    """The same in numbers; empty for the chosen one itself."""
    if rival is None:
        return ("",) * len(TEST_FIELDS)
    one = rival.estimate
    return tuple(map(digits, (one.mean, one.se, one.low, one.high, one.p, rival.p_holm)))
