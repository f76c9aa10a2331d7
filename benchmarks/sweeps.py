"""What a sweep costs beside its trials, and whether it survives twenty kills.

python -m benchmarks sweeps
python -m benchmarks sweeps --scale --cells 2000
python -m benchmarks sweeps --chaos --kills 20 --seed 0
python -m benchmarks sweeps --nodes

Scale: cells that take a moment each (random selection of embedded digits, one epoch). Chaos: a sweep on three nodes of
this machine with an MLflow server, whose driver, workers, nodes and server are killed in turn, drawn from a seed; its
tables are then compared, byte by byte, with those of an undisturbed run.
"""

import argparse
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from difflib import unified_diff
from itertools import islice
from pathlib import Path

import numpy as np
import psutil

from benchmarks.records import keep, table
from rambo.cli import Parser
from rambo.home import Home
from rambo.randomness import numpy_generator

STUDY = """
[[study]]
name = "{name}"
preset = "quickstart"
priority = {priority}
seeds = "0-{last}"
controls = []
[study.fields]
"data.num_validation" = 50
"data.num_test" = 50
"data.num_seed_labels" = {seed_labels}
"data.stratified" = true
"training.max_epochs" = 1
"evaluation.repeats" = 1
"acquisition.batch_size" = 10
[study.grid]
strategy = ["random", "margin"]
"acquisition.budget" = {budgets}
"""

NODES = """
import sys
from ray.cluster_utils import Cluster

cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
others = [cluster.add_node(num_cpus=1) for _ in range(2)]
print(cluster.address, flush=True)
for line in sys.stdin:
    if line.strip() == "lose":
        cluster.remove_node(others.pop(0), allow_graceful=False)
        others.append(cluster.add_node(num_cpus=1))
    print("done", flush=True)
"""
"""In a process of its own: whoever starts nodes keeps Ray's token, once read, for good."""


def main(arguments: Sequence[str]) -> None:
    """Measure both; print tables and keep them."""
    parser = Parser(
        prog="python -m benchmarks sweeps", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--scale", action="store_true", help="this alone")
    parser.add_argument("--chaos", action="store_true", help="this alone")
    parser.add_argument(
        "--nodes", action="store_true", help="208 cells; a node, the head and the driver, in this order"
    )
    parser.add_argument("--cells", type=int, default=2000, help="of the first (default %(default)s)")
    parser.add_argument("--kills", type=int, default=20, help="in the second (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the kills (default %(default)s)")
    options = parser.parse_args(arguments)
    found: dict[str, object] = {}
    if options.scale or not (options.chaos or options.nodes):
        found["scale"] = scale(options.cells)
    if options.chaos or not (options.scale or options.nodes):
        found["chaos"] = chaos(options.kills, options.seed)
    if options.nodes:
        found["nodes"] = chaos(3, options.seed, victims=("node", "head", "driver"), seeds=13)
    keep("sweeps", found)


def write_sweep(
    folder: Path,
    *,
    seeds: int,
    budgets: Sequence[int],
    study: str = "cells",
    priority: int = 1,
    name: str = "sweep",
    seed_labels: int = 50,
) -> Path:
    """A sweep of one study, of 2 x budgets cells and so many seeds; with other `seed_labels` none of its trials."""
    path = folder / f"{name}.toml"
    text = STUDY.format(name=study, priority=priority, last=seeds - 1, budgets=list(budgets), seed_labels=seed_labels)
    path.write_text(f'name = "{name}"\n{text}')
    return path


def command(action: str, what: str, home: Path) -> list[str]:
    """Of the sweep."""
    return [sys.executable, "-m", "ablations", "sweep", action, what, f"--home={home}", "--quiet"]


def scale(cells: int) -> dict[str, float]:
    """Seconds a cell, the driver's memory near its start and at its end, what MLflow was written, plan and status."""
    budgets = [20, 30, 40, 50, 60, 70, 80, 90, 100, 110]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = write_sweep(folder, seeds=max(1, cells // (2 * len(budgets))), budgets=budgets)
        home = folder / "home"
        plan_empty = timed(lambda: subprocess.run(command("plan", str(path), home), check=True, capture_output=True))
        driver = psutil.Popen(command("apply", str(path), home), stdout=subprocess.DEVNULL)
        start = first = time.monotonic()
        memory: list[tuple[int, float]] = []
        while driver.poll() is None:
            with suppress(psutil.Error):
                memory.append((num_done(home), driver.memory_info().rss / 2**20))
                if memory[-1][1] == 0:  # it has ended
                    memory.pop()
            if memory[-1][0] == 0:
                first = time.monotonic()
            time.sleep(2.0)
        end, done = time.monotonic(), num_done(home)
        plan_full = timed(lambda: subprocess.run(command("plan", str(path), home), check=True, capture_output=True))
        status = timed(lambda: subprocess.run(command("status", "sweep", home), check=True, capture_output=True))
        load = timed(lambda: subprocess.run([sys.executable, "-m", "ablations", "--help"], capture_output=True))
        work = [one for line in Home(home).read_lines("sweeps/sweep/hours.jsonl") for one in [json.loads(line)]]
        busy = sum(one["core_seconds"] for one in work if one["what"].startswith("trials/"))
        rows = rows_in_mlflow(home)
    quarter = [mib for count, mib in memory if count >= done / 4] or [memory[-1][1]]
    row = {
        "cells": float(done),
        "seconds": end - start,
        "seconds a cell": (end - first) / max(1, done),
        "core-seconds held a cell": busy / max(1, done),
        "runs in MLflow": float(rows["runs"]),
        "rows in MLflow": float(sum(rows.values())),
        "rows in MLflow a second": sum(rows.values()) / (end - first),
        "MiB at a quarter": quarter[0],
        "MiB at the end": memory[-1][1],
        "loading s": load,
        "plan before s": plan_empty,
        "plan after s": plan_full,
        "status s": status,
    }
    table("Scale", ("what", "value"), [(name, round(value, 3)) for name, value in row.items()])
    return row


def rows_in_mlflow(home: Path) -> dict[str, int]:
    """What the driver wrote of its trials, by the name of the table."""
    tables = ("runs", "params", "tags", "metrics", "latest_metrics", "logged_models")
    with closing(sqlite3.connect(home / "mlflow.db")) as database:
        return {name: int(database.execute(f"SELECT COUNT(*) FROM {name}").fetchone()[0]) for name in tables}


def num_done(home: Path) -> int:
    """Trials with a result, by the ledger of the study."""
    lines = Home(home).read_lines("studies/cells/ledger.jsonl") if home.exists() else []
    return sum(b'"done"' in line for line in lines)


def timed(call: Callable[[], object]) -> float:
    """Seconds."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


class Site:
    """Three nodes and an MLflow server on this machine, and the one driver."""

    def __init__(self, folder: Path, paths: Sequence[Path]) -> None:
        (folder / ".ray").mkdir()
        (folder / ".ray/auth_token").write_text("0123456789abcdef" * 4)
        own = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "MLFLOW_"))}
        self._environment = {**own, "HOME": str(folder), "RAY_AUTH_MODE": "token", "RAY_worker_niceness": "0"}
        self._folder, self._paths = folder, paths
        self.home = folder / "home"
        self._nodes = self._start_nodes()
        self._port = free_port()
        self._server = self._start_server()
        self._environment |= {
            "MLFLOW_TRACKING_URI": f"http://127.0.0.1:{self._port}",
            "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
        }
        self.driver = self.start_driver()
        while not self.home.joinpath("sweeps/driver.json").exists():
            time.sleep(0.5)
        for path in paths[1:]:  # which the driver sees at its next choice
            subprocess.run(self._command(path), env=self._environment, check=True, stdout=subprocess.DEVNULL)

    def _command(self, path: Path) -> list[str]:
        return command("apply", str(path), self.home)

    def start_driver(self) -> "subprocess.Popen[bytes]":
        """The same command as before."""
        self.driver = subprocess.Popen(self._command(self._paths[0]), env=self._environment, stdout=subprocess.DEVNULL)
        return self.driver

    def lose_driver(self) -> None:
        """Kill it and give the command again."""
        self.driver.kill()
        self.driver.wait()
        self.start_driver()

    def lose_worker(self) -> None:
        """Kill a process that runs a trial, where there is one."""
        for process in psutil.Process(self._nodes.pid).children(recursive=True):
            with suppress(psutil.Error):
                if "ray::_Worker" in " ".join(process.cmdline()):
                    process.kill()
                    return

    def lose_node(self) -> None:
        """Kill one, and let another join."""
        assert self._nodes.stdin is not None
        self._nodes.stdin.write("lose\n")
        self._nodes.stdin.flush()
        self._answer()

    def lose_head(self) -> None:
        """Kill it with the nodes that it has; another cluster is started, and the command given again."""
        kill_tree(self._nodes.pid)
        self._nodes = self._start_nodes()
        with suppress(subprocess.TimeoutExpired):
            self.driver.wait(60)  # it notices, and says so
        self.lose_driver()

    def lose_server(self) -> None:
        """Kill MLflow, and start it again after a while."""
        kill_tree(self._server.pid)
        time.sleep(3.0)
        self._server = self._start_server()

    @property
    def tracking(self) -> str:
        """Of MLflow's server."""
        return f"http://127.0.0.1:{self._port}"

    def end(self) -> None:
        """All that is left."""
        for process in (self.driver, self._server, self._nodes):
            kill_tree(process.pid)

    def _start_nodes(self) -> "subprocess.Popen[str]":
        own = {name: value for name, value in self._environment.items() if name != "RAY_ADDRESS"}
        nodes = [sys.executable, "-c", NODES]
        self._nodes = subprocess.Popen(nodes, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=own)
        self._environment["RAY_ADDRESS"] = self._answer()
        return self._nodes

    def _start_server(self) -> "subprocess.Popen[bytes]":
        words = ["-m", "mlflow", "server", "--port", str(self._port), "--workers", "1"]
        stores = ["--backend-store-uri", f"sqlite:///{self._folder}/server.db"]
        artifacts = ["--artifacts-destination", f"{self._folder}/artifacts"]
        command = [sys.executable, *words, *stores, *artifacts]
        return subprocess.Popen(
            command, env=self._environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=self._folder
        )

    def _answer(self) -> str:
        assert self._nodes.stdout is not None
        return self._nodes.stdout.readline().strip()


def free_port() -> int:
    """One that nobody listens on."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def kill_tree(pid: int) -> None:
    """A process and all that it has started."""
    with suppress(psutil.NoSuchProcess):
        found = psutil.Process(pid)
        for process in [*found.children(recursive=True), found]:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGKILL)


def chaos(kills: int, seed: int, *, victims: Sequence[str] = (), seeds: int = 20) -> dict[str, object]:
    """Kill something every few seconds, `victims` in order or drawn; what it comes to beside an undisturbed run."""
    generator, log = numpy_generator(seed, "chaos"), []
    with tempfile.TemporaryDirectory(prefix="c") as name:
        folder = Path(name)
        budgets = [20, 40, 60, 80]
        paths = [
            write_sweep(
                folder,
                seeds=seeds,
                budgets=budgets,
                study=name,
                priority=priority,
                name=f"{name}-sweep",
                seed_labels=40 + 10 * priority,
            )
            for name, priority in (("second", 1), ("first", 2))
        ]
        calm = folder / "calm"
        for path in paths:
            subprocess.run(command("apply", str(path), calm), check=True, stdout=subprocess.DEVNULL)
        site, start = Site(folder, paths), time.monotonic()
        try:
            lose = (site.lose_driver, site.lose_worker, site.lose_node, site.lose_server)
            ordered = [getattr(site, f"lose_{name}") for name in victims]
            for place in range(kills):
                time.sleep(float(generator.uniform(2.0, 8.0)))
                victim = ordered[place] if ordered else lose[int(generator.integers(len(lose)))]
                log.append(f"{time.monotonic() - start:6.1f} s  {victim.__name__[5:]}")
                print(f"{place + 1:3d}  {log[-1]}", flush=True)
                victim()
                if site.driver.poll() is not None:
                    site.start_driver()
            while site.driver.wait() != 0:
                site.start_driver()
            site.start_driver().wait()
            found = compared(calm, site)
        finally:
            site.end()
    table("Chaos", ("what", "number"), list(found.items()))
    return {**found, "log": log}


def compared(calm: Path, site: Site) -> dict[str, object]:
    """What differs between two homes, what MLflow shows, and whether an hour was counted twice."""
    from mlflow import MlflowClient

    different, twice = [], 0
    for study in ("first", "second"):
        for file in ("table.md", "table.csv", "table.tex", "trials.csv", "effects.csv", "sentences.txt"):
            ours, theirs = (Home(home).read(f"studies/{study}/{file}") for home in (calm, site.home))
            if ours != theirs or ours is None:
                different.append(f"{study}/{file}")
                lines = [(content or b"").decode().splitlines() for content in (ours, theirs)]
                print(*islice(unified_diff(*lines, "undisturbed", different[-1], lineterm=""), 20), sep="\n")
        done = Counter(
            entry["trial"]
            for line in Home(site.home).read_lines(f"studies/{study}/ledger.jsonl")
            for entry in [json.loads(line)]
            if entry["event"] == "done"
        )
        twice += sum(count - 1 for count in done.values())
    client, running, runs = MlflowClient(site.tracking), 0, Counter[str]()
    for experiment in client.search_experiments():
        for run in client.search_runs([experiment.experiment_id], max_results=5000):
            running += run.info.status == "RUNNING"
            runs[f"{experiment.name} {run.data.tags.get('trial', run.info.run_id)}"] += 1
    ledgers = [f"sweeps/{study}-sweep/hours.jsonl" for study in ("first", "second")]
    entries = [json.loads(line) for ledger in ledgers for line in Home(site.home).read_lines(ledger)]
    ends = Counter(entry["what"] for entry in entries if entry["is_end"])
    return {
        "tables that differ": len(different),
        "trials done twice": twice,
        "RUNNING in MLflow": running,
        "runs twice": sum(count - 1 for count in runs.values()),
        "ends counted twice": sum(count - 1 for count in ends.values()),
        "core-hours": round(float(np.sum([entry["core_seconds"] for entry in entries])) / 3600, 4),
    }
