"""What a driver says of itself, in the home and in a real MLflow."""

import json
import time
from pathlib import Path

import pytest
from mlflow import MlflowClient
from sweep_files import finish

from ablations.sweeps import telling
from ablations.sweeps.choice import Cost
from ablations.sweeps.hours import Hours
from ablations.sweeps.kept import DRIVER, existing
from ablations.sweeps.live import InHand, LiveStudy, LiveSweep
from ablations.sweeps.studies import prepare_sweep
from ablations.sweeps.telling import Teller
from cluster.place import Share
from rambo.progress import Progress

UNUSED, QUIET = Path("unused"), Progress(quiet=True)


@pytest.fixture
def sweep(write, wanted, two_cpus):
    """A sweep of four trials, the first of which runs."""
    home = wanted(write("spring", limits="core_hours = 2"))
    kept = existing(home, "spring")
    (study,) = prepare_sweep(kept.declared(), UNUSED)
    made = LiveSweep(kept, kept.declared(), Hours.kept(home, "spring"))
    live = LiveStudy(study, study.place(home, UNUSED), Share(1.0, 0.0), QUIET)
    made.studies["digits"] = live
    folder = next(iter(live.trials))
    live.begin(folder)
    yield home, made, {folder: InHand("spring", Share(1.0, 0.0), live.trials[folder][0], Cost(1.0, 1.0), None)}
    if not live.is_closed:
        live.close()


def test_a_home_is_told_who_is_at_work_and_what_runs_until_the_driver_leaves(sweep):
    home, made, in_hand = sweep
    teller, folder = Teller(home, QUIET), next(iter(in_hand))
    made.why = "limits.running of 1 is reached"
    teller.tell({"spring": made}, in_hand, {folder: 2.5})
    said = json.loads(home.read(DRIVER))
    assert (said["cpus"], said["running"]) == (2, {folder: {"sweep": "spring", "seconds": 2.5}})
    assert said["why"] == {"spring": "limits.running of 1 is reached"}
    assert said["pages"] == {"spring": ["the experiment ablations/digits"]}
    teller.tell({"spring": made}, {}, {})
    assert json.loads(home.read(DRIVER)) == said, "not more often than every few seconds"
    teller.leave()
    assert home.read(DRIVER) is None
    teller.close({"spring": made}, {})


def test_a_driver_that_waits_for_long_says_that_it_is_there(sweep, monkeypatch):
    home, made, in_hand = sweep
    monkeypatch.setattr(telling, "TELL_SECONDS", 0.02)
    teller, folder = Teller(home, QUIET), next(iter(in_hand))
    teller.arrive()
    assert json.loads(home.read(DRIVER))["running"] == {}
    teller.tell({"spring": made}, in_hand, {folder: 2.5})
    first = said = json.loads(home.read(DRIVER))
    while said["time"] == first["time"]:
        said = json.loads(home.read(DRIVER))
    assert {**said, "time": 0} == {**first, "time": 0}
    teller.leave()
    time.sleep(0.1)
    assert home.read(DRIVER) is None


def test_the_sweep_s_page_says_how_far_it_is_and_how_it_ended(sweep, monkeypatch):
    home, made, in_hand = sweep
    monkeypatch.setattr(telling, "SHOW_SECONDS", 0.0)
    teller, live = Teller(home, QUIET), made.studies["digits"]
    teller.tell({"spring": made}, in_hand, {})
    for folder, (one, _) in live.trials.items():
        finish(home, one)
        live.end(folder, None, None)
    teller.tell({"spring": made}, {}, {})
    teller.close({"spring": made}, {})
    client = MlflowClient(f"sqlite:///{home.root}/mlflow.db")
    (experiment,) = [one for one in client.search_experiments() if one.name == "sweeps/spring"]
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    assert (run.data.metrics["trials_done"], run.data.metrics["trials_waiting"]) == (4.0, 0.0)
    assert "| digits | 0 | 4 | 4 | 0 | 0 | 0 | 0 |" in run.data.tags["mlflow.note.content"]
    files = [one.path for one in client.list_artifacts(run.info.run_id)]
    assert files == ["status.json"]


def test_a_sentence_is_said_once(tmp_path, capsys):
    from rambo.home import Home

    teller = Teller(Home(tmp_path), Progress())
    for _ in range(3):
        teller.say_once("it goes on as it was")
    assert capsys.readouterr().err.count("it goes on as it was") == 1
