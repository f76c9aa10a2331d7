"""Addresses and views of MLflow's pages."""

import json
import re
from pathlib import Path

from published_trials import client, failed, publish

import cluster
from cluster.tracking.pages import View, fronts, run_page, runs_page
from cluster.tracking.server import tracking_uri

ROOMS = [Path(cluster.__file__).parents[1] / room for room in ("rambo", "cluster", "tune", "ablations")]


def test_the_workflow_stands_in_the_query_of_every_address_behind_the_hash():
    pages = [runs_page("1", "trials"), run_page("1", "abc"), run_page("1", "abc", "report.html")]
    assert pages == [
        "/#/experiments/1/runs?workflowType=machine_learning&viewStateShareKey=trials",
        "/#/experiments/1/runs/abc?workflowType=machine_learning",
        "/#/experiments/1/runs/abc/artifacts/report.html?workflowType=machine_learning",
    ]


def test_addresses_are_made_in_one_place():
    made = [path for room in ROOMS for path in room.rglob("*.py") if "#/" in re.sub(r'""".*?"""', "", path.read_text())]
    assert [path.name for path in made] == ["pages.py"]


def test_views_are_kept_with_the_experiment_under_their_names(shown):
    _, mlflow, experiment, _ = shown
    kept = json.loads(mlflow.get_experiment(experiment).tags["mlflow.sharedViewState.trials"])
    assert kept["name"] == "Trials"
    assert kept["createdAt"] == mlflow.get_experiment(experiment).creation_time
    state = json.loads(kept["state"])
    assert (state["orderByKey"], state["searchFilter"]) == ("tags.`seed`", "tags.kind = 'trial'")
    assert state["selectedColumns"] == ["metrics.`test_accuracy`"]
    assert "groupBy" not in state


def test_a_view_groups_runs_by_a_tag():
    state = json.loads(json.loads(View("k", "n", (), "", "tags.seed", group_by="name").content(1))["state"])
    assert state["groupBy"] == {"aggregateFunction": "average", "groupByKeys": [{"mode": "tag", "groupByData": "name"}]}


def test_the_first_page_of_all_that_a_database_shows(shown):
    home, _, experiment, parent = shown
    page = f"/#/experiments/{experiment}/runs/{parent}/artifacts/report.html?workflowType=machine_learning"
    assert list(fronts(tracking_uri(home))) == [("ablations/test", page)]
    client(home).create_experiment("of somebody else")
    publish(home, failed("one"), "KILLED")
    assert list(fronts(tracking_uri(home))) == [("ablations/test", page)]
    client(home).set_tag(parent, "front", "")
    table = f"/#/experiments/{experiment}/runs?workflowType=machine_learning&viewStateShareKey=trials"
    assert list(fronts(tracking_uri(home))) == [("ablations/test", table)], "a search, whose table is that of runs"
