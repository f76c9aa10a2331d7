"""How time, memory and bytes grow: of the store with its records, of acquisition, of a collection, of a plan.

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
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import psutil
import torch

from ablations.factors import Factor, make_grid
from ablations.plans import make_plan
from benchmarks.records import keep, table
from cluster.trials import unfinished
from cluster.work import known_work
from rambo.arrays import Features, Indices
from rambo.cli import Parser
from rambo.data.pool import HIDDEN, Pool
from rambo.fields import override
from rambo.home import Home
from rambo.measurement import Measurement
from rambo.preparation import prepare
from rambo.presets import paper_mnist, quickstart
from rambo.progress import Progress
from rambo.store import Store
from rambo.strategies.rambo import select_by_utility
from rambo.strategies.request import Request
from rambo.training.committee import Committee
from rambo.training.measuring import measure_into
from rambo.training.trainer import SetSpec
from rambo.utility.scoring import RunningMeans

CPU = torch.device("cpu")
NUM_LABELLED = 200
NUM_FEATURES = 128


def main(arguments: Sequence[str]) -> None:
    """Measure all four; print tables and keep them."""
    parser = Parser(
        prog="python -m benchmarks growth", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--records", default="1000,100000", help="records in the store (default %(default)s)")
    parser.add_argument("--pools", default="10000,100000,1000000", help="images in the pool (default %(default)s)")
    parser.add_argument("--sets", default="100,1000,10000", help="small sets to measure (default %(default)s)")
    parser.add_argument("--cells", default="200,2000", help="cells of a plan, seeds included (default %(default)s)")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.case is not None:
        run_case(options.case)
        return
    store = [store_row(int(count)) for count in options.records.split(",")]
    header = ("records", "files", "write, s", "first lookup of all, s", "second, s", "bytes", "bytes a record")
    table("The store", header, store)
    pools = [
        (int(size), budget, *child(f"acquire {size} {budget} {reach}").values(), reach)
        for size in options.pools.split(",")
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
    keep("growth", {"store": store, "acquisition": pools, "memory": sets, "plans": plans})


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


def child(case: str) -> dict[str, float]:
    """What `run_case` prints in a process of its own: peaks of memory cannot be taken back."""
    command = [sys.executable, "-m", "benchmarks", "growth", "--case", case]
    answer = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    values: dict[str, float] = json.loads(answer.splitlines()[-1])
    print(f"{case}: {values}", flush=True)
    return values


def run_case(case: str) -> None:
    """`acquire POOL BUDGET M/b`, `plan CELLS SETS`, `in-process SETS` or `workers SETS`."""
    torch.set_num_threads(1)
    kind, *rest = case.split()
    if kind == "acquire":
        print(json.dumps(acquire(int(rest[0]), int(rest[1]), rest[2])))
    elif kind == "plan":
        print(json.dumps(plan_cells(int(rest[0]), int(rest[1]))))
    else:
        print(json.dumps(collect_small(int(rest[0]), workers=kind == "workers")))


@dataclass(frozen=True, eq=False)
class _GivenMargins:
    values: Features

    def margins(self, indices: Indices) -> Features:
        return self.values[indices]


def acquire(size: int, budget: int, reach: str) -> dict[str, float]:
    """Seconds and memory of RAMBO's selection from a pool of `size`."""
    rng = np.random.default_rng(0)
    total = size + NUM_LABELLED
    features = rng.standard_normal((total, NUM_FEATURES), dtype=np.float32)
    rounds = np.full(total, HIDDEN)
    rounds[:NUM_LABELLED] = 0
    everyone = np.arange(total)
    pool = Pool(np.zeros((0, 1, 8, 8), dtype=np.uint8), rounds, rounds, everyone, everyone[:0], 10)
    classifier: Committee = _GivenMargins(rng.random(total, dtype=np.float32))  # type: ignore[assignment]
    direction = rng.standard_normal(NUM_FEATURES).astype(np.float32)
    scorer = partial(RunningMeans, image_features=features.__getitem__, score_pooled=lambda pooled: pooled @ direction)
    candidates = size if reach == "all" else int(reach) * 50
    request = Request(pool, classifier, budget, 50, candidates, {"utility": scorer})
    before = peak_mib()
    start = time.perf_counter()
    select_by_utility(request, rng)
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
