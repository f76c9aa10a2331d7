"""The paper's ablation tables as ready-made studies at the paper's scale; flags change single fields of them."""

from dataclasses import dataclass, field

from ablations.factors import SWITCHES, Factor
from rambo.errors import require
from rambo.fields import Value
from rambo.strategies.facts import CONTROLS

PAPER_SEEDS = "0-9"
"""§5.1: ten trials."""

_SWITCHES = tuple(Factor(name, (False, True)) for name in SWITCHES)


@dataclass(frozen=True)
class Recipe:
    """What a table of the paper compares."""

    about: str
    preset: str
    factors: tuple[Factor, ...]
    fields: dict[str, Value] = field(default_factory=dict)
    """Over the preset."""
    controls: tuple[str, ...] = CONTROLS


RECIPES = {
    "table1": Recipe(
        "bilevel x OT x RankNet on CIFAR-10, k = 3500, B = 5000",
        "paper_cifar10",
        _SWITCHES,
        {"data.num_seed_labels": 3500},
    ),
    "table3": Recipe(
        "bilevel x OT x RankNet on Fashion-MNIST, k = 200, B = 500",
        "paper_fashion_mnist",
        _SWITCHES,
        {"evaluation.repeats": 3},
    ),
    "table4": Recipe(
        "bilevel x OT x RankNet on MNIST, k = 200, B = 500", "paper_mnist", _SWITCHES, {"evaluation.repeats": 3}
    ),
    "table5": Recipe(
        "bilevel x OT x RankNet on SVHN, k = 3500, B = 5000", "paper_svhn", _SWITCHES, {"data.num_seed_labels": 3500}
    ),
    "table6": Recipe(
        "λ_OT against the budget on CIFAR-10, k = 2500",
        "paper_cifar10",
        (
            Factor("acquisition.budget", (3000, 5000, 7000, 10000)),
            Factor("utility_model.lambda_ot", (0.0, 0.01, 0.1, 1.0, 10.0, 100.0)),
        ),
        controls=("random",),
    ),
}


def recipe(name: str) -> Recipe:
    """The recipe called `name`; raises `InvalidInput` with those there are."""
    require(name in RECIPES, f"--recipe must be one of {', '.join(RECIPES)}; got {name}.")
    return RECIPES[name]
