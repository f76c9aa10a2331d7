"""The driver of a home: real trials on a Ray of two CPUs, with files that change while it works."""

import json
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import torch
from sweep_files import study_text

from ablations.plans import make_plan, read_plan, read_study
from ablations.run import Again, Reporting, run_study
from ablations.sweeps import driver as driver_module
from ablations.sweeps.driver import BUSY, Driver
from ablations.sweeps.hours import Hours
from ablations.sweeps.kept import DRIVER, DRIVER_LOCK, Kept, existing, keep_state
from ablations.sweeps.studies import prepare_study
from cluster.collect import Forecast, collect_here
from cluster.place import Place, Share
from cluster.runtime import Resources
from cluster.work import known_work
from rambo.errors import InvalidInput
from rambo.home import Home
from rambo.progress import Progress, Units
from rambo.result import read_result
from rambo.store import Store

UNUSED = Path("unused")

BROKEN = "def pick(request):\n    raise ValueError('no')\n"


class Heard(Progress):
    def __init__(self) -> None:
        super().__init__(quiet=True)
        self.said: list[str] = []

    def say(self, sentence: str) -> None:
        self.said.append(sentence)


def drive(home, progress=None):
    driver = Driver(home, UNUSED, progress or Heard())
    driver.run()
    return driver


def starts(home):
    """Folders in the order in which trials of any study were started."""
    found = []
    for study in home.folders("studies"):
        entries = map(json.loads, home.read_lines(f"studies/{study}/ledger.jsonl"))
        found += [(entry["time"], study, entry["trial"]) for entry in entries if entry["event"] == "start"]
    return [(study, trial) for _, study, trial in sorted(found)]


def during(call, *, when, home, begun=False):
    """Do `call` as soon as `when` trials have a result, or have `begun`."""

    def watch():
        while (len(starts(home)) if begun else len(list(Path(home.root).glob("trials/*/*/*/result.json")))) < when:
            time.sleep(0.02)
        call()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    return thread


class Idle:
    """A pool in which nothing runs."""

    seconds: dict[str, float] = {}  # noqa: RUF012

    def has_room(self, share):
        return True

    def rest(self):
        pass


@pytest.fixture
def look(monkeypatch):
    """A driver's look at what is wanted, without Ray."""
    monkeypatch.setattr(driver_module, "settle", lambda place, progress: (Share(1.0, 0.0), None))
    monkeypatch.setattr(driver_module, "check_nodes", lambda *given: None)
    made = []

    def looked(home, driver=None):
        if driver is None:
            driver = Driver(home, UNUSED, Heard())
            made.append(driver)
        driver._refresh(Idle())
        return driver

    yield looked
    for driver in made:
        for live in driver._live():
            live.close(killed=True)


def test_two_sweeps_end_higher_priority_first_each_trial_once_with_the_tables_of_a_run_by_hand(
    write, wanted, two_cpus, tmp_path
):
    """The second sweep comes first; both have random selection of seed 0, which runs once."""
    wanted(write("later", study_text("low", strategy=["random", "entropy"], seeds="0")))
    home = wanted(write("sooner", study_text("high", priority=5)))
    driver = drive(home)
    order = starts(home)
    assert [study for study, _ in order] == ["high"] * 4 + ["low"]
    assert len(set(order)) == 5 == driver.num_run
    seeds = [int(trial.rsplit("/", 1)[1]) for study, trial in order if study == "high"]
    assert seeds == sorted(seeds), "whole seeds first"
    assert home.read(DRIVER) is None
    assert drive(home).num_run == 0, "the same again repeats nothing"
    by_hand = Home(tmp_path / "by hand")
    study = prepare_study("none", Kept.of(tmp_path / "sooner.toml")[1].studies[0], UNUSED)
    plan, place = make_plan("high", study.plan.grid, study.prepared), Place(by_hand, UNUSED, "cpu", "ledger.jsonl")
    run_study(plan, study.prepared, place, Reporting(), again=Again(), progress=Progress(quiet=True))
    for name in ("table.md", "table.csv", "trials.csv", "effects.csv", "sentences.txt"):
        assert home.read(f"studies/high/{name}") == by_hand.read(f"studies/high/{name}"), name


@pytest.mark.long
def test_an_edited_file_adds_and_retires_cells_while_the_driver_works_and_loses_no_result(write, wanted, two_cpus):
    path = write("spring", study_text("digits", seeds="0-2", acquisition__budget=[40, 60]))
    home = wanted(path)
    edited = study_text("digits", seeds="0-2", strategy=["random", "margin", "entropy"], acquisition__budget=[60])
    during(lambda: write("spring", edited), when=2, home=home)
    drive(home)
    plan = read_plan(home, "digits")
    assert {cell.name for cell in plan.grid.cells} == {"strategy=random", "strategy=margin", "strategy=entropy"}
    study = read_study(plan, home)
    assert not study.missing
    assert len(study.outcomes) == 9
    stored = len(list(Path(home.root).glob("trials/*/*/*/result.json")))
    assert stored > 9, "what was done at another budget stays"
    assert len(starts(home)) == stored


@pytest.mark.long
def test_a_file_that_becomes_invalid_is_said_once_and_the_old_state_goes_on(write, wanted, two_cpus):
    path, heard = write("spring", study_text("digits", seeds="0-3")), Heard()
    home = wanted(path)
    during(lambda: path.write_text(path.read_text().replace("priority", "priorty")), when=1, home=home)
    drive(home, heard)
    told = [one for one in heard.said if "goes on as it was" in one]
    assert len(told) == 1
    assert "line 5: study 1 must have keys among" in told[0]
    assert told[0].endswith("got 'priorty'; did you mean priority?")
    assert not read_study(read_plan(home, "digits"), home).missing


def test_a_core_hour_limit_stops_new_starts_says_so_and_goes_on_when_raised(write, wanted, two_cpus):
    """The limit leaves room for one trial such as this machine, however busy, has just done, and little more."""
    home = wanted(write("spring", study_text("digits", seeds="0")))
    drive(home)
    took = [sum(read_result(home, folder).seconds.values()) for folder in read_plan(home, "digits").folders.values()]
    study, limit = study_text("digits", seeds="0-9"), Hours.kept(home, "spring").core_seconds + 1.2 * max(took)
    path = write("spring", study, limits=f"core_hours = {limit / 3600}")
    prepared = prepare_study("spring", existing(home, "spring").edited().declared().studies[0], UNUSED).prepared
    cpu, store = torch.device("cpu"), Store(home)
    collect_here(known_work(list(prepared.values()), UNUSED, cpu, store), store, cpu, Progress(quiet=True))
    wanted(path)
    driver = drive(home)
    assert 0 < driver.num_run < 18
    assert driver.sweeps["spring"].why.startswith("limits.core_hours of ")
    spent = Hours.kept(home, "spring").core_seconds
    assert spent < limit + 2 * longest(home), "within one trial's length, two at a time"
    wanted(write("spring", study, limits="core_hours = 1"))
    drive(home)
    assert not read_study(read_plan(home, "digits"), home).missing
    assert Hours.kept(home, "spring").core_seconds > spent, "the ledger goes on"


def longest(home):
    """Core-seconds of the longest trial so far."""
    entries = map(json.loads, home.read_lines("sweeps/spring/hours.jsonl"))
    return max(entry["core_seconds"] for entry in entries if entry["what"].startswith("trials/"))


@pytest.mark.long
def test_a_failed_trial_stops_a_sweep_that_wants_that_and_no_other(write, wanted, two_cpus, modules):
    modules.write(BROKEN, "a_broken_one")
    broken = study_text("broken", strategy=["a_broken_one:pick", "random", "margin"], seeds="0-3", priority=1)
    home = wanted(write("spring", broken, policy='on_failure = "stop"'))
    wanted(write("other", study_text("whole", seeds="0")))
    driver = drive(home)
    number = len(read_study(read_plan(home, "broken"), home).failures)
    assert 1 <= number <= 2, "two run at a time"
    told = "1 trial failed" if number == 1 else "2 trials failed"
    assert driver.sweeps["spring"].why == f"policy.on_failure is stop, and {told}"
    assert not read_study(read_plan(home, "whole"), home).missing
    wanted(write("spring", broken))
    assert drive(home).sweeps["spring"].why is None
    study = read_study(read_plan(home, "broken"), home)
    assert (len(study.failures), len(study.outcomes)) == (4, 8)


@pytest.mark.long
def test_pause_lets_what_runs_end_and_cancel_ends_it(write, wanted, two_cpus):
    slow = {"training.max_epochs": 60, "training.learning_rate": 1e-6, "evaluation.repeats": 8}
    home = wanted(write("spring", study_text("digits", seeds="0-4", fields=slow)))
    during(lambda: keep_state(home, "spring", "paused"), when=1, home=home)
    driver = drive(home)
    paused = driver.num_run
    assert 1 <= paused < 10
    assert len(starts(home)) == paused
    keep_state(home, "spring", "running")
    during(lambda: keep_state(home, "spring", "cancelled"), when=paused + 3, home=home, begun=True)  # one just has
    driver = drive(home)
    ended = len(list(Path(home.root).glob("trials/*/*/*/result.json")))
    assert ended < 10
    assert len(starts(home)) > ended, "what ran was ended"
    keep_state(home, "spring", "running")
    drive(home)
    assert not read_study(read_plan(home, "digits"), home).missing


@pytest.mark.long
def test_a_failure_that_is_taken_back_is_tried_again(write, wanted, two_cpus, tmp_path):
    home = wanted(write("spring", study_text("digits", seeds="0")))
    study = prepare_study("spring", Kept.of(tmp_path / "spring.toml")[1].studies[0], UNUSED)
    first = next(iter(study.trials))
    home.write(f"{first}/failure.json", b'{"cause": "error", "reason": "a bug of yesterday"}')
    assert drive(home).num_run == 1
    assert read_result(home, first) is None
    home.remove(f"{first}/failure.json")
    assert drive(home).num_run == 1
    assert read_result(home, first) is not None


def test_a_home_has_one_driver(write, wanted, two_cpus):
    home = wanted(write())
    with home.lock(DRIVER_LOCK), pytest.raises(InvalidInput, match=BUSY[:30]):
        drive(home)


@pytest.mark.long
def test_a_study_that_another_command_runs_waits_and_is_said(write, wanted, two_cpus):
    home, heard = wanted(write()), Heard()
    with home.lock("studies/digits/lock"):
        assert drive(home, heard).num_run == 0
    assert heard.said == [
        "sweep spring waits: The study digits must be run by one command at a time, got a second; wait for the first "
        "to end."
    ]
    assert drive(home).num_run == 4


def test_a_study_made_by_hand_keeps_its_trials(write, wanted, two_cpus, tmp_path):
    home, heard = wanted(write()), Heard()
    study = prepare_study("none", Kept.of(tmp_path / "spring.toml")[1].studies[0], UNUSED)
    smaller = replace(study.plan, sweep=None)
    home.write("studies/digits/plan.json", smaller.to_bytes())
    wanted(write("spring", study_text("digits", strategy=["random", "entropy"])))
    drive(home, heard)
    assert "must keep its 4 trials" in heard.said[0]
    assert read_plan(home, "digits") == smaller


def test_a_pause_is_heeded_while_the_file_is_invalid_and_an_edit_that_is_taken_back_is_no_reproach(write, wanted, look):
    path = write()
    home, text = wanted(path), path.read_text()
    driver = look(home)
    path.write_text(text.replace("priority", "priorty"))
    keep_state(home, "spring", "paused")
    look(home, driver)
    assert driver.sweeps["spring"].state == "paused"
    assert "priorty" in str(driver.refused["spring"])
    path.write_text(text)
    look(home, driver)
    assert driver.refused == {}


def test_a_driver_that_finds_an_invalid_file_goes_on_with_what_was_wanted_before(write, wanted, look):
    path = write()
    home = wanted(path)
    path.write_text("name = ")
    driver = look(home)
    assert list(driver.sweeps["spring"].studies) == ["digits"]
    assert "must be TOML" in str(driver.refused["spring"])


@pytest.mark.parametrize("budget", [[100_000], [40, 60]])
def test_an_edit_that_cannot_be_leaves_the_old_state_in_hand_and_in_the_home(write, wanted, look, tmp_path, budget):
    """A budget beyond the pool; trials taken out of a study that was made by hand."""
    path = write()
    home = wanted(path)
    study = prepare_study("none", Kept.of(path)[1].studies[0], UNUSED)
    home.write("studies/digits/plan.json", replace(study.plan, sweep=None).to_bytes())
    driver = look(home)
    live, kept = driver.sweeps["spring"].studies["digits"], existing(home, "spring")
    write("spring", study_text("digits", strategy=["random", "entropy"], acquisition__budget=budget))
    look(home, driver)
    assert "spring" in driver.refused
    assert driver.sweeps["spring"].studies["digits"] is live
    assert not live.is_closed
    assert existing(home, "spring") == kept
    larger = study_text("digits", strategy=["random", "margin", "entropy"])
    write("spring", larger)
    look(home, driver)
    assert driver.refused == {}
    assert len(driver.sweeps["spring"].studies["digits"].trials) == 6
    assert '"entropy"' in existing(home, "spring").text


@pytest.fixture
def measures(monkeypatch):
    """What a driver measures and times, made up: 1000 s a training on one of four cores."""
    found = {"timed": 0, "collected": 0}

    def timed(work, store, device):
        found["timed"] += 1
        return Forecast(1000.0, work.num_trainings)

    def collected(work, home, **given):
        found["collected"] += 1

    monkeypatch.setattr(driver_module, "pilot", timed)
    monkeypatch.setattr(driver_module, "collect", collected)
    monkeypatch.setattr(driver_module, "resources_now", lambda: Resources(((4, 0),)))
    return found


def test_measuring_that_does_not_fit_into_a_limit_is_timed_once_and_put_off(write, wanted, look, measures):
    home = wanted(write("spring", study_text("digits", seeds="0-3"), limits="core_hours = 0.02"))
    driver = look(home)
    for _ in range(3):
        driver._fill(Idle(), Units("trials", 1))
    assert measures == {"timed": 1, "collected": 0}
    assert driver.sweeps["spring"].why.startswith("measuring what the next trials need: limits.core_hours of 0.02")


def test_measuring_is_held_to_a_deadline_on_all_that_is_free(write, wanted, look, measures):
    """12 trainings take 50 minutes on four cores."""
    soon = (datetime.now(UTC) + timedelta(minutes=55)).isoformat()
    home = wanted(write("spring", study_text("digits", seeds="0-3"), limits=f"deadline = {soon}"))
    driver = look(home)
    driver._fill(Idle(), Units("trials", 1))
    assert measures["collected"] == 1


def test_what_is_wanted_is_looked_at_anew_after_measuring(write, wanted, look, measures, monkeypatch):
    home = wanted(write("spring"))
    driver = look(home)
    monkeypatch.setattr(driver_module, "collect", lambda *given, **named: keep_state(home, "spring", "paused"))
    driver._fill(Idle(), Units("trials", 1))
    assert driver._has_measured
    assert driver._in_hand == {}
    look(home, driver)
    driver._has_measured = False
    driver._fill(Idle(), Units("trials", 1))
    assert driver._in_hand == {}


def test_gpus_that_a_collection_takes_are_counted(write, wanted, look, monkeypatch):
    driver = look(wanted(write()))
    monkeypatch.setattr(driver_module, "resources_now", lambda: Resources(((8, 2),)))
    assert driver._free("auto") == Share(2.0, 2.0)
    assert driver._free("cpu") == Share(8.0, 0.0)


def test_one_study_that_is_busy_keeps_no_other_of_its_sweep_back_and_is_taken_once_it_is_free(write, wanted, look):
    home = wanted(write("spring", study_text("free", priority=1), study_text("busy", seeds="2")))
    with home.lock("studies/busy/lock"):
        driver = look(home)
        look(home, driver)
        assert "The study busy must be run by one" in str(driver.refused["spring"])
        assert list(driver.sweeps["spring"].studies) == ["free"]
    look(home, driver)
    assert list(driver.sweeps["spring"].studies) == ["free", "busy"]
    assert driver.refused == {}


def test_what_is_wanted_while_a_driver_ends_is_worked_on(write, wanted, look, monkeypatch):
    home, looks = wanted(write()), []
    later = [
        lambda: wanted(write("summer", study_text("more", seeds="2"))),
        lambda: keep_state(home, "spring", "paused"),
        lambda: None,
    ]

    def work(driver):
        driver._refresh(Idle())
        looks.append({name: sweep.state for name, sweep in driver.sweeps.items()})
        for live in driver._live():
            live.close(killed=True)
        later[len(looks) - 1]()  # after the last choice

    monkeypatch.setattr(Driver, "_work", work)
    Driver(home, UNUSED, Heard()).run()
    running = {"spring": "running", "summer": "running"}
    assert looks == [{"spring": "running"}, running, {**running, "spring": "paused"}]


def test_a_file_that_is_moved_takes_its_paths_along(write, wanted, look, tmp_path):
    path, other = write(), tmp_path / "other"
    home = wanted(path)
    driver = look(home)
    other.mkdir()
    wanted(path.rename(other / "spring.toml"))
    look(home, driver)
    assert driver.sweeps["spring"].kept.folder == str(other)
