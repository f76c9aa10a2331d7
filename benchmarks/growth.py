"""How time, memory and bytes grow: of the store, of acquisition by each strategy, of a collection, of a plan.

python -m benchmarks growth
"""

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import psutil
import torch

from ablations.factors import Factor, make_grid
from ablations.plans import make_plan
from benchmarks.records import keep, table
from cluster.trials import unfinished
from cluster.work import known_work
from rambo.arrays import Features
from rambo.cli import Parser
from rambo.data.pool import HIDDEN, Pool
from rambo.fields import override
from rambo.home import Home
from rambo.measurement import Measurement
from rambo.preparation import prepare
from rambo.presets import paper_mnist, quickstart
from rambo.progress import Progress
from rambo.sections import Acquisition
from rambo.store import Store
from rambo.strategies.facts import FACTS, Grant
from rambo.strategies.request import Request, load_select
from rambo.training.committee import Committee
from rambo.training.measuring import measure_into
from rambo.training.trainer import SetSpec, margins_of
from rambo.utility.scoring import RunningMeans

CPU = torch.device("cpu")
NUM_LABELLED = 200
NUM_VALIDATION = 1000
NUM_CLASSES = 10
NUM_FEATURES = 128
"""Of û."""
NUM_PENULTIMATE = 84
"""Of f, as of LeNet-5."""
LIMIT_SECONDS = 300
"""A strategy that takes longer from one pool is not asked to choose from a larger one."""


def main(arguments: Sequence[str]) -> None:
    """Measure all five, or the strategies alone; print tables and keep them."""
    parser = Parser(
        prog="python -m benchmarks growth", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--records", default="1000,100000", help="records in the store (default %(default)s)")
    parser.add_argument("--pools", default="10000,100000,1000000", help="images in the pool (default %(default)s)")
    parser.add_argument("--sets", default="100,1000,10000", help="small sets to measure (default %(default)s)")
    parser.add_argument("--cells", default="200,2000", help="cells of a plan, seeds included (default %(default)s)")
    parser.add_argument("--strategies", default=",".join(SUPPLIED), help="to measure (default %(default)s)")
    parser.add_argument("--strategies-only", action="store_true", help="measure nothing else")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.case is not None:
        run_case(options.case)
        return
    sizes = [int(size) for size in options.pools.split(",")]
    strategies = [row for name in options.strategies.split(",") for row in strategy_rows(name, sizes)]
    table("Strategies, predictions given, B = 500", ("strategy", "pool", "seconds", "MiB added"), strategies)
    if options.strategies_only:
        keep("growth", {"strategies": strategies})
        return
    store = [store_row(int(count)) for count in options.records.split(",")]
    header = ("records", "files", "write, s", "first lookup of all, s", "second, s", "bytes", "bytes a record")
    table("The store", header, store)
    pools = [
        (size, budget, *child(f"acquire {size} {budget} {reach}").values(), reach)
        for size in sizes
        for budget, reach in ((500, "10"), (5000, "10"), (500, "all"))
    ]
    table("Acquisition, features and margins given", ("pool", "B", "seconds", "MiB added", "M/b"), pools)
    sets = [
        (int(count), where, *child(f"{where} {count}").values())
        for count in options.sets.split(",")
        for where in ("in-process", "workers")
    ]
    table("Peak memory of a collection", ("sets", "where", "seconds", "driver, MiB", "largest worker, MiB"), sets)
    plans = [
        (int(count), number, *child(f"plan {count} {number}").values())
        for count in options.cells.split(",")
        for number in (1, 3)
    ]
    table("A plan, data of 10 000 images of 28 x 28", ("cells", "data sets", *PLAN_COLUMNS), plans)
    measured = {"store": store, "strategies": strategies, "acquisition": pools, "memory": sets, "plans": plans}
    keep("growth", measured)


def store_row(count: int) -> tuple[object, ...]:
    """Write `count` records as workers do, a thousand a file, and look all up from a fresh start."""
    rng = np.random.default_rng(0)
    keys = [rng.bytes(16).hex() for _ in range(count)]
    with tempfile.TemporaryDirectory() as folder:
        writer = Store(Home(folder), compact=False)
        start = time.perf_counter()
        for first in range(0, count, 1000):
            writer.put_measurements({key: _record(rng) for key in keys[first : first + 1000]})
        writing = time.perf_counter() - start
        size = sum(path.stat().st_size for path in Path(folder).rglob("*.parquet"))
        files = len(list(Path(folder).rglob("*.parquet")))
        reader, lookups = Store(Home(folder)), []
        for _ in range(2):
            start = time.perf_counter()
            found = reader.measurements(keys)
            lookups.append(time.perf_counter() - start)
            assert len(found) == count
    return (count, files, writing, *lookups, size, f"{size / count:.0f}")


def _record(rng: np.random.Generator) -> Measurement:
    correct = rng.random(1000) < 0.8
    bits = np.packbits(correct).tobytes()
    return Measurement(float(correct.mean()), float(rng.random()), bits, int(rng.integers(100)), 0.5, "cpu")


def child(case: str, limit_seconds: float | None = None) -> dict[str, float]:
    """What `run_case` prints in a process of its own: peaks of memory cannot be taken back."""
    command = [sys.executable, "-m", "benchmarks", "growth", "--case", case]
    answer = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=limit_seconds).stdout
    values: dict[str, float] = json.loads(answer.splitlines()[-1])
    print(f"{case}: {values}", flush=True)
    return values


def run_case(case: str) -> None:
    """`acquire POOL BUDGET M/b`, `strategy NAME POOL BUDGET`, `plan CELLS SETS`, `in-process` or `workers SETS`."""
    torch.set_num_threads(1)
    kind, *rest = case.split()
    if kind == "acquire":
        print(json.dumps(acquire(int(rest[0]), int(rest[1]), rest[2])))
    elif kind == "strategy":
        print(json.dumps(choose(rest[0], int(rest[1]), int(rest[2]))))
    elif kind == "plan":
        print(json.dumps(plan_cells(int(rest[0]), int(rest[1]))))
    else:
        print(json.dumps(collect_small(int(rest[0]), workers=kind == "workers")))


def acquire(size: int, budget: int, reach: str) -> dict[str, float]:
    """Seconds and memory of RAMBO's selection from a pool of `size`."""
    rng = np.random.default_rng(0)
    pool = _pool(size, 0, rng)
    scorer = _random_scorer(len(pool.labels), rng)
    classifier = _told(margins=rng.random(len(pool.labels), dtype=np.float32))
    candidates = size if reach == "all" else int(reach) * 50
    return _clocked("rambo", Request(pool, classifier, budget, 50, candidates, granted={"utility": scorer}), rng)


def choose(name: str, size: int, budget: int) -> dict[str, float]:
    """Seconds and memory of a strategy's selection from a pool of `size` beside 200 labels and an S_val of 1000."""
    rng = np.random.default_rng(0)
    pool = _pool(size, NUM_VALIDATION, rng)
    committee = _random_committee(len(pool.labels), rng)
    there: dict[Grant, object] = {
        "validation_labels": rng.integers(0, NUM_CLASSES, NUM_VALIDATION),
        "learning_rate": 0.001,
        "training": lambda indices, labels, repeat: committee,  # which does not grow with the pool
        "predicted_loss": rng.random(len(pool.labels), dtype=np.float32).__getitem__,
        "utility": _random_scorer(len(pool.labels), rng),
    }
    granted = {grant: there[grant] for grant in FACTS[name].grants}
    request = Request(pool, committee, budget, 50, 500, portfolio=Acquisition().strategies, granted=granted)
    return _clocked(name, request, rng)


def _random_scorer(total: int, rng: np.random.Generator) -> "partial[RunningMeans]":
    """û's score of sets, from random features of every dataset index."""
    features = rng.standard_normal((total, NUM_FEATURES), dtype=np.float32)
    direction = rng.standard_normal(NUM_FEATURES).astype(np.float32)
    return partial(RunningMeans, image_features=features.__getitem__, score_pooled=lambda pooled: pooled @ direction)


MEASURED_GRANTS = {"measured", "marginally_measured"}

SUPPLIED = tuple(name for name, facts in FACTS.items() if not facts.grants & MEASURED_GRANTS)
"""Strategies that `choose` has all for: all but oracles, whose cost is that of the trainings they measure."""


def strategy_rows(name: str, sizes: Sequence[int]) -> list[tuple[object, ...]]:
    """A row for each pool, up to the first that takes too long."""
    rows: list[tuple[object, ...]] = []
    for size in sizes:
        try:
            rows.append((name, size, *child(f"strategy {name} {size} 500", LIMIT_SECONDS).values()))
        except subprocess.TimeoutExpired:
            return [*rows, (name, size, f"over {LIMIT_SECONDS}", "")]
    return rows


def _pool(size: int, num_validation: int, rng: np.random.Generator) -> Pool:
    """Dataset indices in turn: the labelled set, what may be labelled, S_val."""
    total = NUM_LABELLED + size + num_validation
    rounds, labels, everyone = np.full(total, HIDDEN), np.full(total, HIDDEN), np.arange(total)
    rounds[:NUM_LABELLED], labels[:NUM_LABELLED] = 0, rng.integers(0, NUM_CLASSES, NUM_LABELLED)
    members, validation = np.split(everyone, [NUM_LABELLED + size])
    return Pool(np.zeros((0, 1, 8, 8), dtype=np.uint8), labels, rounds, members, validation, NUM_CLASSES)


def _random_committee(total: int, rng: np.random.Generator) -> Committee:
    """Predictions from random logits, beside random activations behind a ReLU."""
    logits = 2 * rng.standard_normal((total, NUM_CLASSES), dtype=np.float32)
    features = rng.standard_normal((total, NUM_PENULTIMATE), dtype=np.float32).clip(min=0)
    probabilities = torch.from_numpy(logits).softmax(dim=1).numpy()
    return _told(logits=logits, probabilities=probabilities, margins=margins_of(probabilities), features=features)


def _told(**answers: Features) -> Committee:
    """A committee that answers from tables with a row for every dataset index."""
    told = SimpleNamespace(device=CPU, **{name: table.__getitem__ for name, table in answers.items()})
    return cast(Committee, told)


def _clocked(name: str, request: Request, rng: np.random.Generator) -> dict[str, float]:
    select = load_select(FACTS[name])
    Path("/proc/self/clear_refs").write_text("5")  # what was built in more memory than it takes would hide some
    before, start = peak_mib(), time.perf_counter()
    select(request, rng)
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "mib": peak_mib() - before}


PLAN_COLUMNS = ("loading, s", "preparing, s", "what is missing, s", "MiB added")


def plan_cells(count: int, num_sets: int) -> dict[str, float]:
    """Seconds and memory of a plan of `count` cells over ten seeds, of RAMBO and random on `num_sets` data sets."""
    with tempfile.TemporaryDirectory() as folder:
        sources = [_random_images(Path(folder, f"set{number}.npz"), number) for number in range(num_sets)]
        base = override(paper_mnist(), {"data.source": sources[0]})
        start = time.perf_counter()
        for source in sources:
            prepare(override(base, {"data.source": source}), Path(folder))
        loading, before = time.perf_counter() - start, peak_mib()
        lambdas = [0.001 * (number + 1) for number in range(max(1, count // (10 * 5 * num_sets)))]
        levels = {
            "data.source": tuple(sources),
            "acquisition.budget": (300, 500, 700, 900, 1000),
            "utility_model.lambda_ot": tuple(lambdas),
        }
        factors = [Factor(name, several) for name, several in levels.items() if len(several) > 1]
        grid = make_grid(base, factors, controls=[], seeds=range(10), design="factorial")
        start = time.perf_counter()
        prepared = {(cell.name, seed): prepare(config, Path(folder)) for cell, seed, config in grid.trials()}
        make_plan("growth", grid, prepared).to_bytes()
        preparing = time.perf_counter() - start
        start, home = time.perf_counter(), Home(Path(folder, "home"))
        known_work(unfinished(list(prepared.values()), home), Path(folder), CPU, Store(home))
        missing = time.perf_counter() - start
    return {"loading": loading, "preparing": preparing, "missing": missing, "mib": peak_mib() - before}


def _random_images(path: Path, seed: int) -> str:
    """A source of 10 000 images in ten classes."""
    rng = np.random.default_rng(seed)
    np.savez(path, x=rng.integers(0, 256, (10_000, 28, 28), dtype=np.uint8), y=np.arange(10_000) % 10)
    return f"npz:{path}"


def collect_small(count: int, *, workers: bool) -> dict[str, float]:
    """Peak memory while `count` sets of 20 digits are trained for one epoch."""
    prepared = prepare(override(quickstart(), {"training.max_epochs": 1}), Path("data"))
    problem, rng = prepared.problem(prepared.pool), np.random.default_rng(0)
    specs = [SetSpec(rng.choice(prepared.split.seed_set, 20, replace=False), number) for number in range(count)]
    with tempfile.TemporaryDirectory() as folder, _WorkerMemory() as memory:
        home, start = Home(folder), time.perf_counter()
        if workers:
            import cluster.collect
            from cluster.collect import collect_with_workers
            from cluster.work import missing_work

            cluster.collect.lend_a_hand = lambda *rest: None  # else small collections end before a worker begins
            work = missing_work([(problem, specs)], [], Store(home))
            collect_with_workers(work, home, num_workers=2, device="cpu", progress=Progress(quiet=True))
        else:
            measure_into(Store(home), problem, specs, CPU, lambda done: None)
        seconds = time.perf_counter() - start
    return {"seconds": seconds, "driver": peak_mib(), "worker": memory.peak / 2**20}


def peak_mib() -> float:
    """The largest resident memory of this process; getrusage would name that of its parent, if larger."""
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) / 1024


class _WorkerMemory:
    """The largest resident memory among Ray Train's workers on this machine, looked at twice a second."""

    def __init__(self) -> None:
        self.peak = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "_WorkerMemory":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(0.5):
            for process in psutil.process_iter(["cmdline", "memory_info"]):
                title = " ".join(process.info["cmdline"] or [])
                if title.startswith("ray::") and "RayTrainWorker" in title and process.info["memory_info"]:
                    self.peak = max(self.peak, process.info["memory_info"].rss)
