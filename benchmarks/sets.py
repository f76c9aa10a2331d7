"""The sets that the benchmarks train on."""

import argparse
from pathlib import Path

import torch

from rambo.fields import override
from rambo.preparation import prepare
from rambo.presets import quickstart
from rambo.randomness import torch_generator
from rambo.training.trainer import Problem, SetSpec


def add_flags(parser: argparse.ArgumentParser, *, sets: int, epochs: int = 40) -> None:
    """The flags that say which sets."""
    parser.add_argument(
        "--data.source", dest="source", default="digits", help="digits or npz:PATH (default %(default)s)"
    )
    parser.add_argument("--classifier.name", dest="classifier", default="smallnet", help="default %(default)s")
    parser.add_argument("--sets", type=int, default=sets, help="sets to train (default %(default)s)")
    parser.add_argument("--size", type=int, default=120, help="images in a set (default %(default)s)")
    parser.add_argument("--epochs", type=int, default=epochs, help="epochs of each training (default %(default)s)")


def make_sets(options: argparse.Namespace) -> tuple[Problem, list[SetSpec]]:
    """Random subsets of a seed set twice their size, with early stopping off so that all variants take equal steps."""
    changes = {
        "data.source": options.source,
        "classifier.name": options.classifier,
        "data.num_seed_labels": 2 * options.size,
        "training.batch_size": 64,
        "training.learning_rate": 1e-3,
        "training.max_epochs": options.epochs,
        "training.target_accuracy": 1.0,
        "strategy": "random",
    }
    prepared = prepare(override(quickstart(), changes), Path("data"))
    order = torch_generator(0, "benchmark")
    seed_set = prepared.split.seed_set
    chosen = [torch.randperm(len(seed_set), generator=order)[: options.size].numpy() for _ in range(options.sets)]
    return prepared.problem(prepared.pool), [SetSpec(seed_set[index], 1 + n) for n, index in enumerate(chosen)]
