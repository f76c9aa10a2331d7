"""The classifier of docs/own_classifier.md, outside the checkout, by the real commands on two Ray workers."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from here import run_here
from own_strategy import NETS, modules_in
from tiny_experiment import TINY_FLAGS

from rambo.fields import from_nested, override
from rambo.home import Home
from rambo.preparation import prepare
from rambo.result import read_result
from rambo.store import Store
from rambo.training.trainer import Trainer

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]

ALWAYS_RAY = """
import sys
import cluster.collect
from cluster.__main__ import main, run_command
cluster.collect.START_SECONDS = 0
cluster.collect.lend_a_hand = lambda *rest: None
run_command("cluster", main)
"""
"""The command, but for the rules that few trainings need no Ray, and that this process measures while workers start."""
FLAGS = [*TINY_FLAGS, "--classifier.name=nets:small", "--home=home"]
COLLECT = ["collect", *FLAGS, "--seeds=0", "--num-workers=2"]
STUDY = [
    *("run", *FLAGS, "--study=own", "--seeds=0", "--controls=none", "--num-workers=2"),
    "--factor=strategy=margin,badge,coreset,typiclust",
]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A collection and a study of four cells; the module's folder is in PYTHONPATH alone."""
    root = tmp_path_factory.mktemp("own")
    (root / "nets").mkdir()
    (root / "nets/nets.py").write_text(NETS)
    path = os.pathsep.join([str(root / "nets"), os.environ.get("PYTHONPATH", "")])
    options = {"cwd": root, "capture_output": True, "text": True, "timeout": 500}
    options["env"] = {**os.environ, "PYTHONPATH": path}
    collected = subprocess.run([sys.executable, "-c", ALWAYS_RAY, *COLLECT], **options)
    return root, collected, subprocess.run([sys.executable, "-m", "ablations", *STUDY], **options)


def trials(root):
    plan = json.loads((root / "home/studies/own/plan.json").read_bytes())
    return [trial["folder"] for trial in plan["trials"]]


def test_two_workers_measure_what_one_process_would_and_four_cells_find_it(finished, tmp_path):
    root, collected, answer = finished
    assert "starting Ray Train workers: 2\n" in collected.stderr, collected.stderr
    [added] = re.findall(r"(\d+) trainings and \d+ OT distances added", collected.stdout)
    assert "4 trials were run now" in answer.stdout, answer.stderr
    assert "collecting" not in answer.stderr, "what the study knows in advance is there"
    home = Home(root / "home")
    chosen = {read_result(home, folder).strategy for folder in trials(root)}
    assert chosen == {"margin", "badge", "coreset", "typiclust"}
    assert all(home.read(f"{folder}/classifier.py") == NETS.encode() for folder in trials(root))
    with modules_in(tmp_path) as modules:
        modules.write(NETS, "nets")
        config = from_nested(json.loads(home.read(f"{trials(root)[0]}/config.json")))
        one = prepare(override(config, {"strategy": "rambo"}), Path("unused"))
        problem, specs = one.problem(one.pool), [spec for some in one.specs().values() for spec in some]
        found = Store(home).measurements([problem.key(spec) for spec in specs])
        assert len(found) == int(added)
        trainer = Trainer(problem, torch.device("cpu"))
        for spec in specs[:: len(specs) // 6]:
            assert trainer.train(spec).digest == found[problem.key(spec)].digest


def test_an_unchanged_file_measures_nothing_anew_and_a_changed_line_all(finished, tmp_path):
    root, collected, _ = finished
    [added] = re.findall(r"(\d+) trainings and \d+ OT distances added", collected.stdout)
    with modules_in(tmp_path) as modules:
        modules.write(NETS, "nets")
        moved = run_here("cluster", *COLLECT, cwd=root)
        again = run_here("ablations", *STUDY, cwd=root)
        modules.write(NETS.replace("0.2", "0.3"), "nets")
        changed = run_here("cluster", *COLLECT, "--plan", cwd=root)
        edited = run_here("ablations", *STUDY, cwd=root)
    assert "\n0 trainings and 0 OT distances added." in moved.stdout, moved.stderr
    assert "0 trials were run now" in again.stdout, again.stderr
    assert f"Missing: {added} trainings and 0 OT distances." in changed.stdout, changed.stderr
    assert edited.returncode == 2
    assert "must keep its 4 trials" in edited.stderr
    assert "files of your own as they were" in edited.stderr


def test_what_was_run_is_read_without_the_module(finished):
    root, _, _ = finished
    for words in (["report"], ["verify"], ["status"]):
        answer = run_here("ablations", *words, "--study=own", "--home=home", cwd=root)
        assert answer.returncode == 0, answer.stderr
    assert "nets" not in sys.modules
    assert "nets:small" in (root / "home/studies/own/report.html").read_text()
