"""The offline sets of one seed, measured by bare processes and by Ray Train workers, each in fresh processes.

A time runs from the start of the first process to the end of the last, imports and Ray's own start included.

  python -m benchmarks collection                                           # digits: 300 pairs
  python -m benchmarks collection --preset paper_mnist --data.source npz:mnist.npz --pairs 500
  python -m benchmarks collection --preset paper_mnist --data.source npz:mnist.npz --pairs 500 --two-only --rounds 3
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarks.records import keep, table
from rambo.cli import Parser
from rambo.fields import override
from rambo.home import Home
from rambo.preparation import prepare
from rambo.presets import preset
from rambo.progress import Progress
from rambo.store import Store
from rambo.training.measuring import measure_into, missing_specs
from rambo.training.trainer import Problem, SetSpec

CPU = torch.device("cpu")

ONE_BARE, TWO_BARE = "one bare process", "two bare processes"
ONE_WORKER, TWO_WORKERS = "Ray Train, 1 worker", "Ray Train, 2 workers"

CASES = {
    ONE_BARE: ("1", ["bare 0 1"]),
    TWO_BARE: ("2", ["bare 0 2", "bare 1 2"]),
    ONE_WORKER: ("3", ["ray 1"]),
    TWO_WORKERS: ("4", ["ray 2"]),
    "the same again": ("4", ["ray 2"]),
}
"""Home, and what each of the processes does."""


def main(arguments: Sequence[str]) -> None:
    """Run every case; print a table and keep it."""
    parser = Parser(
        prog="python -m benchmarks collection", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--preset", default="quickstart")
    parser.add_argument("--data.source", dest="source", default="digits")
    parser.add_argument(
        "--pairs", type=int, default=300, help="offline pairs; twice as many sets (default %(default)s)"
    )
    parser.add_argument(
        "--two-only", action="store_true", help="leave out one process and one worker: a third of the time"
    )
    parser.add_argument(
        "--rounds", type=int, default=1, help="times that all take turns, each in a home of its own: medians are told"
    )
    parser.add_argument("--case", help=argparse.SUPPRESS)
    parser.add_argument("--home", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.case is not None:
        run_case(options)
        return
    if options.rounds < 1:
        parser.error(f"--rounds must be 1 or more, got {options.rounds}")
    cases = {name: of for name, of in CASES.items() if not (options.two_only and name in (ONE_BARE, ONE_WORKER))}
    seconds: dict[str, list[float]] = {name: [] for name in cases}
    counts = {}
    for _ in range(options.rounds):
        with tempfile.TemporaryDirectory() as folder:
            for name, (home, processes) in cases.items():
                before = trainings(Path(folder, home))
                seconds[name].append(spawn(options, Path(folder, home), processes))
                counts[name] = trainings(Path(folder, home)) - before
    report(options, {name: statistics.median(values) for name, values in seconds.items()}, counts, seconds)


def spawn(options: argparse.Namespace, home: Path, cases: Sequence[str]) -> float:
    """Seconds until processes that each run one of `cases` into `home` have ended."""
    flags = ["--preset", options.preset, "--data.source", options.source, "--pairs", str(options.pairs)]
    command = [sys.executable, "-m", "benchmarks", "collection", *flags, "--home", str(home), "--case"]
    start = time.perf_counter()
    processes = [subprocess.Popen([*command, case]) for case in cases]
    for process in processes:
        if process.wait() != 0:
            raise RuntimeError(f"A case of the benchmark failed: {cases}.")
    seconds = time.perf_counter() - start
    print(f"{', '.join(cases)}: {seconds:.1f} s", flush=True)
    return seconds


def run_case(options: argparse.Namespace) -> None:
    """In a process of its own: every n-th set from the i-th, or all by n workers."""
    torch.set_num_threads(1)
    kind, *numbers = options.case.split()
    problem, specs = offline_sets(options)
    if kind == "bare":
        first, step = map(int, numbers)
        store = Store(Home(options.home))
        missing = missing_specs(problem, specs[first::step], store)
        measure_into(store, problem, missing, CPU, lambda done: None)
        return
    from cluster.collect import collect_with_workers
    from cluster.work import missing_work

    home = Home(options.home)
    work = missing_work([(problem, specs)], [], Store(home))
    if work.num_trainings:
        collect_with_workers(work, home, num_workers=int(numbers[0]), device="cpu", progress=Progress(quiet=True))


def offline_sets(options: argparse.Namespace) -> tuple[Problem, list[SetSpec]]:
    """The trainings of stage 0, seed 0."""
    changes = {"data.source": options.source, "offline.num_pairs": options.pairs}
    prepared = prepare(override(preset(options.preset), changes), Path("data"))
    return prepared.problem(prepared.pool), prepared.specs()["offline pairs"]


def trainings(home: Path) -> int:
    """Trainings begun in a home, by its ledger."""
    ledger = home / "store" / "ledger.jsonl"
    return len(ledger.read_text().splitlines()) if ledger.exists() else 0


def report(
    options: argparse.Namespace, seconds: dict[str, float], counts: dict[str, int], rounds: dict[str, list[float]]
) -> None:
    """The table, and what it says of Ray Train's cost."""
    two = seconds[TWO_BARE]
    gains = {name: f"{seconds[ONE_BARE] / value:.2f}" if ONE_BARE in seconds else "" for name, value in seconds.items()}
    rows = [
        (name, counts[name], value, gains[name], f"{100 * (value / two - 1):+.1f} %") for name, value in seconds.items()
    ]
    title = f"{2 * options.pairs} offline sets of {options.preset} on {options.source}"
    table(title, ("", "trainings", "seconds", "gain", "against two bare"), rows)
    # both gains are over the same one process; within a round the machine is most alike
    kept = statistics.median(bare / ray for bare, ray in zip(rounds[TWO_BARE], rounds[TWO_WORKERS], strict=True))
    print(f"  Ray Train's two workers keep {kept:.2f} of what two bare processes gain.")
    suffix = "_two" if options.two_only else ""
    keep(f"collection_{options.preset}{suffix}", {"title": title, "seconds": rounds, "share_of_gain": kept})
