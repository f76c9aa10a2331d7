"""One study in the hands of a driver: what waits, what others of a cell took, memory, and its end."""

import json
from pathlib import Path

import pytest
from sweep_files import finish, study_text

from ablations.plans import read_plan
from ablations.sweeps.kept import Kept
from ablations.sweeps.live import LiveStudy
from ablations.sweeps.studies import prepare_sweep
from cluster.failures import Failure
from cluster.place import Share
from rambo.errors import InvalidInput
from rambo.formats import json_bytes
from rambo.home import Home
from rambo.progress import Progress

UNUSED = Path("unused")


@pytest.fixture
def study(write):
    (found,) = prepare_sweep(Kept.of(write("spring", study_text("digits")))[1], UNUSED)
    return found


@pytest.fixture
def live(study, tmp_path):
    home = Home(tmp_path / "home")
    made = LiveStudy(study, study.place(home, UNUSED), Share(1.0, 0.0), Progress(quiet=True))
    yield made
    if not made.is_closed:
        made.close()


def test_it_is_held_against_other_commands_until_it_is_closed(live, study, tmp_path):
    home = Home(tmp_path / "home")
    with pytest.raises(InvalidInput, match="The study digits must be run by one command at a time, got a second"):
        LiveStudy(study, live.place, live.share, Progress(quiet=True))
    live.close()
    assert live.is_closed
    with home.lock("studies/digits/lock", "held"):
        pass
    assert read_plan(home, "digits").sweep == "spring"


def test_a_trial_is_expected_to_take_what_others_of_its_cell_took(live, tmp_path):
    home, (first, second, third, fourth) = Home(tmp_path / "home"), live.trials
    assert live.cost(third).seconds == 0.0
    for folder, seconds in ((first, 3.0), (second, 9.0)):
        live.begin(folder)
        finish(home, live.trials[folder][0])
        result = json.loads(home.read(f"{folder}/result.json"))
        home.write(f"{folder}/result.json", json_bytes({**result, "seconds": {"selection": seconds}}))
        live.end(folder, None, None)
    assert [live.cost(folder).seconds for folder in (third, fourth)] == [3.0, 9.0]
    assert [one.folder for one in live.candidates] == [third, fourth]


def test_a_trial_that_ran_out_of_memory_waits_again_with_more_and_one_that_failed_does_not(live):
    first, second, *_ = live.trials
    live.begin(first)
    live.end(first, Failure("memory", "it ran out"), Share(2.0, 0.0))
    assert live.share_of(first) == Share(2.0, 0.0)
    assert list(live.waiting)[-1] == first
    live.begin(second)
    live.end(second, Failure("error", "a bug"), None)
    assert (live.failed, second in live.waiting) == ({second}, False)


def test_a_trial_that_was_ended_waits_again_and_is_not_complete(live):
    folder = next(iter(live.trials))
    live.begin(folder)
    live.give_back(folder)
    assert folder in live.waiting
    assert not live.is_complete


def test_what_ends_is_told_to_every_study_that_has_it_and_others_take_no_notice(live):
    live.end("trials/others/0123/0", None, None)
    assert live.done == set()


def test_its_tables_are_written_as_far_as_it_is_and_marked(live, tmp_path):
    home, first = Home(tmp_path / "home"), next(iter(live.trials))
    live.begin(first)
    finish(home, live.trials[first][0])
    live.end(first, None, None)
    ended = live.close()
    assert len(ended.study.outcomes) == 1
    assert json.loads(home.read("studies/digits/reporting.json"))["allow_mixed"] is True
    assert b"| random | 1 of 2 |" in home.read("studies/digits/table.md")


def test_one_that_cannot_be_taken_in_hand_is_let_go_again(study, tmp_path):
    """A result that is damaged; it is removed, as the sentence says."""
    home, folder = Home(tmp_path / "home"), next(iter(study.trials))
    home.write(f"{folder}/result.json", b"{")
    with pytest.raises(InvalidInput, match=r"result\.json must be whole") as caught:
        LiveStudy(study, study.place(home, UNUSED), Share(1.0, 0.0), Progress(quiet=True))
    home.remove(f"{folder}/result.json")
    assert caught.value.__traceback__ is not None, "which holds what was made"
    LiveStudy(study, study.place(home, UNUSED), Share(1.0, 0.0), Progress(quiet=True)).close()


def test_a_study_of_one_cell_and_a_control_has_its_tables(write, tmp_path):
    home = Home(tmp_path / "home")
    text = study_text("digits", strategy=["margin"]).replace("controls = []", 'controls = ["random"]')
    (one,) = prepare_sweep(Kept.of(write("spring", text))[1], UNUSED)
    made = LiveStudy(one, one.place(home, UNUSED), Share(1.0, 0.0), Progress(quiet=True))
    for trial, _ in one.trials.values():
        finish(home, trial)
    ended = made.close()
    assert len(ended.study.outcomes) == 4
    assert b"| margin | 2 |" in home.read("studies/digits/table.md")
