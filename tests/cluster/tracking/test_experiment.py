"""Which experiment is a home's: MLflow's real store, with what others have made in it."""

import pytest
from published_trials import client, failed, publish, published_again

from rambo.errors import InvalidInput
from rambo.home import Home


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
    first = published_again(home, mlflow, experiment)
    for tag in ("rambo.home", "rambo.home_path"):
        mlflow.delete_experiment_tag(experiment, tag)
    mlflow.delete_run(parent)
    assert published_again(home, mlflow, experiment) == first
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


def test_a_home_whose_id_was_lost_is_told_what_it_was(shown):
    home, mlflow, experiment, _ = shown
    first, owner = published_again(home, mlflow, experiment), home.read("id")
    home.remove("id")
    with pytest.raises(InvalidInput, match=r"must be of the home .*; where its id was lost, write ") as refusal:
        publish(home, failed("one"))
    place = home.path("id")
    told = str(refusal.value).partition("was lost, write ")[2].partition(f" into {place}, else choose")[0]
    assert told.encode() == owner
    home.write("id", told.encode())
    assert published_again(home, mlflow, experiment) == first
