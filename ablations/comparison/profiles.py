"""How far from the best, and how often: performance profiles (Dolan and Moré 2002)."""

import numpy as np

from ablations.comparison.compared import Compared
from ablations.comparison.views import View, digits
from ablations.tables import Table
from rambo.arrays import Floats

RATIOS = (1.0, 1.05, 1.1, 1.2, 1.5, 2.0)
"""τ in tables: as good as the best, 5 % more errors than it, …"""


def error_ratios(accuracy: Floats) -> Floats:
    """r = error / smallest error of any method in that setting and on that seed, (methods, settings, seeds) likewise.

    Where the best makes no error, it has r = 1 and whoever makes one has r = ∞.

    >>> error_ratios(np.array([[[0.9]], [[0.8]]])).ravel().tolist()
    [1.0, 2.0]
    """
    errors = np.round(1 - accuracy, 12)
    best = errors.min(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios: Floats = np.where(errors == best, 1.0, np.round(errors / best, 9))
    return ratios


def profile(ratios: Floats, at: Floats) -> Floats:
    """ρ(τ), the share of settings and seeds with r ≤ τ: (methods, n); at τ = 1, how often each is the best.

    `ratios`: (methods, settings, seeds); `at`: (n,) values of τ ≥ 1.
    """
    within = ratios[..., None] <= at
    share: Floats = within.mean(axis=(1, 2))
    return share


def profiles_view(compared: Compared) -> View:
    """Shares at a few ratios, the method that is most often the best first."""
    shares = profile(error_ratios(compared.accuracy), np.array(RATIOS))
    order = sorted(range(len(shares)), key=lambda place: tuple(-shares[place]))
    rows = tuple((compared.methods[i], *(f"{share:.2f}" for share in shares[i])) for i in order)
    header = ("method", *("the best" if one == 1 else f"≤ {one:g}" for one in RATIOS))
    count = len(compared.settings) * len(compared.seeds)
    note = (
        f"Of {count} settings and seeds, the share in which a method makes at most so many times the errors of the "
        "best one there: its share at 1 is how often it is the best, ties included."
    )
    numbers = tuple(
        (compared.methods[i], one, digits(share)) for i in order for one, share in zip(RATIOS, shares[i], strict=True)
    )
    fields = ("method", "ratio", "share")
    return View("profiles", "Performance profile", Table(header, rows, ()), note, (fields, *numbers))
