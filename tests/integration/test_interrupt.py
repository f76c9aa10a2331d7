"""Ctrl-C and SIGTERM while trials run: Tune and Ray take them, and the command must still end as interrupted."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tiny_experiment import TINY_FLAGS

from rambo.home import Home

STUDY = [*TINY_FLAGS, "--factor=switches.ot", "--controls=none", "--seeds=0-3", "--study=stopped", "--home=home"]
PATIENCE = 240


def entries(home: Home) -> list[dict]:
    return [json.loads(line) for line in home.read_lines("studies/stopped/ledger.jsonl")]


def events(home: Home) -> list[str]:
    return [entry["event"] for entry in entries(home)]


def finished(home: Home) -> set[str]:
    return {str(path.parent.relative_to(home.root)) for path in Path(home.root).glob("trials/*/*/*/result.json")}


@pytest.mark.long
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_study_ends_as_interrupted_and_goes_on_later(number, status, tmp_path):
    from mlflow import MlflowClient

    command, home = [sys.executable, "-m", "ablations", "run", *STUDY], Home(tmp_path / "home")
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True, start_new_session=True)
    end = time.monotonic() + PATIENCE
    while events(home).count("done") < 1:
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < end
        time.sleep(0.2)
    os.kill(process.pid, number)
    _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == status, said
    assert "Traceback" not in said
    done, told = finished(home), len(entries(home))
    assert len(done) < 8
    client = MlflowClient(f"sqlite:///{tmp_path}/home/mlflow.db")
    [experiment] = [one for one in client.search_experiments() if one.name == "ablations/stopped"]
    states = [run.info.status for run in client.search_runs([experiment.experiment_id])]
    assert "RUNNING" not in states
    assert "KILLED" in states, "the study's own run"
    again = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE)
    assert again.returncode == 0, again.stderr
    assert len(finished(home)) == 8
    again_started = {entry["trial"] for entry in entries(home)[told:]}
    assert not again_started & done, "one that was stopped while its pictures were drawn has its result"
