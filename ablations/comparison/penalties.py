"""Who beats whom, and how often: the pairwise penalty matrix of BADGE's authors."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ablations.comparison.compared import Compared
from ablations.comparison.views import View, digits
from ablations.tables import Table
from rambo.arrays import Floats
from rambo.inference import ALPHA, t_p


@dataclass(frozen=True, eq=False)
class Penalties:
    """Wins by row over column."""

    wins: Floats
    """(methods, methods): P[i, j] counts the settings where i beats j, those of a data set as one."""
    losses: Floats
    """(methods,) column means, the zero diagonal among them: lower is better."""
    num_data_sets: int
    """The most that an entry can be."""


def penalise(accuracy: Floats, data_sets: Sequence[str], alpha: float = ALPHA) -> Penalties:
    """P of `accuracy` (methods, settings, seeds), the setting's data set in `data_sets` (Ash et al. 2020, §4).

    P[i, j] grows by 1/(settings of the data set) for each setting in which i's mean is above j's and a paired two-sided
    t test over seeds has p < `alpha`. Each pair is tested by itself: of equal methods one beats another in 5 % of the
    settings.
    """
    names = list(data_sets)
    weights = np.array([1 / names.count(name) for name in names])
    differences = np.round(accuracy[:, None] - accuracy[None], 12)
    beaten = (differences.mean(axis=-1) > 0) & (t_p(differences) < alpha)
    wins: Floats = (beaten * weights).sum(axis=-1)
    return Penalties(wins, wins.mean(axis=0), len(set(names)))


def penalties_view(compared: Compared) -> View:
    """The matrix, its columns numbered as its rows, and the column means below."""
    found = penalise(compared.accuracy, [setting.data for setting in compared.settings])
    places = range(len(compared.methods))
    labels = [f"{place + 1} {name}" for place, name in enumerate(compared.methods)]
    rows = tuple(
        (labels[i], *("–" if i == j else f"{found.wins[i, j]:.2f}" for j in places), f"{found.wins[i].mean():.2f}")
        for i in places
    )
    total = ("loses, mean of its column", *(f"{one:.2f}" for one in found.losses), "")
    header = ("beats", *(str(place + 1) for place in places), "mean")
    note = (
        "Each row counts the settings in which its method beats that of the column, by a paired two-sided t test over "
        f"seeds at 5 %, those of a data set as one: {found.num_data_sets} is all of them. The last row is how often a "
        "method loses, its own zero among the mean: lower is better. Pairs are tested one by one, without a correction."
    )
    numbers = tuple(
        (compared.methods[i], compared.methods[j], digits(found.wins[i, j])) for i in places for j in places if i != j
    )
    fields = ("winner", "loser", "share")
    return View("penalties", "Who beats whom", Table(header, rows, (total,)), note, (fields, *numbers))
