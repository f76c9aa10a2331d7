"""One by one against stacked on one device, K swept, and the time of 1000 sets: what the stacking of a GPU gains.

Needs torch, numpy and this checkout, nothing else; ResNet-18 needs torchvision too. Without --data, images are random
at MNIST's (or CIFAR-10's) shape and labels too, so that no training stops early and every variant takes the same steps.

  python -m benchmarks gpu
  python -m benchmarks gpu --classifier resnet18 --size 500 --epochs 10 --stacks 2,4,8,16
  python -m benchmarks gpu --data mnist.npz                 # arrays x, y: early stopping as in a real collection
"""

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from benchmarks.records import keep, table
from rambo.data.dataset import Normalisation
from rambo.sections import Training
from rambo.training.stacking import StackedTrainer
from rambo.training.trainer import Problem, SetSpec, Trainer

SHAPES = {"lenet5": (1, 28, 28), "mnistnet": (1, 28, 28), "smallnet": (1, 8, 8), "resnet18": (3, 32, 32)}


def main(arguments: Sequence[str]) -> None:
    """Sweep K; print a table and keep it."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks gpu", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--classifier", choices=tuple(SHAPES), default="lenet5")
    parser.add_argument("--data", type=Path, help="npz file with images x and labels y")
    parser.add_argument("--size", type=int, default=120, help="images in the largest set; the smallest has a third")
    parser.add_argument("--epochs", type=int, default=40, help="epochs at most")
    parser.add_argument("--stacks", default="16,64,256,512", help="values of K (default %(default)s)")
    parser.add_argument("--sets", type=int, default=1000, help="sets of the last row (default %(default)s)")
    parser.add_argument("--alone", type=int, default=8, help="sets trained one by one (default %(default)s)")
    parser.add_argument("--autocast", action="store_true", help="bfloat16 and channels last in the stack")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args(arguments)
    device = torch.device(options.device)
    problem = make_problem(options)
    rows = [measure_alone(problem, device, options)]
    for capacity in map(int, options.stacks.split(",")):
        rows.append(measure_stacked(problem, device, options, capacity, num_sets=2 * capacity))
    rows.append(measure_stacked(problem, device, options, None, num_sets=options.sets))
    alone = float(rows[0]["sets_per_second"])
    title = f"{options.classifier}, up to {options.size} images, {options.epochs} epochs, on {describe(device)}"
    cells = [(r["variant"], r["sets_per_second"], r["sets_per_second"] / alone, r["seconds"], r["gib"]) for r in rows]
    table(title, ("", "sets/s", "x one by one", "seconds", "GiB"), cells)
    keep(
        f"gpu_{options.classifier}",
        {"title": title, "rows": rows, "options": {k: str(v) for k, v in vars(options).items()}},
    )


def make_problem(options: argparse.Namespace) -> Problem:
    """The first images train, the next thousand each validate and test."""
    channels, height, width = SHAPES[options.classifier]
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (4 * options.size + 2000, channels, height, width), dtype=np.uint8)
    labels = generator.integers(0, 10, len(images))
    if options.data is not None:
        with np.load(options.data) as arrays:
            images, labels = arrays["x"], arrays["y"].astype(np.int64)
        images = images[:, None] if images.ndim == 3 else images.transpose(0, 3, 1, 2)
    scaled = images[:2000] / 255.0
    mean, std = scaled.mean((0, 2, 3)), scaled.std((0, 2, 3))
    judged = np.arange(len(images) - 2000, len(images))
    return Problem(
        images=images,
        labels=labels,
        fingerprint="benchmark",
        normalisation=Normalisation(tuple(mean.tolist()), tuple(std.tolist())),
        validation=judged[:1000],
        test=judged[1000:],
        num_classes=10,
        classifier=options.classifier,
        training=Training(max_epochs=options.epochs, target_accuracy=1.0 if options.data is None else 0.99),
    )


def make_specs(options: argparse.Namespace, count: int) -> list[SetSpec]:
    """Subsets of four times as many images, of a third to all of `size`."""
    generator = np.random.default_rng(1)
    sizes = generator.integers(max(1, options.size // 3), options.size + 1, count)
    return [SetSpec(generator.choice(4 * options.size, size, replace=False), n) for n, size in enumerate(sizes)]


def measure_alone(problem: Problem, device: torch.device, options: argparse.Namespace) -> dict[str, float]:
    """The one-by-one trainer."""
    trainer = Trainer(problem, device)
    trainer.train(make_specs(options, 1)[0])
    specs = make_specs(options, options.alone)
    return timed(lambda: "one by one", len(specs), device, lambda: [trainer.train(spec) for spec in specs])


def measure_stacked(
    problem: Problem, device: torch.device, options: argparse.Namespace, capacity: int | None, num_sets: int
) -> dict[str, float]:
    """A stack of `capacity`, or of as many as the trainer chooses, on `num_sets` sets: finished models are replaced."""
    trainer = StackedTrainer(problem, device, capacity=capacity, autocast=options.autocast)
    list(trainer.train(make_specs(options, 2)))
    specs, before = make_specs(options, num_sets), trainer.capacity

    def name() -> str:  # afterwards: a stack that runs out of memory is halved on the way
        halved = f", halved from {before}" if trainer.capacity < before else ""
        return f"K = {trainer.capacity}{halved}" + ("" if capacity else f", chosen; {num_sets} sets")

    return timed(name, num_sets, device, lambda: list(trainer.train(specs)))


def timed(
    name: Callable[[], str], count: int, device: torch.device, work: Callable[[], Sequence[object]]
) -> dict[str, float]:
    """Sets a second of `work`, and the memory it took at its peak."""
    if device.type == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
    start = time.perf_counter()
    done = len(work())
    if device.type == "cuda":
        torch.cuda.synchronize()
    seconds = time.perf_counter() - start
    assert done == count
    variant = name()
    gib = torch.cuda.max_memory_allocated() / 2**30 if device.type == "cuda" else 0.0
    row = {"variant": variant, "sets_per_second": count / seconds, "seconds": seconds, "gib": gib}
    print(f"{variant}: {count / seconds:.2f} sets/s", flush=True)
    return row  # type: ignore[return-value]


def describe(device: torch.device) -> str:
    """The device in words."""
    return torch.cuda.get_device_name() if device.type == "cuda" else "a CPU, one thread"
