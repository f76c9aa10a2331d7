"""The paper's tables and figures as ready-made studies at the paper's scale; flags change single fields of them.

A name such as `fig4` stands for one study a data set (`fig4-mnist`, `fig4-svhn`, …), since k, B and f differ between
them. The figures' axes are no text: where the paper's words leave a choice, it is said beside the recipe.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from ablations.factors import SWITCHES, Factor
from rambo.errors import require
from rambo.fields import Value
from rambo.strategies.facts import CONTROLS

PAPER_SEEDS = "0-9"
"""§5.1: ten trials."""

LEARNING = ("rambo", "dulo", "llal", "random")
"""§5.2: what the figures of the main text compare."""

BASELINES = (*LEARNING, "margin", "badge", "coreset", "glister")
"""The same with those of B.1."""

TIMED = ("rambo", "llal", "margin", "glister", "random", "badge", "coreset")
"""B.7 gives minutes of these."""

DATA = {"mnist": "MNIST", "fashion_mnist": "Fashion-MNIST", "cifar10": "CIFAR-10", "svhn": "SVHN"}
"""The data sets of §5.1, in its order, by the name of their source; presets are called `paper_` and that."""

BUDGETS = {name: (500, 700, 900, 1000) if "mnist" in name else (5000, 7000, 9000, 10000) for name in DATA}
"""§5.1."""

TABLE6_BUDGETS = (3000, 5000, 7000, 10000)

NOISY: dict[str, Value] = {"data.label_noise": 0.2}
"""§5.5: a wrong label for 20 % of the data."""

IMBALANCED: dict[str, Value] = {"data.imbalance_classes": 0.3, "data.imbalance_fraction": 0.2}
"""§5.5: 20 % of the instances of 30 % of the classes are removed."""

FAIR = ("scout_margin",)
"""Beside the paper's: methods that learn from S_val's labels are compared with margin by who knows these labels."""

_SWITCHES = tuple(Factor(name, (False, True)) for name in SWITCHES)

_LAMBDAS = (0.0, 0.1, 1.0, 10.0)
"""Of Figures 2f and 8, whose orders of magnitude are fewer than Table 6's."""


@dataclass(frozen=True)
class Recipe:
    """What a table or figure of the paper compares on one data set."""

    about: str
    preset: str
    factors: tuple[Factor, ...]
    fields: dict[str, Value] = field(default_factory=dict)
    """Over the preset."""
    controls: tuple[str, ...] = CONTROLS

    @property
    def data(self) -> str:
        """The name of its data set."""
        return self.preset.removeprefix("paper_")


def _switches(data: str, **fields: Value) -> Recipe:
    sizes = "k = 200, B = 500" if "mnist" in data else "k = 3500, B = 5000"
    changed = {name.replace("__", "."): value for name, value in fields.items()}
    return Recipe(f"bilevel x OT x RankNet on {DATA[data]}, {sizes}", f"paper_{data}", _SWITCHES, changed)


def _compared(
    what: str,
    data: str,
    *factors: Factor,
    strategies: tuple[str, ...] = LEARNING,
    fields: Mapping[str, Value] | None = None,
) -> Recipe:
    """Strategies as a factor beside `factors`; random selection is one of them.

    RAMBO, DULO and GLISTER learn from S_val's labels, so f is trained on these as well, with what was bought and with
    nothing bought, and margin by a scout that knows them stands beside.
    """
    crossed = (*factors, Factor("strategy", strategies))
    changed = {**_repeats(data), "evaluation.with_validation": True, **(fields or {})}
    return Recipe(f"{what} on {DATA[data]}", f"paper_{data}", crossed, changed, controls=FAIR)


def _plain(what: str, data: str, *factors: Factor) -> Recipe:
    """`factors` crossed, and nothing beside."""
    return Recipe(f"{what} on {DATA[data]}", f"paper_{data}", factors, _repeats(data), controls=())


def _repeats(data: str) -> dict[str, Value]:
    return {"evaluation.repeats": 3} if "mnist" in data else {}


def _budget(levels: tuple[int, ...]) -> Factor:
    return Factor("acquisition.budget", levels)


def _tables() -> Iterator[tuple[str, Recipe]]:
    yield "table1", _switches("cifar10", data__num_seed_labels=3500)
    yield "table3", _switches("fashion_mnist", evaluation__repeats=3)
    yield "table4", _switches("mnist", evaluation__repeats=3)
    yield "table5", _switches("svhn", data__num_seed_labels=3500)
    table6 = (_budget(TABLE6_BUDGETS), Factor("utility_model.lambda_ot", (0.0, 0.01, 0.1, 1.0, 10.0, 100.0)))
    about = "λ_OT against the budget on CIFAR-10, k = 2500"
    yield "table6", Recipe(about, "paper_cifar10", table6, controls=("random",))


def _figure2() -> Iterator[tuple[str, Recipe]]:
    """Panels a to d in the order of §5.1's data sets."""
    for panel, data in zip("abcd", DATA, strict=True):
        yield f"fig2{panel}", _compared("learning-based strategies over the budgets", data, _budget(BUDGETS[data]))
    seed_labels = Factor("data.num_seed_labels", (1500, 2500, 3500, 4500, 5500))  # B.4 names its ends, of SVHN
    yield "fig2e", _compared("strategies over k, B = 5000,", "cifar10", seed_labels)
    factors = (_budget(TABLE6_BUDGETS), Factor("utility_model.lambda_ot", _LAMBDAS))
    yield "fig2f", _plain("λ_OT over the budgets, k = 2500,", "cifar10", *factors)


def _figure3() -> Iterator[tuple[str, Recipe]]:
    """On CIFAR-10, which §5.4 and §5.5 take as their example."""
    budgets = _budget(BUDGETS["cifar10"])
    yield "fig3b", _compared("strategies under 20 % wrong labels", "cifar10", budgets, fields=NOISY)
    yield "fig3c", _compared("strategies under class imbalance", "cifar10", budgets, fields=IMBALANCED)


def _supplement() -> Iterator[tuple[str, Recipe]]:
    scenes = {"fig4": ("clean data", {}), "fig5": ("20 % wrong labels", NOISY), "fig6": ("imbalance", IMBALANCED)}
    for name, (scene, fields) in scenes.items():
        for data in DATA:
            what = f"all strategies, {scene}, B = {BUDGETS[data][0]},"
            yield f"{name}-{data}", _compared(what, data, strategies=BASELINES, fields=fields)
    for data in ("fashion_mnist", "mnist", "svhn"):
        sizes = (1500, 2500, 3500, 4500, 5500) if data == "svhn" else (100, 200, 300)
        seed_labels = Factor("data.num_seed_labels", sizes)
        yield f"fig7-{data}", _compared("all strategies over k", data, seed_labels, strategies=BASELINES)
    for data in ("fashion_mnist", "mnist", "svhn"):
        factors = (_budget(BUDGETS[data]), Factor("utility_model.lambda_ot", _LAMBDAS))
        yield f"fig8-{data}", _plain("λ_OT over the budgets", data, *factors)
    for data in DATA:
        yield f"runtimes-{data}", _plain("minutes of each stage", data, Factor("strategy", TIMED))


RECIPES: dict[str, Recipe] = dict([*_tables(), *_figure2(), *_figure3(), *_supplement()])
"""Every study by name."""


SIZED = {"table2": tuple(DATA), "fig3a": ("cifar10",)}
"""Those that need no trial (`ablations.paper.validation_sizes`), with their data sets."""


def recipe(name: str) -> Recipe:
    """The recipe called `name`; raises `InvalidInput` with those there are."""
    require(name in RECIPES, f"--recipe must be one of {', '.join(names())}; got {name}.")
    return RECIPES[name]


def names() -> list[str]:
    """One name a table or figure: `table1`, `fig4` and so on."""
    return list(dict.fromkeys(name.partition("-")[0] for name in (*RECIPES, *SIZED)))


def studies(name: str) -> dict[str, Recipe]:
    """The studies that `name` stands for, by name: itself, or one a data set; raises `InvalidInput` for no name."""
    found = {one: chosen for one, chosen in RECIPES.items() if name in (one, one.partition("-")[0])}
    return found or {name: recipe(name)}
