"""What to expect before money is spent: strategies compared on the labels at hand.

The labelled images are cut into folds. Each fold in turn is the test set of an experiment among the other labelled
images, whose labels are hidden and bought again by each strategy. Every labelled image is tested on once. So few images
tell large differences alone; that nothing can be told is an answer.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.stats import t

from rambo.arrays import Floats, Indices
from rambo.config import Config, fitting_sizes
from rambo.console import Table
from rambo.data.dataset import Dataset
from rambo.errors import require
from rambo.experiment import Lab, run
from rambo.fields import Value, override
from rambo.formats import points
from rambo.labelling.own_pool import check_classes
from rambo.own import is_own
from rambo.preparation import Prepared, prepare_with
from rambo.randomness import numpy_generator
from rambo.result import Result
from rambo.strategies.facts import FACTS

FOLDS = 5

FEWEST = 40
"""Labelled images below which nothing is compared: a fold would be fewer than eight."""

SHARES = {"seed": 0.3, "validation": 0.1, "budget": 0.25}
"""Of the images outside a fold; the rest is what a strategy does not take."""


@dataclass(frozen=True, eq=False)
class Expectation:
    """Accuracy (strategies, folds) on the fold after buying, and before it (folds,)."""

    strategies: tuple[str, ...]
    accuracy: Floats
    before: Floats
    num_seed_labels: int
    num_bought: int
    num_tested: int

    def table(self) -> Table:
        """A row a strategy, the best first."""
        order = np.argsort(-self.accuracy.mean(axis=1), kind="stable")
        rows = [
            (self.strategies[row], f"{100 * self.accuracy[row].mean():.1f}", *self._beside(row, int(order[0])))
            for row in order.tolist()
        ]
        bought = f"{self.num_seed_labels} labels, then {self.num_bought} bought"
        return Table(
            ("strategy", "right %", "minus the best, points", "95 % interval"),
            rows,
            f"Of the labels at hand: {bought}, judged on all {self.num_tested} in {self.accuracy.shape[1]} folds",
        )

    def sentence(self) -> str:
        """Which is best, as far as that can be told."""
        means = self.accuracy.mean(axis=1)
        best = int(np.argmax(means))
        alike = [name for row, name in enumerate(self.strategies) if row != best and self._interval(row, best)[1] >= 0]
        gain = points(float(means[best] - self.before.mean()))
        begun = f"{self.strategies[best]} does best here, {gain} points above buying nothing"
        if not alike:
            return f"{begun}, and better than each of the others."
        if len(alike) == len(self.strategies) - 1:
            return f"Which is best cannot be told from {self.num_tested} labels. {begun}."
        return f"{begun}; that it is better than {', '.join(alike)} cannot be told from {self.num_tested} labels."

    def _beside(self, row: int, best: int) -> tuple[str, str]:
        if row == best:
            return "", ""
        low, high = self._interval(row, best)
        difference = self.accuracy[row] - self.accuracy[best]
        return points(float(difference.mean())), f"{points(low)} to {points(high)}"

    def _interval(self, row: int, best: int) -> tuple[float, float]:
        """Student's, over folds, widened for the images that their training sets share (Nadeau and Bengio, 2003)."""
        difference, folds = self.accuracy[row] - self.accuracy[best], self.accuracy.shape[1]
        error = float(difference.std(ddof=1)) * np.sqrt(1 / folds + 1 / (folds - 1))
        reach = float(t.ppf(0.975, folds - 1)) * float(error)
        return float(difference.mean()) - reach, float(difference.mean()) + reach


def planned(dataset: Dataset, base: Config, strategies: Sequence[str]) -> list[list[Prepared]]:
    """The experiments of each fold, one a strategy; raises `InvalidInput` where there are too few labels."""
    known = dataset.labelled
    require(
        len(known) >= FEWEST,
        f"--compare must have at least {FEWEST} labelled images, got {len(known)}; label more, or leave it out.",
    )
    askable = [name for name, facts in FACTS.items() if not facts.for_study]
    unknown = [name for name in strategies if name not in askable and not is_own(name)]
    require(
        not unknown,
        f"--compare must name strategies among {', '.join(askable)}, or functions of your own, module:function, got "
        f"{', '.join(unknown)}.",
    )
    require(len(set(strategies)) == len(strategies) >= 2, "--compare must name two or more different strategies.")
    check_classes(dataset)
    folds = _folds(dataset, known, base.seed)
    learns_utility = any(replace(base, strategy=name).facts.learns_utility for name in strategies)
    sizes = _sizes(len(known) - max(map(len, folds)), dataset.num_classes, learns_utility)
    return [
        [_prepared(dataset, known, fold, override(base, {**sizes, "strategy": name})) for name in strategies]
        for fold in folds
    ]


def expect(planned: Sequence[Sequence[Prepared]], lab: Lab) -> Expectation:
    """Run what is missing of the experiments; what they measure is in the store."""
    results = [[run(one, lab) for one in fold] for fold in planned]
    first = planned[0][0].config
    return Expectation(
        strategies=tuple(one.config.strategy for one in planned[0]),
        accuracy=np.array([[one.test_accuracy for one in fold] for fold in results]).T,
        before=np.array([_before(fold) for fold in results]),
        num_seed_labels=first.data.num_seed_labels,
        num_bought=first.acquisition.budget,
        num_tested=sum(fold[0].config.data.num_test for fold in planned),
    )


def _before(fold: Sequence[Result]) -> float:
    return fold[0].base_test_accuracy


def _folds(dataset: Dataset, known: Indices, seed: int) -> list[Indices]:
    """Disjoint parts of the places 0..len(known)-1, each with the class shares of the whole."""
    generator, labels = numpy_generator(seed, "folds"), dataset.labels[known]
    shuffled = generator.permutation(len(known))
    ordered = shuffled[np.argsort(labels[shuffled], kind="stable")]
    return [np.sort(ordered[start::FOLDS]) for start in range(FOLDS)]


def _prepared(dataset: Dataset, known: Indices, fold: Indices, config: Config) -> Prepared:
    part = replace(
        dataset,
        name=f"{dataset.name}-labelled"[-40:],
        images=dataset.images[known],
        labels=dataset.labels[known],
        test_candidates=fold,
        files=tuple(dataset.files[index] for index in known) if dataset.files else (),
        validation_candidates=None,
    )
    return prepare_with(part, override(config, {"data.num_test": len(fold)}))


def _sizes(available: int, num_classes: int, learns_utility: bool) -> dict[str, Value]:
    """Fields of an experiment on `available` images beside the fold; k is raised to one that û's chain has a b for."""
    seed = max(2 * num_classes, int(SHARES["seed"] * available))
    budget = max(2, int(SHARES["budget"] * available) // 2 * 2)
    least = 2 * num_classes if learns_utility else None
    fitting = {k: fitting_sizes(budget, k, least_start=least) for k in range(seed, seed + budget + 1)}
    number, sizes = next(((k, sizes) for k, sizes in fitting.items() if sizes), (seed, [1]))
    return {
        "data.num_seed_labels": number,
        "data.num_validation": max(1, int(SHARES["validation"] * available)),
        "data.stratified": True,
        "acquisition.budget": budget,
        "acquisition.batch_size": sizes[len(sizes) // 2],
        "evaluation.repeats": 3,
    }
