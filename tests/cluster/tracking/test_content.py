"""What a trial's run shows: what its folder holds."""

import json
import os

import pytest
from published_trials import children, client, publish

from cluster.tracking.content import TrialContent
from cluster.tracking.entries import Entry
from rambo.result import read_result


def test_runs_show_what_the_folders_hold(trials, home):
    publish(home, trials[1])
    runs = children(home)
    assert set(runs) == {"rambo", "random"}
    result = read_result(home, trials[1][0].folder)
    shown = runs["rambo"].data
    assert shown.metrics["test_accuracy"] == round(result.test_accuracy, 4)
    assert shown.metrics["pair_accuracy"] == round(result.pair_accuracy, 4)
    assert any("/log_lambda/" in name for name in shown.metrics), "which are logarithms"
    assert not any("/lambda/" in name for name in shown.metrics)
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


def test_a_run_has_the_fields_that_its_strategy_reads(trials, home):
    publish(home, trials[1][1:])
    [shown] = children(home).values()
    assert (shown.data.params["strategy"], shown.data.params["acquisition.budget"]) == ("random", "40")
    assert not [name for name in shown.data.params if name.startswith(("switches.", "utility_model."))]
    assert not client(home).search_runs(["1"], "tags.kind = 'trial' AND params.`switches.ot` = 'True'")
    commit = json.loads(home.read(f"{trials[1][1].folder}/environment.json"))["commit"]
    assert shown.data.tags.get("mlflow.source.git.commit") == commit


def test_a_run_begins_and_ends_when_its_trial_did(trials, home):
    folder = trials[1][1].folder
    result, environment = (json.loads(home.read(f"{folder}/{name}.json")) for name in ("result", "environment"))
    content = TrialContent(None, "", home, trials[1][1])
    took = 1000 * sum(result["seconds"].values())
    started, ended = content.times()
    assert started == int(1000 * environment["started"])
    assert ended - started == pytest.approx(took, abs=2)
    del environment["started"]
    home.write(f"{folder}/environment.json", json.dumps(environment).encode())
    os.utime(home.path(f"{folder}/result.json"), (1.7e9, 1.7e9))
    started, ended = content.times()
    assert ended == 1_700_000_000_000, "of older trials it is known when the result was written"
    assert ended - started == pytest.approx(took, abs=2)


def test_a_failed_trial_ends_when_its_failure_was_written(home):
    home.write("trials/broken/failure.json", b"{}")
    os.utime(home.path("trials/broken/failure.json"), (1.7e9, 1.7e9))
    content = TrialContent(None, "", home, Entry("trials/broken", "broken", {}, "it broke"))
    assert content.times() == (1_700_000_000_000, 1_700_000_000_000)
    home.write("trials/broken/environment.json", b'{"started": 1699999990.5}')
    assert content.times() == (1_699_999_990_500, 1_700_000_000_000)
