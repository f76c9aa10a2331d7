"""A study over three nodes that loses one of them, then its head; the nodes are this machine's, their GPUs invented."""

import json
import os
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
import torch

from rambo.home import Home

pytestmark = [
    pytest.mark.skipif(torch.cuda.is_available(), reason="invented GPUs would be taken for real ones"),
    pytest.mark.long,
    pytest.mark.timeout(900),
]

NODES = """
import sys
from ray.cluster_utils import Cluster

cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "num_gpus": 1, "include_dashboard": False})
others = [cluster.add_node(num_cpus=1, num_gpus=1) for _ in range(2)]
print(cluster.address, flush=True)
for line in sys.stdin:
    if line.strip() == "lose one":
        cluster.remove_node(others.pop(), allow_graceful=False)
    elif line.strip() == "lose the head":
        cluster.head_node.kill_all_processes(check_alive=False, allow_graceful=False)
    print("done", flush=True)
"""
"""In a process of its own: whoever starts nodes keeps Ray's token, once read, for good."""

NUM_SEEDS = 30
CELLS = [
    "--preset=quickstart",
    "--strategy=random",
    "--training.max_epochs=1",
    "--evaluation.repeats=1",
    "--factor=acquisition.budget=40,60",
    "--acquisition.batch_size=20",
    "--controls=none",
    f"--seeds=0-{NUM_SEEDS - 1}",
    "--study=sixty",
    "--home=home",
    "--quiet",
]
PATIENCE = 400


class Nodes:
    """Three nodes, until they are lost."""

    def __init__(self, environment: dict[str, str]) -> None:
        command = [sys.executable, "-c", NODES]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        self.address = self._answer()

    def lose(self, which: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"lose {which}\n")
        self._process.stdin.flush()
        assert self._answer() == "done"

    def end(self) -> None:
        """As when the machines are switched off."""
        found = psutil.Process(self._process.pid)
        for process in [*found.children(recursive=True), found]:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self._process.wait()

    def _answer(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


def events(root: Path) -> list[tuple[str, str]]:
    lines = Home(root / "home").read_lines("studies/sixty/ledger.jsonl")
    return [(entry["event"], entry["trial"]) for entry in map(json.loads, lines)]


def wait_for_trials(root: Path, count: int, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + PATIENCE
    while Counter(event for event, _ in events(root))["done"] < count:
        assert time.monotonic() < deadline, f"{count} trials did not end in time"
        assert process.poll() is None, f"it ended before {count} trials had"
        time.sleep(0.1)


def test_sixty_cells_survive_the_loss_of_a_node_and_of_the_head(tmp_path):
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray/auth_token").write_text("fedcba9876543210" * 4)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "MLFLOW_"))}
    environment |= {"HOME": str(tmp_path), "RAY_AUTH_MODE": "token", "RAY_worker_niceness": "0"}
    command = [sys.executable, "-m", "ablations", "run", *CELLS]
    nodes = Nodes(environment)
    study = subprocess.Popen(
        command, cwd=tmp_path, env={**environment, "RAY_ADDRESS": nodes.address}, stderr=subprocess.PIPE, text=True
    )
    wait_for_trials(tmp_path, 8, study)
    nodes.lose("one")
    wait_for_trials(tmp_path, 20, study)
    assert study.poll() is None, "the loss of a node ends nothing"
    nodes.lose("the head")
    study.kill()  # it ran on the head
    study.wait()
    nodes.end()
    before = {trial for event, trial in events(tmp_path) if event == "done"}
    assert 20 <= len(before) < 2 * NUM_SEEDS
    nodes = Nodes(environment)
    env = {**environment, "RAY_ADDRESS": nodes.address}
    answer = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=PATIENCE)
    nodes.end()
    assert answer.returncode == 0, answer.stderr
    assert f"{2 * NUM_SEEDS - len(before)} trials were run now" in answer.stdout
    done = Counter(trial for event, trial in events(tmp_path) if event == "done")
    assert len(done) == 2 * NUM_SEEDS
    assert set(done.values()) == {1}, "each trial once"
    starts = Counter(trial for event, trial in events(tmp_path) if event == "start")
    again = {trial for trial, count in starts.items() if count > 1}
    print(f"{len(before)} were done when the head was lost; {len(again)} were in hand and started twice")
    assert len(again) <= 1 + 3, "what was on the lost node, and what three nodes had in hand"
