"""One experiment of MLflow as a projection of a study: its real SQLite store."""

import json
from dataclasses import replace

import pytest
from published_trials import CELLS, SUMMARY, children, client, failed, ids, publish, published_again

from cluster.tracking.board import Board
from cluster.tracking.entries import BoardSummary, Entry
from rambo.errors import InvalidInput
from rambo.home import Home


def test_the_parent_shows_the_table_and_its_files(trials, home):
    board = publish(home, trials[1])
    parent = client(home).get_run(ids(board)[1])
    assert "| a table |" in parent.data.tags["mlflow.note.content"]
    assert parent.info.status == "FINISHED"
    assert {item.path for item in client(home).list_artifacts(parent.info.run_id)} == {*SUMMARY.files, "figures"} - {
        "figures/one.png"
    }
    assert parent.data.params == {"acquisition.budget": "40"}
    assert parent.data.tags["seeds"] == "0, 1"
    assert [given.dataset.name for given in parent.inputs.dataset_inputs] == ["digits"]
    assert all(run.data.tags["mlflow.parentRunId"] == parent.info.run_id for run in children(home).values())


def test_publishing_again_changes_nothing_and_a_new_result_replaces_the_old(trials, home):
    publish(home, trials[1])
    before = {name: run.info.run_id for name, run in children(home).items()}
    publish(home, trials[1])
    assert {name: run.info.run_id for name, run in children(home).items()} == before
    folder = trials[1][0].folder
    result = json.loads(home.read(f"{folder}/result.json"))
    home.write(f"{folder}/result.json", json.dumps({**result, "test_accuracy": 0.5}).encode())
    publish(home, trials[1])
    after = children(home)
    assert after["random"].info.run_id == before["random"]
    assert after["rambo"].info.run_id != before["rambo"]
    assert after["rambo"].data.metrics["test_accuracy"] == 0.5
    [model] = client(home).search_logged_models(experiment_ids=["1"])
    assert model.source_run_id == after["rambo"].info.run_id, "the model of the old run goes with it"


def test_what_a_killed_driver_left_running_is_ended(trials, home):
    board = publish(home, trials[1][:1])
    mlflow = client(home)
    orphan = mlflow.create_run("1", tags={"cell": "half published", "trial": "x", "mlflow.parentRunId": "y"})
    board.start()
    publish(home, trials[1])
    from mlflow.entities import ViewType

    everything = mlflow.search_runs(["1"], run_view_type=ViewType.ALL)
    assert [run for run in everything if run.info.status == "RUNNING"] == []
    assert mlflow.get_run(orphan.info.run_id).info.status == "KILLED"
    assert set(children(home)) == {"rambo", "random"}


def test_an_experiment_of_another_home_is_left_alone_and_one_of_a_home_that_moved_is_not(
    trials, home, tmp_path, monkeypatch
):
    import shutil

    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/server.db")
    monkeypatch.chdir(tmp_path)  # where such a database keeps its files
    board = publish(home, trials[1])
    board.start()
    other = tmp_path / "other"
    shutil.copytree(trials[0].root, other)
    with pytest.raises(InvalidInput, match=r"must be of the home .*other, got that of .*home; choose another --study"):
        Board(Home(other), "ablations/test", []).open()
    _, parent = ids(board)
    assert client(home).get_run(parent).info.status == "RUNNING"
    shutil.move(home.root, tmp_path / "moved")
    before = {name: run.info.run_id for name, run in children(home).items()}
    publish(Home(tmp_path / "moved"), trials[1])
    assert {name: run.info.run_id for name, run in children(home).items()} == before


def test_the_same_board_is_built_whatever_was_deleted(shown):
    home, mlflow, experiment, parent = shown
    first = published_again(home, mlflow, experiment)
    mlflow.delete_run(parent)
    assert published_again(home, mlflow, experiment) == first, "children find their new parent"
    mlflow.delete_run(first["trials/one"])
    second = published_again(home, mlflow, experiment)
    assert (second["trials/two"], second["trials/one"] != first["trials/one"]) == (first["trials/two"], True)
    mlflow.restore_run(first["trials/one"])
    assert published_again(home, mlflow, experiment) == second, "never a second run of a trial"
    mlflow.delete_tag(second["trials/one"], "digest")
    assert published_again(home, mlflow, experiment)["trials/two"] == first["trials/two"], "half published"
    mlflow.delete_experiment(experiment)
    published_again(home, mlflow, experiment)
    mlflow.delete_experiment(experiment)
    mlflow.restore_experiment(experiment)  # which restores whatever was ever deleted in it
    published_again(home, mlflow, experiment)


def cells_of(mlflow, experiment):
    found = mlflow.search_runs([experiment], "tags.kind = 'cell'")
    return {run.data.tags["cell"]: run for run in found}


def test_each_cell_has_one_run_and_those_of_cells_that_are_gone_go(shown):
    home, mlflow, experiment, parent = shown
    first = cells_of(mlflow, experiment)
    assert {run.info.run_name for run in first.values()} == {"OT", "random"}
    assert (first["OT=on"].data.metrics, first["OT=on"].data.params) == (
        dict(CELLS[0].metrics),
        {"switches.ot": "True"},
    )
    assert {run.data.tags["mlflow.parentRunId"] for run in first.values()} == {parent}
    changed = replace(CELLS[0], metrics={"test_mean": 0.95, "n": 3.0})
    publish(home, failed("one", "two"), summary=replace(SUMMARY, cells=(changed,)))
    second = cells_of(mlflow, experiment)
    assert {name: run.data.metrics["n"] for name, run in second.items()} == {"OT=on": 3.0}
    mlflow.restore_run(first["random"].info.run_id)
    mlflow.restore_run(first["OT=on"].info.run_id)
    mlflow.delete_run(parent)
    board = publish(home, failed("one", "two"))
    third = mlflow.search_runs([experiment], "tags.kind = 'cell'")
    assert sorted(run.data.metrics["test_mean"] for run in third) == [0.8, 0.9], "one of each, as it is now"
    assert {run.data.tags["mlflow.parentRunId"] for run in third} == {ids(board)[1]}


def test_a_study_that_was_interrupted_keeps_the_runs_of_its_cells(shown):
    home, mlflow, experiment, _ = shown
    publish(home, failed("one"), "KILLED", replace(SUMMARY, cells=()))
    assert set(cells_of(mlflow, experiment)) == {"OT=on", "random"}


@pytest.mark.parametrize("change", [{"parameters": {"acquisition.budget": "50"}}, {"metrics": {"others": 1.0}}])
def test_a_parent_that_says_what_is_so_no_more_is_replaced_and_keeps_its_children(shown, change):
    home, mlflow, experiment, parent = shown
    _, other = ids(publish(home, failed("one", "two"), summary=replace(SUMMARY, **change)))
    assert other != parent
    assert [run.info.run_id for run in mlflow.search_runs([experiment], "tags.kind = 'study'")] == [other]
    assert {run.data.tags["mlflow.parentRunId"] for run in children(home).values()} == {other}


def test_a_long_table_ends_in_a_pointer_to_the_report_and_never_in_half_a_row(shown):
    home, mlflow, experiment, _ = shown
    rows = [f"| cell {number} | {'0' * 100} |" for number in range(200)]
    summary = replace(SUMMARY, description="\n".join(["| cell | test |", "|---|---|", *rows]))
    _, parent = ids(publish(home, failed("one"), summary=summary))
    note = mlflow.get_run(parent).data.tags["mlflow.note.content"]
    whole = mlflow.get_experiment(experiment).tags["mlflow.note.content"]
    assert len(note) <= 8000 < len(whole) <= 20000, "the experiment has room for more"
    for text in (note, whole):
        first, *lines, last = text.splitlines()
        assert f"[report.html](#/experiments/{experiment}/runs/{parent}/artifacts/report.html?workflowType=" in first
        assert last.startswith("The rest is too long for this place: it is in [report.html](#/experiments/")
        assert set(filter(None, lines)) <= {"| cell | test |", "|---|---|", *rows}
    assert whole.count("| cell ") > note.count("| cell ") > 50


def test_every_page_opens_where_runs_are_seen_and_the_first_shows_the_result(shown):
    home, _, experiment, parent = shown
    pages = publish(home, failed("one", "two")).pages
    assert all("?workflowType=machine_learning" in page for page in pages)
    assert [page.partition("?")[0] for page in pages] == [
        f"/#/experiments/{experiment}/runs/{parent}/artifacts/report.html",
        f"/#/experiments/{experiment}/runs",
        f"/#/experiments/{experiment}/runs/{parent}",
    ]


def test_what_is_the_study_s_no_more_goes_unless_it_was_interrupted(shown):
    home, *_ = shown
    publish(home, failed("two"), "KILLED")
    assert set(children(home)) == {"one", "two"}
    publish(home, failed("two"))
    assert set(children(home)) == {"two"}


def test_runs_of_others_in_the_experiment_are_left_alone(shown):
    home, mlflow, experiment, parent = shown
    theirs = mlflow.create_run(experiment, tags={"mlflow.parentRunId": parent}, run_name="mine").info.run_id
    publish(home, failed("one", "two"))
    assert mlflow.get_run(theirs).info.status == "RUNNING"
    assert mlflow.get_run(theirs).info.lifecycle_stage == "active"


def test_a_summary_of_any_size_and_any_names_is_taken(migrated, tmp_path):
    (tmp_path / "mlflow.db").write_bytes(migrated.read_bytes())
    metrics = {f"test_accuracy/source=images:~/{number}/": 0.5 for number in range(1001)}
    home = Home(tmp_path)
    board = Board(home, f"ablations/{'x' * 250}", [])
    board.open()
    board.finish(BoardSummary("ü" * 30000, {}, metrics), "FINISHED")
    shown = client(home).get_run(ids(board)[1])
    assert (len(shown.data.metrics), shown.info.status) == (1001, "FINISHED")


def test_a_failed_trial_is_shown_with_its_reason(trials, home):
    publish(home, [Entry("trials/none", "broken", {"cell": "broken"}, failure="the fit collapsed")])
    shown = children(home)["broken"]
    assert shown.info.status == "FAILED"
    assert shown.data.tags["failure"] == "the fit collapsed"


def test_a_tracking_server_is_shown_without_its_password(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://ann:hunter2@127.0.0.1:9")
    assert Board(Home(tmp_path), "x", []).uri == "http://ann:***@127.0.0.1:9"
