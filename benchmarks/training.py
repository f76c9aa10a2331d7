"""Sets per second on one thread: loops as people write them, ours one by one, ours stacked, on the same sets.

The variants take turns, so that a machine whose speed drifts slows all of them alike; quote ratios. Arithmetic is
counted on the eager loop and set against the rate of a large matrix product on the same thread.

  python -m benchmarks training                                  # digits, embedded
  python -m benchmarks training --data.source npz:mnist.npz --classifier.name lenet5 --sets 16
"""

import argparse
import statistics
import time
from collections.abc import Callable, Sequence

import torch
from torch.nn import functional as F
from torch.profiler import ProfilerActivity, profile
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.records import keep, table
from benchmarks.sets import add_flags, make_sets
from rambo.cli import Parser
from rambo.randomness import torch_generator
from rambo.training.classifiers import build_classifier
from rambo.training.stacking import StackedTrainer
from rambo.training.trainer import Problem, SetSpec, Trainer

CPU = torch.device("cpu")
STACK = 8
"""Models in a stack, and sets in a turn."""

Train = Callable[[Sequence[SetSpec]], object]


def main(arguments: Sequence[str]) -> None:
    """Time each variant on each group of sets; print a table and keep it."""
    parser = Parser(
        prog="python -m benchmarks training", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    add_flags(parser, sets=16)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    problem, specs = make_sets(options)
    trainer, stacked = Trainer(problem, CPU), StackedTrainer(problem, CPU, capacity=STACK)
    variants: dict[str, Train] = {
        "DataLoader loop": lambda group: [eager(problem, spec, loader_batches) for spec in group],
        "index loop": lambda group: [eager(problem, spec, index_batches) for spec in group],
        "ours, one by one": lambda group: [trainer.train(spec) for spec in group],
        f"ours, stacked by {STACK}": lambda group: list(stacked.train(group)),
    }
    rates = {name: 1 / seconds for name, seconds in take_turns(variants, specs).items()}
    report(options, rates, count_flops(problem, specs[0]), peak_flops(), where_time_goes(trainer, specs[0]))


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
    images, labels = problem.tensor(spec.indices, CPU), torch.from_numpy(problem.labels[spec.indices])
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
            model(problem.tensor(judged, CPU)).argmax(1)


def take_turns(variants: dict[str, Train], specs: Sequence[SetSpec]) -> dict[str, float]:
    """Median seconds a set of each variant over groups of sets, after one group that warms up."""
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    groups = [specs[start : start + STACK] for start in range(0, len(specs), STACK)]
    for number, group in enumerate([groups[0], *groups]):
        for name, train in variants.items():
            start = time.perf_counter()
            train(group)
            if number > 0:
                seconds[name].append((time.perf_counter() - start) / len(group))
    return {name: statistics.median(values) for name, values in seconds.items()}


def count_flops(problem: Problem, spec: SetSpec) -> float:
    """Floating-point operations of one training by autograd, evaluation included (convolutions and matrix products)."""
    with FlopCounterMode(display=False) as counter:
        eager(problem, spec, index_batches)
    return float(counter.get_total_flops())


def peak_flops(side: int = 1024) -> float:
    """The best of twenty square float32 matrix products, in operations a second."""
    a, b = torch.rand(2, side, side)
    best = float("inf")
    for _ in range(20):
        start = time.perf_counter()
        a @ b
        best = min(best, time.perf_counter() - start)
    return 2 * side**3 / best


def where_time_goes(trainer: Trainer, spec: SetSpec) -> dict[str, float]:
    """Shares of the six costliest operators in one of our trainings; the rest is other operators and Python."""
    start = time.perf_counter()
    trainer.train(spec)
    alone = time.perf_counter() - start
    with profile(activities=[ProfilerActivity.CPU], acc_events=True) as profiler:
        start = time.perf_counter()
        trainer.train(spec)
        total = time.perf_counter() - start
    events = sorted(profiler.key_averages(), key=lambda event: -event.self_cpu_time_total)
    shares = {event.key: event.self_cpu_time_total / 1e6 / total for event in events[:6]}
    shares["others and Python"] = 1 - sum(shares.values())
    print(f"(under the profiler a training takes {total / alone:.2f} times as long)")
    return shares


def report(
    options: argparse.Namespace, rates: dict[str, float], flops: float, peak: float, shares: dict[str, float]
) -> None:
    """The tables, kept as JSON."""
    slowest = rates["DataLoader loop"]
    title = (
        f"{options.classifier} on {options.source}, {options.size} images a set, {options.epochs} epochs, one thread"
    )
    rows = [(name, rate, rate / slowest, f"{100 * rate * flops / peak:.0f} %") for name, rate in rates.items()]
    table(title, ("", "sets/s", "x DataLoader loop", "of the peak"), rows)
    print(f"  peak: {peak / 1e9:.0f} GFLOP/s in a matrix product; a training is {flops / 1e9:.2f} GFLOP")
    table("Where the time of ours goes", ("operator", "share"), [(k, f"{100 * v:.0f} %") for k, v in shares.items()])
    content = {"title": title, "sets_per_second": rates, "flop_per_set": flops, "peak_flop_per_second": peak}
    keep(f"training_{options.classifier}", {**content, "share_of_time": shares})
