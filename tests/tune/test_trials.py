"""What stands between Tune and the driver: questions, answers and what one seed of a trial is; no Ray is started."""

import json
import pickle
from pathlib import Path
from types import SimpleNamespace

import pytest
from driver_bench import Bench
from ray.tune.schedulers import FIFOScheduler
from ray.tune.search import Searcher

from cluster.failures import Failure, read_failure
from cluster.place import Place, Share, described
from rambo.fields import override
from rambo.home import Home
from rambo.preparation import prepare
from rambo.progress import Units
from rambo.result import read_result
from tune.driver import Limits
from tune.records import SeedOutcome
from tune.trials import _Asks, _Halves, _outcome, _Tells, _told, evaluate


def trial(number: int, **fields) -> SimpleNamespace:
    """As Tune hands one over."""
    return SimpleNamespace(config={"number": number}, **fields)


def test_a_seed_is_run_once_and_its_result_costs_nothing_the_second_time(tiny, tmp_path):
    one = prepare(override(tiny, {"strategy": "random"}), Path("unused"))
    home = Home(tmp_path)
    place = described(Place(home, Path("unused"), "cpu", "ledger.jsonl"), Share(1, 0))
    first, second = (evaluate(one.folder, one.config, place) for _ in range(2))
    result = read_result(home, one.folder)
    assert first == SeedOutcome(result.val_accuracy, result.test_accuracy, result.trainings)
    assert second == SeedOutcome(result.val_accuracy, result.test_accuracy, 0)
    assert result.trainings > 0
    assert [json.loads(line)["event"] for line in home.read_lines("ledger.jsonl")] == ["start", "done"]


def test_a_seed_that_cannot_be_run_is_a_failure_that_stands_in_its_folder(tiny, tmp_path):
    home = Home(tmp_path)
    place = described(Place(home, Path("unused"), "cpu", "ledger.jsonl"), Share(1, 0))
    found = evaluate("trials/d/c/0", override(tiny, {"data.source": f"npz:{tmp_path}/none.npz"}), place)
    assert found.cause == "refused"
    assert "none.npz" in found.reason
    assert read_failure(home, "trials/d/c/0") == found


@pytest.mark.parametrize("outcome", [SeedOutcome(0.25, 0.5, 7, 1.235), Failure("collapsed", "all scores are equal")])
def test_what_a_process_tells_is_read_as_it_was_meant(outcome):
    assert _outcome({"place": 0, "seconds": 1.23456, **_told(outcome)}) == outcome


def test_tune_is_handed_what_there_is_room_for_and_is_told_when_all_is_over(tiny, tmp_path):
    bench = Bench(tiny, tmp_path, Limits(2), stops=False)
    asks = _Asks(bench.driver, room=1)
    job = asks.suggest("a")
    assert set(job) == {"number", "configs", "folders"}
    assert [config["seed"] for config in job["configs"]] == [0, 1]
    assert asks.suggest("b") is None, "there is no room, but something is in hand"
    for place in (0, 1):
        bench.driver.heard(job["number"], place, SeedOutcome(0.5, 0.5))
    bench.driver.ended(job["number"])
    bench.run(*[0.5] * 2)
    assert asks.suggest("c") == Searcher.FINISHED
    assert asks.count == 1


def test_a_trial_runs_its_next_seed_or_stops_as_the_driver_says(tiny, tmp_path):
    bench = Bench(tiny, tmp_path, Limits(9))
    for value in (0.7, 0.8, 0.9):
        bench.run(value, value)
    halves = _Halves(bench.driver)
    numbers = [bench.driver.next(9).number for _ in range(3)]
    decisions = [
        halves.on_trial_result(None, trial(number), {"place": 0, "seconds": 1.0, **_told(outcome)})
        for number, outcome in zip(
            numbers, (SeedOutcome(0.85, 0.5), SeedOutcome(0.1, 0.5), Failure("error", "it broke")), strict=True
        )
    ]
    assert decisions == [FIFOScheduler.CONTINUE, FIFOScheduler.STOP, FIFOScheduler.STOP]


def test_only_finished_trials_count_and_a_death_has_its_reason(tiny, tmp_path):
    bench, counted = Bench(tiny, tmp_path, Limits(9)), []
    tells = _Tells(bench.driver, lambda: None, Units("trials", 9, counted.append))
    first, second = (bench.driver.next(9) for _ in range(2))
    for place in (0, 1):
        bench.driver.heard(first.number, place, SeedOutcome(0.5, 0.5))
    tells.on_trial_complete(1, [], trial(first.number))
    (tmp_path / "error.txt").write_text("ray.exceptions.ActorDiedError: The actor died.\n")
    tells.on_trial_error(2, [], trial(second.number, error_file=str(tmp_path / "error.txt")))
    assert counted == [1, 1]
    assert bench.states() == ["COMPLETE", "FAIL"]
    assert bench.search.attempts()[1].reason.endswith("(ray.exceptions.ActorDiedError: The actor died.)")


def test_tune_keeps_nothing_of_the_search_in_its_folder(tiny, tmp_path):
    bench = Bench(tiny, tmp_path, Limits(9))
    for part in (_Asks(bench.driver, 1), _Halves(bench.driver), _Tells(bench.driver, print, Units("trials", 9))):
        assert vars(pickle.loads(pickle.dumps(part))) == {}
