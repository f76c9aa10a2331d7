"""What the paper prints of its studies as text: Tables 1 to 6 and the minutes of B.7."""

from dataclasses import dataclass
from itertools import product

from ablations.factors import SWITCHES, Cell
from ablations.paper.recipes import TABLE6_BUDGETS


@dataclass(frozen=True)
class Printed:
    """A mean and its standard error."""

    mean: float
    """Validation accuracy, in percent."""
    error: float


VALIDATION_SIZES = (50, 100, 200, 400, 600, 800, 1000)
"""Columns of Table 2."""

_ON_AND_OFF = {
    "table1": "77.3 .2, 76.1 .3, 76.2 .4, 70.5 .3, 75.5 .3, 75.5 .3, 76.0 .8, 74.6 .7, 74.7 .3",
    "table3": "83.1 .1, 81.9 .2, 81.2 .4, 81.8 .2, 81.0 .3, 81.7 .2, 80.9 .3, 81.6 .1, 81.2 .2",
    "table4": "95.3 .2, 94.9 .2, 95.0 .1, 94.8 .2, 94.6 .1, 94.9 .1, 95.0 .2, 94.8 .2, 93.4 .1",
    "table5": "88.1 .3, 86.7 .2, 87.8 .3, 86.5 .3, 87.8 .2, 86.3 .1, 87.5 .1, 86.1 .2, 86.5 .3",
}
"""Rows in the paper's order: bilevel, OT, RankNet, each first on and then off; random last."""

_TABLE6 = {
    3000: "71.4 .2, 71.8 .6, 72.8 .3, 72.1 .2, 72.4 .3, 71.8 .5",
    5000: "75.2 .3, 76.1 .4, 76.0 .3, 77.2 .2, 75.5 .3, 75.7 .3",
    7000: "77.1 .3, 77.4 .4, 77.9 .5, 77.8 .3, 77.9 .3, 78.8 .9",
    10000: "79.3 .3, 80.0 .3, 80.1 .4, 80.9 .2, 80.3 .2, 81.6 .5",
}
"""Deviation[table6-heads]: "10e-2" and "10e-1" are read as 10⁻² and 10⁻¹, which is what lies between 0 and 1."""

_TABLE6_LAMBDAS = (0.0, 0.01, 0.1, 1.0, 10.0, 100.0)

_TABLE2 = {
    "svhn": "13.2 1.8, 13.2 1.2, 13.3 1.1, 13.0 1.0, 13.6 .9, 13.0 .9, 13.0 .8",
    "mnist": "75.8 .7, 75.7 .5, 76.3 .1, 76.4 .3, 76.0 .9, 77.0 .9, 76.4 .8",
    "fashion_mnist": "69.9 2.3, 71.4 1.5, 70.7 1.1, 71.2 .9, 71.2 .9, 70.7 .9, 71.2 .9",
    "cifar10": "35.8 2.0, 37.2 1.6, 37.0 .7, 36.5 .8, 36.6 .5, 36.8 .3, 36.6 .3",
}

MINUTES: dict[str, dict[str, tuple[float, ...]]] = {
    "runtimes-cifar10": {
        "rambo": (200, 50, 30),
        "llal": (0, 20, 50),
        "margin": (0, 5, 14),
        "glister": (0, 5, 20),
        "random": (0, 5, 10),
        "badge": (0, 5, 20),
        "coreset": (0, 5, 10),
    },
    "runtimes-svhn": {
        "rambo": (100, 29, 34),
        "llal": (0, 5, 30),
        "margin": (0, 5, 14),
        "glister": (0, 5, 20),
        "random": (0, 5, 10),
        "badge": (0, 5, 20),
        "coreset": (0, 5, 10),
    },
    "runtimes-mnist": {"rambo": (50, 39, 20)},
    "runtimes-fashion_mnist": {"rambo": (50, 32, 18)},
}
"""B.7, on two A40: by strategy the collection of 500 pairs ("offline"), the pretraining stage and the acquisition."""

NEGLIGIBLE = dict.fromkeys(
    ("runtimes-mnist", "runtimes-fashion_mnist"), ("margin", "glister", "random", "badge", "coreset")
)
"""Strategies whose times B.7 calls "negligible" there; of LLAL on these data it says nothing."""


def printed_cells(name: str) -> dict[str, Printed]:
    """What the paper prints of the study `name`, by the name of the cell; empty where it prints no numbers."""
    if name == "table6":
        return {
            Cell((("acquisition.budget", budget), ("utility_model.lambda_ot", level))).name: found
            for budget in TABLE6_BUDGETS
            for level, found in zip(_TABLE6_LAMBDAS, _read(_TABLE6[budget]), strict=True)
        }
    if name not in _ON_AND_OFF:
        return {}
    rows = (Cell(tuple(zip(SWITCHES, on, strict=True))).name for on in product((True, False), repeat=3))
    return dict(zip((*rows, "random"), _read(_ON_AND_OFF[name]), strict=True))


def printed_sizes(data: str) -> dict[int, Printed]:
    """Table 2's row of `data`, by |S_val|."""
    return dict(zip(VALIDATION_SIZES, _read(_TABLE2[data]), strict=True))


def _read(text: str) -> list[Printed]:
    return [Printed(float(mean), float(error)) for mean, error in map(str.split, text.split(","))]
