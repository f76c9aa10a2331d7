"""One experiment of MLflow as a projection of a study: its real SQLite store."""

import json

import pytest
from published_trials import children, client, publish

from cluster.tracking.board import Board
from cluster.tracking.entries import BoardSummary, Entry
from rambo.errors import InvalidInput
from rambo.home import Home


def test_the_parent_shows_the_table_and_its_files(trials, home):
    board = publish(home, trials[1])
    parent = client(home).get_run(board.parent_page().rsplit("/", 1)[1])
    assert "| a table |" in parent.data.tags["mlflow.note.content"]
    assert parent.info.status == "FINISHED"
    assert {item.path for item in client(home).list_artifacts(parent.info.run_id)} == {"table.md", "figures"}
    assert all(run.data.tags["mlflow.parentRunId"] == parent.info.run_id for run in children(home).values())


def test_publishing_again_changes_nothing_and_a_new_result_replaces_the_old(trials, home):
    publish(home, trials[1])
    before = {name: run.info.run_id for name, run in children(home).items()}
    publish(home, trials[1])
    assert {name: run.info.run_id for name, run in children(home).items()} == before
    folder = trials[1][1].folder
    result = json.loads(home.read(f"{folder}/result.json"))
    home.write(f"{folder}/result.json", json.dumps({**result, "test_accuracy": 0.5}).encode())
    publish(home, trials[1])
    after = children(home)
    assert after["rambo"].info.run_id == before["rambo"]
    assert after["random"].info.run_id != before["random"]
    assert after["random"].data.metrics["test_accuracy"] == 0.5


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
    parent = board.parent_page().rsplit("/", 1)[1]
    assert client(home).get_run(parent).info.status == "RUNNING"
    shutil.move(home.root, tmp_path / "moved")
    before = {name: run.info.run_id for name, run in children(home).items()}
    publish(Home(tmp_path / "moved"), trials[1])
    assert {name: run.info.run_id for name, run in children(home).items()} == before


def failed(*names):
    """Trials that have nothing to read, which is all that a board of its own needs."""
    return [Entry(f"trials/{name}", name, {"cell": name}, failure="it broke") for name in names]


@pytest.fixture
def shown(migrated, tmp_path):
    """A home whose board shows two trials, its client, the experiment and its parent."""
    home = Home(tmp_path / "a%20b?c#d::e")
    home.write("mlflow.db", migrated.read_bytes())
    board = publish(home, failed("one", "two"))
    _, experiment, _, parent = board.parent_page().rsplit("/", 3)
    assert [item.name for item in tmp_path.iterdir()] == ["a%20b?c#d::e"], "nothing lies beside it"
    return home, client(home), experiment, parent


def everything(home, mlflow, experiment):
    """Publishing again gives the same board: one parent, one run of each trial under it, none running."""
    parent = publish(home, failed("one", "two")).parent_page().rsplit("/", 1)[1]
    runs = {run.info.run_id: run for run in mlflow.search_runs([experiment])}
    children = [run for run in runs.values() if "trial" in run.data.tags]
    assert sorted(run.data.tags["trial"] for run in children) == ["trials/one", "trials/two"]
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parent}
    assert [run.info.run_id for run in runs.values() if "kind" in run.data.tags] == [parent]
    assert "RUNNING" not in {run.info.status for run in runs.values()}
    return {run.data.tags["trial"]: run.info.run_id for run in children}


def test_the_same_board_is_built_whatever_was_deleted(shown):
    home, mlflow, experiment, parent = shown
    first = everything(home, mlflow, experiment)
    mlflow.delete_run(parent)
    assert everything(home, mlflow, experiment) == first, "children find their new parent"
    mlflow.delete_run(first["trials/one"])
    second = everything(home, mlflow, experiment)
    assert (second["trials/two"], second["trials/one"] != first["trials/one"]) == (first["trials/two"], True)
    mlflow.restore_run(first["trials/one"])
    assert everything(home, mlflow, experiment) == second, "never a second run of a trial"
    mlflow.delete_tag(second["trials/one"], "digest")
    assert everything(home, mlflow, experiment)["trials/two"] == first["trials/two"], "half published"
    mlflow.delete_experiment(experiment)
    everything(home, mlflow, experiment)
    mlflow.delete_experiment(experiment)
    mlflow.restore_experiment(experiment)  # which restores whatever was ever deleted in it
    everything(home, mlflow, experiment)


def test_what_is_the_study_s_no_more_goes_unless_it_was_interrupted(shown):
    home, mlflow, experiment, _ = shown
    publish(home, failed("two"), "KILLED")
    assert {run.data.tags.get("trial") for run in mlflow.search_runs([experiment])} >= {"trials/one", "trials/two"}
    publish(home, failed("two"))
    assert {run.data.tags.get("trial") for run in mlflow.search_runs([experiment])} == {None, "trials/two"}


def test_runs_of_others_in_the_experiment_are_left_alone(shown):
    home, mlflow, experiment, parent = shown
    theirs = mlflow.create_run(experiment, tags={"mlflow.parentRunId": parent}, run_name="mine").info.run_id
    publish(home, failed("one", "two"))
    assert mlflow.get_run(theirs).info.status == "RUNNING"
    assert mlflow.get_run(theirs).info.lifecycle_stage == "active"


def test_an_experiment_of_something_else_is_refused_before_anything_is_written(migrated, tmp_path, monkeypatch):
    (tmp_path / "server.db").write_bytes(migrated.read_bytes())
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/server.db")
    home = Home(tmp_path / "home")
    mlflow = client(home)
    theirs = mlflow.create_experiment("ablations/test", artifact_location=tmp_path.as_uri())
    mlflow.create_run(theirs, run_name="ablations/test", tags={"kind": "study"})
    for delete in (False, True):
        if delete:
            mlflow.delete_experiment(theirs)
        before = str(mlflow.get_experiment(theirs))
        with pytest.raises(InvalidInput, match=r"must have been made by this project, got one .* or rename the exp"):
            publish(home, failed("one"))
        assert str(mlflow.get_experiment(theirs)) == before
    mlflow.restore_experiment(theirs)
    mlflow.rename_experiment(theirs, "theirs")
    publish(home, failed("one"))
    [run] = mlflow.search_runs([theirs])
    assert run.data.tags["kind"] == "study"


def test_an_experiment_from_before_the_mark_is_taken_by_its_parent(shown):
    home, mlflow, experiment, parent = shown
    first = everything(home, mlflow, experiment)
    for tag in ("rambo.home", "rambo.home_path"):
        mlflow.delete_experiment_tag(experiment, tag)
    mlflow.delete_run(parent)
    assert everything(home, mlflow, experiment) == first
    assert mlflow.get_experiment(experiment).tags["rambo.home"] == home.read("id").decode()
    for run in mlflow.search_runs([experiment], "tags.kind = 'study'"):
        mlflow.set_tag(run.info.run_id, "home", "another")
    mlflow.delete_experiment_tag(experiment, "rambo.home")
    with pytest.raises(InvalidInput, match="must be of the home"):
        publish(home, failed("one"))


def test_a_home_s_id_that_something_else_has_written_is_refused(tmp_path):
    (tmp_path / "id").write_text("42\n")
    with pytest.raises(InvalidInput, match="id must hold 32 hex digits, got a file of something else's"):
        publish(Home(tmp_path), failed("one"))


def test_a_summary_of_any_size_and_any_names_is_taken(migrated, tmp_path):
    (tmp_path / "mlflow.db").write_bytes(migrated.read_bytes())
    metrics = {f"test_accuracy/source=images:~/{number}/": 0.5 for number in range(1001)}
    home = Home(tmp_path)
    board = Board(home, f"ablations/{'x' * 250}", [])
    board.open()
    board.finish(BoardSummary("ü" * 30000, {}, metrics), "FINISHED")
    shown = client(home).get_run(board.parent_page().rsplit("/", 1)[1])
    assert (len(shown.data.metrics), shown.info.status) == (1001, "FINISHED")


def test_a_failed_trial_is_shown_with_its_reason(trials, home):
    publish(home, [Entry("trials/none", "broken", {"cell": "broken"}, failure="the fit collapsed")])
    shown = children(home)["broken"]
    assert shown.info.status == "FAILED"
    assert shown.data.tags["failure"] == "the fit collapsed"


def test_a_tracking_server_is_shown_without_its_password(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://ann:hunter2@127.0.0.1:9")
    assert Board(Home(tmp_path), "x", []).uri == "http://ann:***@127.0.0.1:9"
