"""û as a logged model: the example that is shown runs where nothing of this project is, and scores as û does."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from published_trials import client, publish

from rambo.utility.kinds import load_utility_model

GUIDE = Path(__file__).parents[3] / "docs/studies.md"

[EXAMPLE] = re.findall(r"```python\n(.*?)```", GUIDE.read_text(), flags=re.DOTALL)

MORE = """
for size in (1, 2, 77):
    print(float(model.predict(np.random.default_rng(size).integers(0, 256, (size, 1, 8, 8), dtype=np.uint8))))
"""


@pytest.fixture(scope="module")
def modelled(trials, migrated, tmp_path_factory):
    """A home called runs/ whose board shows a trial with û, and what the trial's folder says of û."""
    import shutil

    from rambo.home import Home

    root = tmp_path_factory.mktemp("modelled")
    shutil.copytree(trials[0].root, root / "runs")
    home = Home(root / "runs")
    home.write("mlflow.db", migrated.read_bytes())
    publish(home, trials[1][:1])
    folder = trials[1][0].folder
    return home, folder, json.loads(home.read(f"{folder}/utility_model.json"))


@pytest.mark.long
def test_the_example_of_the_guide_runs_and_takes_raw_pixels_of_sets_of_any_size(modelled, tmp_path):
    home, folder, description = modelled
    assert "MLFLOW_TRACKING_URI" not in os.environ, "the next study of this process would go there"
    program = tmp_path / "example.py"
    program.write_text(EXAMPLE.replace("ablations/quickstart", "ablations/test") + MORE)
    environment = {**os.environ, "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false"}
    environment.pop("PYTHONPATH", None)
    where = Path(home.root).parent
    answer = subprocess.run([sys.executable, program], capture_output=True, text=True, env=environment, cwd=where)
    assert answer.returncode == 0, answer.stderr
    first, normalisation, *scores = answer.stdout.splitlines()
    mean, std = description["inputs"]["mean"], description["inputs"]["std"]
    assert first.startswith("û rambo ")
    assert normalisation == f"{mean} {std}"
    ours = load_utility_model(description, home.read(f"{folder}/utility_model.safetensors")).eval()
    cases = [(30, 0, first.rsplit(" ", 1)[1]), *zip((1, 2, 77), (1, 2, 77), scores, strict=True)]
    for size, seed, score in cases:
        pixels = torch.from_numpy(np.random.default_rng(seed).integers(0, 256, (size, 1, 8, 8), dtype=np.uint8))
        with torch.no_grad():
            expected = float(ours((pixels.float() / 255 - mean[0]) / std[0]))
        assert float(score) == pytest.approx(expected, rel=1e-5)


def test_its_page_says_what_it_is_and_what_it_takes(modelled):
    home, _, description = modelled
    [model] = client(home).search_logged_models(experiment_ids=["1"])
    assert model.name == "û rambo"
    assert model.params["cell"] == "rambo"
    note = model.tags["mlflow.note.content"]
    assert "that the trial *rambo* has learned" in note
    assert "raw pixels as the source gives them, uint8 from 0 to 255" in note
    assert f"with mean {description['inputs']['mean']}" in note
    assert f'load_model("models:/{model.model_id}")' in note
    assert "uint8 (n, 1, 8, 8)" in note
