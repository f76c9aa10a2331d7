"""Sets per second on one core: ours in stacks, ours one by one, and a loop over scikit-learn's LogisticRegression.

Digits' 64 pixels as embeddings; sets of 200 of 400 images, each fitted and scored on S_val and on the test images. The
variants take turns, so that a machine whose speed drifts slows all of them alike. Accuracies are over the same sets.

  python -m benchmarks linear
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from benchmarks.records import keep, table
from rambo.cli import Parser
from rambo.fields import override
from rambo.preparation import prepare
from rambo.presets import preset
from rambo.randomness import numpy_generator
from rambo.training.linear import LinearTrainer
from rambo.training.trainer import Problem, SetSpec, Trainer

CPU = torch.device("cpu")

Train = Callable[[Sequence[SetSpec]], list[float]]
"""Sets to the accuracy of each on the test images."""


def main(arguments: Sequence[str]) -> None:
    """Time each variant on the same sets; print a table and keep it."""
    parser = Parser(
        prog="python -m benchmarks linear", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--sets", type=int, default=1000, help="sets to train (default %(default)s)")
    parser.add_argument("--size", type=int, default=200, help="images in a set (default %(default)s)")
    parser.add_argument("--turn", type=int, default=100, help="sets that each variant trains at a time")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    problem, specs = make_sets(options.sets, options.size)
    variants: dict[str, Train] = {
        "scikit-learn, one by one": lambda group: scikit_learn(problem, group),
        "ours, one by one": lambda group: [Trainer(problem, CPU).train(spec).test_accuracy for spec in group],
        "ours, in stacks": lambda group: [one.test_accuracy for _, one in LinearTrainer(problem, CPU).train(group)],
    }
    with threadpool_limits(limits=1):
        seconds, accuracies = take_turns(variants, specs, options.turn)
    report(options, seconds, accuracies)


def make_sets(number: int, size: int) -> tuple[Problem, list[SetSpec]]:
    """Random halves of a seed set."""
    with tempfile.TemporaryDirectory() as folder:
        pixels, labels = load_digits(return_X_y=True)
        np.savez_compressed(Path(folder, "digits.npz"), x=pixels.astype(np.float32), y=labels)
        sizes = {"data.num_seed_labels": 2 * size, "data.num_validation": 500, "data.num_test": 500}
        changes = {"data.source": f"npz:{folder}/digits.npz", **sizes, "acquisition.budget": 100, "strategy": "random"}
        prepared = prepare(override(preset("embeddings"), changes), Path("data"))
    generator, seed_set = numpy_generator(0, "benchmark"), prepared.split.seed_set
    chosen = [generator.choice(seed_set, size, replace=False) for _ in range(number)]
    return prepared.problem(prepared.pool), [SetSpec(images, 1) for images in chosen]


def scikit_learn(problem: Problem, group: Sequence[SetSpec]) -> list[float]:
    """The same trainings as people write them; C = 1 and the tolerance are its defaults."""
    inputs = problem.tensor(np.arange(len(problem.labels)), CPU).numpy()
    accuracies = []
    for spec in group:
        model = LogisticRegression().fit(inputs[spec.indices], problem.labels[spec.indices])
        model.score(inputs[problem.validation], problem.labels[problem.validation])
        accuracies.append(model.score(inputs[problem.test], problem.labels[problem.test]))
    return accuracies


def take_turns(
    variants: dict[str, Train], specs: Sequence[SetSpec], turn: int
) -> tuple[dict[str, float], dict[str, list[float]]]:
    """Median seconds a set of each variant over groups of sets, after one group that warms up; and its accuracies."""
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    accuracies: dict[str, list[float]] = {name: [] for name in variants}
    for train in variants.values():
        train(specs[:turn])
    for first in range(0, len(specs), turn):
        group = specs[first : first + turn]
        for name, train in variants.items():
            start = time.perf_counter()
            accuracies[name] += train(group)
            seconds[name].append((time.perf_counter() - start) / len(group))
    return {name: statistics.median(values) for name, values in seconds.items()}, accuracies


def report(options: argparse.Namespace, seconds: dict[str, float], accuracies: dict[str, list[float]]) -> None:
    """The table, kept as JSON."""
    reference, *_ = accuracies.values()
    slowest = max(seconds.values())
    title = f"{options.sets} sets of {options.size} embedded digits, linear, one core"
    rows = []
    for name, found in accuracies.items():
        apart = 100 * np.abs(np.subtract(found, reference))
        rows.append(
            (name, 1 / seconds[name], slowest / seconds[name], f"{100 * np.mean(found):.2f} %", f"{apart.mean():.2f}")
        )
    heads = ("", "sets/s", "x slowest", "test accuracy", "points from scikit-learn's, mean over sets")
    table(title, heads, rows)
    rates = {name: 1 / value for name, value in seconds.items()}
    means = {name: float(np.mean(found)) for name, found in accuracies.items()}
    keep("linear", {"title": title, "sets_per_second": rates, "test_accuracy": means})
