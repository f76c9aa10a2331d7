"""make bench: sets per second on one thread, ours against loops as people write them, on the same sets.

The variants take turns set by set, so that a machine whose speed drifts slows all of them alike; quote ratios.

  python -m benchmarks                                  # digits, embedded
  python -m benchmarks --data.source npz:mnist.npz --classifier.name lenet5 --sets 20
"""

import argparse
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from rambo.classifiers import build_classifier
from rambo.cli import Parser
from rambo.fields import override
from rambo.preparation import prepare
from rambo.presets import quickstart
from rambo.randomness import torch_generator
from rambo.training import Problem, SetSpec, Trainer

Train = Callable[[SetSpec], float]


def main(arguments: Sequence[str]) -> None:
    """Time each variant on each set; print a table and write it as JSON."""
    parser = Parser(prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data.source", dest="source", default="digits")
    parser.add_argument("--classifier.name", dest="classifier", default="smallnet")
    parser.add_argument("--sets", type=int, default=20, help="sets to train with each variant")
    parser.add_argument("--size", type=int, default=120, help="images in a set")
    parser.add_argument("--json", type=Path, default=Path("benchmarks/training_speed.json"))
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    problem, specs = make_sets(options)
    variants = {
        "DataLoader loop": lambda spec: eager(problem, spec, loader_batches),
        "index loop": lambda spec: eager(problem, spec, index_batches),
        "ours, one by one": Trainer(problem, torch.device("cpu")).train,
    }
    seconds = take_turns(variants, specs)
    report(options, {name: statistics.median(values) for name, values in seconds.items()})


def make_sets(options: argparse.Namespace) -> tuple[Problem, list[SetSpec]]:
    """Random subsets of a seed set twice their size, with early stopping off so that all variants take equal steps."""
    changes = {
        "data.source": options.source,
        "classifier.name": options.classifier,
        "data.num_seed_labels": 2 * options.size,
        "training.batch_size": 64,
        "training.learning_rate": 1e-3,
        "training.max_epochs": 40,
        "training.target_accuracy": 1.0,
        "strategy": "random",
    }
    prepared = prepare(override(quickstart(), changes), Path("data"))
    order = torch_generator(0, "benchmark")
    seed_set = prepared.split.seed_set
    chosen = [torch.randperm(len(seed_set), generator=order)[: options.size].numpy() for _ in range(options.sets)]
    return prepared.problem(prepared.pool), [SetSpec(seed_set[index], 1 + n) for n, index in enumerate(chosen)]


def loader_batches(images: torch.Tensor, labels: torch.Tensor, generator: torch.Generator):  # type: ignore[no-untyped-def]
    """Batches as active-learning toolkits draw them."""
    return DataLoader(TensorDataset(images, labels), batch_size=64, shuffle=True, num_workers=0, generator=generator)


def index_batches(images: torch.Tensor, labels: torch.Tensor, generator: torch.Generator):  # type: ignore[no-untyped-def]
    """Batches by plain indexing."""
    order = torch.randperm(len(labels), generator=generator)
    return [(images[index], labels[index]) for index in order.split(64)]


def eager(problem: Problem, spec: SetSpec, batches: Callable) -> None:  # type: ignore[type-arg]
    """The same training by autograd and torch.optim.Adam, evaluated on the same images."""
    channels, height, width = problem.images.shape[1:]
    generator = torch_generator(spec.train_seed, "weights")
    model = build_classifier(problem.classifier, (channels, height, width), problem.num_classes, generator)
    images, labels = problem.tensor(spec.indices, torch.device("cpu")), torch.from_numpy(problem.labels[spec.indices])
    optimiser = torch.optim.Adam(model.parameters(), lr=problem.training.learning_rate)
    shuffle = torch_generator(spec.train_seed, "shuffle")
    for _ in range(problem.training.max_epochs):
        right = 0
        for x, y in batches(images, labels, shuffle):
            logits = model(x)
            optimiser.zero_grad()
            F.cross_entropy(logits, y).backward()
            optimiser.step()
            right += (logits.argmax(1) == y).sum().item()
        if right == len(labels):
            break
    with torch.inference_mode():
        for judged in (problem.validation, problem.test):
            model(problem.tensor(judged, torch.device("cpu"))).argmax(1)


def take_turns(variants: dict[str, Train], specs: Sequence[SetSpec]) -> dict[str, list[float]]:
    """Seconds of each variant on each set, after one set that warms up."""
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    for number, spec in enumerate([specs[0], *specs]):
        for name, train in variants.items():
            start = time.perf_counter()
            train(spec)
            if number > 0:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def report(options: argparse.Namespace, medians: dict[str, float]) -> None:
    """The table, and the same with hardware and versions as JSON."""
    slowest = medians["DataLoader loop"]
    print(
        f"{options.classifier} on {options.source}, {options.size} images a set, one thread, medians of {options.sets}"
    )
    for name, value in medians.items():
        print(f"  {name:18} {1 / value:7.2f} sets/s   {slowest / value:5.2f} x DataLoader loop")
    record = {
        "classifier": options.classifier,
        "images": options.size,
        "sets": options.sets,
        "seconds_per_set": medians,
        "machine": platform.processor() or platform.machine(),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }
    options.json.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
