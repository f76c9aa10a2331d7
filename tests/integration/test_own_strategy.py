"""Strategies from files outside the checkout, run for real by the ablations command on two Ray workers."""

import csv
import io
import json
import os
import re
import subprocess
import sys

import pytest
from here import run_here
from own_strategy import EXAMPLE, modules_in
from tiny_experiment import TINY_FLAGS

from cluster.failures import read_failure
from rambo.home import Home
from rambo.result import read_result

BAD = """
def labelled(request, generator):
    return request.pool.labelled[: request.budget]

def few(request, generator):
    return list(request.pool.unlabelled[1 : request.budget])

def broken(request, generator):
    return request.validation_labels
"""
BROKEN = {
    "bad:labelled": "strategy bad:labelled must pick unlabelled images of the pool, got ",
    "bad:few": "strategy bad:few must pick 40 images, got 39.",
    "bad:broken": "strategy bad:broken must return a selection, got NotGrantedError: A strategy's record must declare "
    "what it uses, got validation_labels without. (bad.py:9).",
}
STUDY = [
    *(*TINY_FLAGS, "--evaluation.repeats=1", "--home=home", "--study=own", "--seeds=0-1", "--num-workers=2"),
    *(f"--factor=strategy=margin,mine:pick,{','.join(BROKEN)}", "--controls=none"),
]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A study whose strategies lie in the folder where it is typed and in one of PYTHONPATH."""
    root = tmp_path_factory.mktemp("own")
    (root / "mine.py").write_text(EXAMPLE)
    (root / "strategies").mkdir()
    (root / "strategies/bad.py").write_text(BAD)
    answer = subprocess.run(
        [sys.executable, "-m", "ablations", "run", *STUDY],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(root / "strategies"), os.environ.get("PYTHONPATH", "")])},
        **{"cwd": root, "capture_output": True, "text": True, "timeout": 280},
    )
    return root, answer


def folders(root, strategy):
    plan = json.loads((root / "home/studies/own/plan.json").read_bytes())
    return [trial["folder"] for trial in plan["trials"] if trial["cell"] == f"strategy={strategy}"]


@pytest.mark.long
def test_it_runs_beside_ours_on_two_workers(finished):
    root, answer = finished
    home = Home(root / "home")
    assert "10 trials were run now" in answer.stdout, answer.stderr
    for name in ("margin", "mine:pick"):
        assert [read_result(home, folder).strategy for folder in folders(root, name)] == [name] * 2
    for folder in folders(root, "mine:pick"):
        rows = list(csv.DictReader(io.StringIO(home.read(f"{folder}/selected.csv").decode())))
        assert len({row["index"] for row in rows}) == 40
        assert home.read(f"{folder}/strategy.py") == EXAMPLE.encode()
    [at_once] = re.findall(r"running 10 trials, (\d+) at a time", answer.stderr)
    assert int(at_once) >= 2


def test_it_is_called_what_was_typed_in_tables_and_in_mlflow(finished):
    from mlflow import MlflowClient

    root, _ = finished
    folder = root / "home/studies/own"
    for name in ("table.md", "table.tex", "table.csv", "trials.csv", "sentences.txt", "report.html"):
        assert "mine:pick" in (folder / name).read_text(), name
    client = MlflowClient(f"sqlite:///{root}/home/mlflow.db")
    [experiment] = [one for one in client.search_experiments() if one.name == "ablations/own"]
    runs = client.search_runs([experiment.experiment_id], "tags.cell = 'strategy=mine:pick' AND tags.kind = 'trial'")
    assert [run.data.params["strategy"] for run in runs] == ["mine:pick"] * 2
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert "strategy.py" in [file.path for file in client.list_artifacts(runs[0].info.run_id)]


@pytest.mark.parametrize("name", BROKEN)
def test_a_bad_answer_is_one_sentence_and_its_own_trials_fail(finished, name):
    root, answer = finished
    assert answer.returncode == 1, "some trials have failed"
    assert "Traceback" not in answer.stderr
    for folder in folders(root, name):
        failure = read_failure(Home(root / "home"), folder)
        assert failure.cause == "error"
        assert failure.reason.startswith(BROKEN[name])
        assert "\n" not in failure.reason


def test_what_was_run_is_read_without_the_modules(finished):
    root, _ = finished
    answer = run_here("ablations", "verify", "--study=own", "--home=home", cwd=root)
    assert "agree with the trial folders.\n6 of them failed" in answer.stdout, answer.stderr
    assert "mine" not in sys.modules


def test_an_edited_file_is_another_strategy_and_a_moved_one_the_same(finished, tmp_path):
    root, _ = finished
    with modules_in(tmp_path) as modules:
        modules.write(BAD, "bad")
        modules.write(EXAMPLE)
        moved = run_here("ablations", "run", *STUDY, cwd=root)
        modules.write(EXAMPLE.replace("3 * request.budget", "2 * request.budget"))
        edited = run_here("ablations", "run", *STUDY, cwd=root)
    assert "0 trials were run now" in moved.stdout, moved.stderr
    assert edited.returncode == 2
    assert "must keep its 10 trials" in edited.stderr
    assert "got a plan without 2 of them" in edited.stderr
