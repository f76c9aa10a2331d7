"""What a sweep would take: sums of what its studies cost, and what limits leave of it."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sweep_files import study_text

from ablations.sweeps.choice import Spent
from ablations.sweeps.declaration import Limits
from ablations.sweeps.forecast import (
    Counted,
    StudyForecast,
    forecast,
    forecast_sentences,
    forecast_table,
    interval_of,
    left_undone,
    seconds_of,
    with_all_else,
)
from ablations.sweeps.kept import Kept
from ablations.sweeps.studies import prepare_sweep, standing_of
from cluster.costs import Cost, Part, Timing
from cluster.place import Place
from rambo.home import Home
from rambo.progress import Progress

NOW = datetime(2026, 12, 1, tzinfo=UTC)
UNUSED = Path("unused")


@pytest.fixture
def found(write, tmp_path):
    """Two studies of 20 trials each; one takes 100 s a trial, the other 10."""
    path = write("spring", study_text("high", seeds="0-9", priority=1), study_text("low", seeds="10-19"))
    made = []
    for study, each in zip(prepare_sweep(Kept.of(path)[1], UNUSED), (100.0, 10.0), strict=True):
        standing = standing_of(study, Home(tmp_path / "home"))
        cost = Cost((Part("trainings", 20, Timing(each, each / 10)),))
        made.append(StudyForecast(study, standing, 0, 20, cost))
    return made


def test_hours_add_up_and_errors_of_studies_are_their_own(found):
    assert seconds_of(found) == 2200.0
    error = (400.0**2 + 40.0**2) ** 0.5
    assert interval_of(found) == (pytest.approx(2200 - error), pytest.approx(2200 + error))


def test_what_trials_have_taken_counts_beyond_what_is_timed():
    timed = Cost((Part("trainings", 40, Timing(0.5, 0.0)),))  # of 10 trials: 2 s each
    assert with_all_else(timed, [9.0], 10) == timed, "one trial tells nothing of how much they differ"
    assert with_all_else(timed, [1.0, 2.0], 10) == timed
    longer = with_all_else(timed, [4.0, 6.0, 8.0], 10)
    assert longer.seconds == pytest.approx(10 * 6.0)
    assert longer.interval == pytest.approx((60 - 2 * 10 * 2 / 3**0.5, 60 + 2 * 10 * 2 / 3**0.5))


@pytest.mark.parametrize(
    ("limits", "undone"),
    [
        (Limits(), 0),
        (Limits(core_hours=2200 / 3600 + 1e-9), 0),
        (Limits(core_hours=1000 / 3600 + 1e-9), 30),
        (Limits(core_hours=2055 / 3600), 15),
        (Limits(deadline=NOW + timedelta(seconds=500)), 30),
        (Limits(deadline=NOW + timedelta(seconds=500), core_hours=100 / 3600), 39),
        (Limits(gpu_hours=1e-6), 0),
    ],
)
def test_limits_leave_the_lowest_priority_undone_first(found, limits, undone):
    assert left_undone(limits, found, workers=2, on_gpu=False, now=NOW, spent=Spent()) == undone


def test_hours_that_were_spent_are_no_room_for_what_is_left(found):
    limits, spent = Limits(core_hours=2200 / 3600 + 1e-9), Spent(1200.0)
    assert left_undone(limits, found, workers=2, on_gpu=False, now=NOW, spent=spent) == 30
    assert left_undone(limits, found, workers=2, on_gpu=False, now=NOW, spent=Spent(9999.0)) == 40


def test_a_plan_says_when_it_ends_and_its_price(found, write):
    sweep = Kept.of(write("spring", limits="core_hours = 0.5"))[1]
    told = forecast_sentences(sweep, found, workers=2, price=3.6, now=NOW)
    assert told[0].startswith("About 18 min (15 min to 22 min) on 2 cores, until 2026-12-01 00:18 UTC.")
    assert told[1] == "At 3.6 a core-hour: 2.20 (1.80 to 2.60)."
    assert told[2] == "The limits leave about 22 trials undone.", "18 of high fit into 1800 s"
    assert told[3].startswith("high: ")
    table = forecast_table(found).text(120)
    assert "0.611" in table
    assert "40" in table.splitlines()[-1]


def test_what_studies_share_is_counted_once(write, tmp_path, monkeypatch):
    """The same trials, and others that begin with the same trainings."""
    text = [study_text(name, seeds="0", priority=9 - number) for number, name in enumerate(("one", "same"))]
    path = write("spring", *text, study_text("larger", seeds="0", acquisition__budget=[60]))
    monkeypatch.setattr(Place, "cost", lambda place, work, later, *given: Cost((Part("all", 1, Timing(5.0, 1.0)),)))
    home, counted = Home(tmp_path / "home"), Counted()
    studies = prepare_sweep(Kept.of(path)[1], UNUSED)
    found = [forecast(one, one.place(home, UNUSED), Progress(quiet=True), counted) for one in studies]
    assert [(one.num_trainings, one.to_run, one.num_shared) for one in found] == [(3, 2, 0), (0, 0, 2), (0, 2, 0)]
    assert found[1].cost is None
    total = forecast_table(found).text(120).splitlines()[-1].split()
    assert total[:6] == ["all", "0", "4", "0", "0", "3"]
    told = forecast_sentences(Kept.of(path)[1], found, workers=1, price=None, now=NOW)
    assert "until 2026-12-01 00:00 UTC." in told[0]


def test_what_is_missing_is_counted_and_timed_on_real_trainings(write, tmp_path):
    path, home = write("spring", study_text("digits", seeds="0")), Home(tmp_path / "home")
    (study,) = prepare_sweep(Kept.of(path)[1], UNUSED)
    one = forecast(study, study.place(home, UNUSED), Progress(quiet=True))
    known = {
        spec.train_seed for trial, _ in study.trials.values() for specs in trial.specs().values() for spec in specs
    }
    assert one.num_trainings == len(known) == 3, "f(S_0) for the margin, and two final ones on S_0, for both cells"
    assert 0 < one.cost.seconds < 600
    assert home.folders("") == [], "nothing is kept"
