"""python -m ablations sweep, as it is typed."""

import io
import json
import sys
from argparse import Namespace
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
from here import run_here, sentences
from jsonschema import Draft202012Validator
from sweep_files import finish, study_text

from ablations.plans import existing_plan, read_study
from ablations.sweeps import command
from ablations.sweeps.kept import DRIVER, DRIVER_LOCK, existing, keep_state, read_state
from ablations.sweeps.studies import prepare_sweep
from rambo.errors import require
from rambo.home import Home
from rambo.progress import Progress


@pytest.fixture
def sweep(tmp_path):
    """Runs a command in this process, in a folder of its own."""
    return lambda *words: run_here("ablations", "sweep", *map(str, words), cwd=tmp_path)


def test_a_plan_says_what_is_missing_and_runs_nothing(sweep, write, tmp_path):
    path = write("spring", study_text("digits"), study_text("more", seeds="2"), limits="core_hours = 0.00001")
    answer = sweep("plan", path, "--price", "2")
    assert answer.returncode == 0, answer.stderr
    rows = [line.split() for line in answer.stdout.splitlines()]
    assert [row[:6] for row in rows[2:5]] == [
        ["digits", "2", "0", "4", "0", "0"], ["more", "2", "0", "2", "0", "0"], ["all", "0", "6", "0", "0", "9"],
    ]  # fmt: skip
    assert "At 2 a core-hour: " in answer.stdout
    assert "The limits leave about 6 trials undone." in answer.stdout.replace("\n", " ")
    assert not (tmp_path / "runs").exists()


@pytest.mark.long
def test_what_is_applied_runs_and_its_status_is_text_and_json(sweep, write, tmp_path):
    path = write("spring", study_text("digits", seeds="0"))
    answer = sweep("apply", path)
    assert answer.returncode == 0, answer.stderr
    assert "2 trials were run now." in answer.stdout
    assert "spring: complete." in answer.stdout
    assert answer.stdout.endswith("runs/studies/digits/report.html\n")
    home = Home(tmp_path / "runs")
    assert not read_study(existing_plan(home, "digits"), home).missing
    assert "spring: complete." in sweep("status", "spring").stdout
    found = json.loads(sweep("status", "spring", "--json").stdout)
    assert [(one["name"], one["done"]) for one in found["studies"]] == [("digits", 2)]


def test_a_home_with_a_driver_is_told_what_is_wanted_and_waits_for_nothing(sweep, write, tmp_path):
    home = Home(tmp_path / "runs")
    with home.lock(DRIVER_LOCK):
        answer = sweep("apply", write("spring"))
        assert answer.returncode == 0, answer.stderr
        assert answer.stdout.startswith("The driver that is at work sees spring at its next choice: ")
        for state, word in (("paused", "pause"), ("running", "resume"), ("cancelled", "cancel")):
            answer = sweep(word, "spring")
            assert answer.returncode == 0, answer.stderr
            assert "the 0 trials that run" in answer.stdout or "0 trials run now" in answer.stdout
            assert read_state(home, "spring") == state


def test_what_stopped_a_sweep_is_the_last_that_apply_says(sweep, write, monkeypatch):
    class Stopped:
        num_run, refused = 0, {}
        sweeps = {"spring": SimpleNamespace(why="limits.running of 1 is reached", ended={}, studies={})}  # noqa: RUF012

        def __init__(self, *given):
            pass

        def run(self):
            pass

    monkeypatch.setattr(command, "Driver", Stopped)
    answer = sweep("apply", write())
    assert answer.returncode == 0, answer.stderr
    assert "The next trial waits: limits.running of 1 is reached." in answer.stdout


def test_who_watches_through_a_pipe_sees_each_status_at_once(write, wanted, monkeypatch):
    home, seen, out = wanted(write()), [], io.BytesIO()

    def slept(seconds):
        seen.append(out.getvalue())
        raise KeyboardInterrupt

    monkeypatch.setattr(command.time, "sleep", slept)
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BufferedWriter(out)))
    options = Namespace(home=home.root, name="spring", json=True, watch=True, data_dir=Path("unused"))
    with pytest.raises(KeyboardInterrupt):
        command.run_status(options)
    assert json.loads(seen[0])["name"] == "spring"


def test_a_sweep_whose_data_are_gone_can_be_cancelled(sweep, write, wanted):
    home = wanted(write("spring", study_text("own", fields={"data.source": "npz:gone.npz"})))
    answer = sweep("cancel", "spring", "--home", home.root)
    assert answer.returncode == 0, answer.stderr
    assert read_state(home, "spring") == "cancelled"


def test_a_retry_takes_back_every_failure_that_a_driver_has_left(sweep, write, wanted):
    """Of a trial whose process died too often as well: a driver that goes on does not try it again by itself."""
    home = wanted(write("spring", study_text("digits"), study_text("same")))
    study, _ = prepare_sweep(existing(home, "spring").declared(), Path("unused"))
    first, second, *_ = study.trials
    home.write(f"{first}/failure.json", b'{"cause": "error", "reason": "a bug"}')
    home.write(f"{second}/failure.json", b'{"cause": "killed", "reason": "a node went"}')
    keep_state(home, "spring", "paused")
    with home.lock(DRIVER_LOCK):
        answer = sweep("retry", "spring", "--home", home.root)
    told = (
        "Retrying spring: the 2 trials that failed are tried again once it is resumed, for it is paused, what runs "
        "goes on."
    )
    assert answer.stdout.splitlines()[0] == told
    assert home.read(f"{first}/failure.json") is home.read(f"{second}/failure.json") is None


class InABucket(Home):
    """One whose lock somebody has held, who is gone or is heard."""

    def __init__(self, root, *, held, heard):
        super().__init__(root)
        self.is_local, self._held, self._heard = False, held, heard

    def read(self, name):
        self._heard -= 1
        return b"now" if name == DRIVER and self._heard < 0 else b"before"

    @contextmanager
    def lock(self, name, held=None, *, patience=None):
        self._held -= 1
        require(self._held < 0, held)
        yield


def test_a_lock_that_outlives_its_driver_is_waited_for_and_one_that_is_heard_is_not(tmp_path, monkeypatch):
    monkeypatch.setattr(command, "HEAR_SECONDS", 0.0)
    progress = Progress(quiet=True)
    assert not command._is_driven(InABucket(tmp_path, held=5, heard=99), progress)
    assert command._is_driven(InABucket(tmp_path, held=5, heard=3), progress)


def test_no_flag_of_a_sweep_says_what_its_file_says(sweep, write, tmp_path):
    answer = sweep("apply", write(), "--device", "cpu")
    assert answer.returncode == 2
    assert "A flag must be one that --help lists, got --device" in answer.stderr
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (("seeds", "seds"), "line 6: study 1 must have keys among"),
        (('"0-1"', '"0-"'), "line 6: "),
        (('["random", "margin"]', '["random", "margni"]'), "line 25: strategy must be rambo|"),
        (("preset", "recipe"), 'line 4: study 1: recipe must be one of'),
        (("[[study]]", "[limits]\ncore_hours = -1\n[[study]]"), "limits.core_hours must be a number of hours above 0"),
        (("[[study]]", "[limits]\ndeadline = 2020-01-01T00:00:00Z\n[[study]]"), "limits.deadline must lie ahead"),
    ],
)  # fmt: skip
def test_bad_files_are_one_sentence_before_anything_is_kept(sweep, write, tmp_path, change, sentence):
    path = write()
    path.write_text(path.read_text().replace(*change, 1))
    answer = sweep("apply", path)
    assert answer.returncode == 2
    assert sentence in answer.stderr
    assert len(sentences(answer.stderr)) == 1
    assert not (tmp_path / "runs").exists()


def test_results_of_another_training_version_are_refused_or_measured_again(sweep, write, wanted):
    path = write()
    home = wanted(path)
    (study,) = prepare_sweep(existing(home, "spring").declared(), Path("unused"))
    first = next(iter(study.trials))
    finish(home, study.trials[first][0], version=0)
    with home.lock(DRIVER_LOCK):
        answer = sweep("apply", path, "--home", home.root)
        assert answer.returncode == 2
        assert "must have trials of one training version, got 1 of another than this code's" in answer.stderr
        assert sweep("apply", path, "--home", home.root, "--rerun-outdated").returncode == 0
    assert home.read(f"{first}/result.json") is None


def test_what_is_refused_takes_no_result_away(sweep, write, wanted):
    path = write()
    home = wanted(path)
    wanted(write("other", study_text("more")))
    (study,) = prepare_sweep(existing(home, "other").declared(), Path("unused"))
    first = next(iter(study.trials))
    finish(home, study.trials[first][0], version=0)
    write("spring", study_text("more", seeds="0"))
    answer = sweep("apply", path, "--home", home.root, "--rerun-outdated")
    assert answer.returncode == 2
    assert "The study more of spring must be as the sweep other has it" in answer.stderr
    assert home.read(f"{first}/result.json") is not None


def test_the_schema_that_is_printed_takes_a_file_and_refuses_another(sweep):
    schema = json.loads(sweep("schema").stdout)
    checker = Draft202012Validator(schema)
    study = {"name": "digits", "preset": "quickstart", "seeds": "0"}
    assert checker.is_valid({"name": "spring", "study": [study]})
    assert not checker.is_valid({"name": "spring", "study": [{**study, "sedes": "0"}]})


def test_a_paused_sweep_stays_so_when_its_file_is_applied_and_a_cancelled_one_runs_again(sweep, write, tmp_path):
    home, path = Home(tmp_path / "runs"), write()
    with home.lock(DRIVER_LOCK):
        for before, after in (("paused", "paused"), ("cancelled", "running")):
            sweep("apply", path)
            keep_state(home, "spring", before)
            sweep("apply", path)
            assert read_state(home, "spring") == after


def test_cells_for_gpus_on_a_cluster_without_are_one_sentence_and_nothing_runs(sweep, write, two_cpus, tmp_path):
    path = write()
    path.write_text(path.read_text().replace("priority = 0", 'device = "cuda"'))
    answer = sweep("apply", path)
    assert answer.returncode == 2
    assert answer.stderr.splitlines()[-1] == (
        "ablations: --device cuda needs a cluster with GPUs, got one without; use --device cpu, or auto."
    )
    assert not list(tmp_path.rglob("result.json"))
