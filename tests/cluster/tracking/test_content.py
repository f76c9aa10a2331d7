"""What a trial's run shows: what its folder holds, and a model that a fresh process loads."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from published_trials import children, client, publish
from safetensors.torch import load

from cluster.tracking.server import tracking_uri
from rambo.result import read_result
from rambo.utility.deep_sets import SetUtilityModel


def test_runs_show_what_the_folders_hold(trials, home):
    publish(home, trials[1])
    runs = children(home)
    assert set(runs) == {"rambo", "random"}
    result = read_result(home, trials[1][0].folder)
    shown = runs["rambo"].data
    assert shown.metrics["test_accuracy"] == result.test_accuracy
    assert shown.metrics["pair_accuracy"] == result.pair_accuracy
    assert shown.params["acquisition.budget"] == "40"
    assert shown.tags["config_id"] == result.config_id
    assert "pair_accuracy" not in runs["random"].data.metrics
    data = runs["rambo"].inputs.dataset_inputs[0].dataset
    assert f"{data.name}-{data.digest}" == result.data
    curve = client(home).get_metric_history(runs["rambo"].info.run_id, "offline/inner_loss")
    rows = [json.loads(line) for line in home.read(f"{trials[1][0].folder}/metrics.jsonl").splitlines()]
    assert curve
    assert all({"stage": "offline", "step": m.step, "inner_loss": m.value} in rows for m in curve)
    names = {item.path for item in client(home).list_artifacts(runs["rambo"].info.run_id)}
    assert {"config.json", "selected.csv", "figures"} <= names


LOAD = """
import json, sys
import mlflow, numpy as np, torch
mlflow.set_tracking_uri(sys.argv[1])
model = mlflow.pytorch.load_model(sys.argv[2])
served = mlflow.pyfunc.load_model(sys.argv[2])
scores = {}
for size in (1, 2, 30, 77):
    images = np.random.default_rng(size).standard_normal((size, 1, 8, 8)).astype(np.float32)
    scores[size] = [float(model(torch.from_numpy(images))), float(np.asarray(served.predict(images)).reshape(-1)[0])]
print(json.dumps(scores))
"""


def test_a_logged_model_scores_sets_of_any_size_in_a_fresh_process(trials, home, tmp_path):
    publish(home, trials[1])
    assert "MLFLOW_TRACKING_URI" not in os.environ, "the next study of this process would go there"
    [model] = client(home).search_logged_models(experiment_ids=["1"])
    program = tmp_path / "load.py"
    program.write_text(LOAD)
    environment = {**os.environ, "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false"}
    command = [sys.executable, str(program), tracking_uri(home), f"models:/{model.model_id}"]
    answer = subprocess.run(command, capture_output=True, text=True, env=environment, check=True, cwd=tmp_path)
    scores = json.loads(answer.stdout.splitlines()[-1])
    folder = trials[1][0].folder
    ours = SetUtilityModel.from_description(json.loads(home.read(f"{folder}/utility_model.json")))
    ours.load_state_dict(load(home.read(f"{folder}/utility_model.safetensors")))
    ours.eval()
    for size in (1, 2, 30, 77):
        images = np.random.default_rng(size).standard_normal((size, 1, 8, 8)).astype(np.float32)
        with torch.no_grad():
            expected = float(ours(torch.from_numpy(images)))
        assert scores[str(size)] == pytest.approx([expected, expected], rel=1e-5)
