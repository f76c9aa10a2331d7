"""What missing work costs: sums by hand, and a fit that is timed for real."""

from pathlib import Path

import pytest
import torch

from cluster.costs import Cost, Part, Timing, time_fit
from rambo.fields import override
from rambo.preparation import prepare

COST = Cost(
    (
        Part("trainings", 1800, Timing(2.0, 0.1)),
        Part("fits of û", 10, Timing(360.0, 24.0)),
        Part("OT distances", 0, None),
    )
)


def test_the_total_and_its_interval_by_hand():
    """1800 · 2 + 10 · 360 = 7200 s; errors 180 and 240 make 300."""
    assert COST.seconds == 7200
    assert COST.interval == (6600, 7800)
    table = COST.table()
    assert [row[0] for row in table.rows] == ["trainings", "fits of û", "total"], "what there is none of is no row"
    assert table.rows[0] == ("trainings", "1800", "2", "1.0", "0.900 to 1.1")
    assert table.rows[-1][3:] == ("2.0", "1.8 to 2.2")
    assert table.header[3] == "core-hours"
    assert Cost(COST.parts, on_gpu=True).table().header[3] == "GPU-hours"


def test_it_lasts_a_share_on_each_worker_and_says_what_is_not_in_it():
    assert COST.lasting(2, None).startswith("About 60 min on the 2 cores of this machine, 15 min on 8 such workers; ")
    assert COST.lasting(1, 4).startswith("About 2.0 h on the 1 core of this machine, 30 min on 4 such workers; ")
    assert COST.lasting(4, 4).startswith("About 30 min on the 4 cores of this machine; ")
    untimed = Cost((*COST.parts, Part("OT distances", 3, None)))
    assert "(without OT distances, which could not be timed)" in untimed.lasting(2, None)
    assert untimed.table().rows[2] == ("OT distances", "3", "not timed", "", "")


def test_one_timing_says_little_of_how_far_others_differ():
    assert Timing.of([]) is None
    assert Timing.of([8.0]) == Timing(8.0, 2.0)
    assert Timing.of([1.0, 3.0]) == Timing(2.0, 1.0)


def test_a_fit_is_timed_as_a_part_of_itself_and_what_would_take_longer_is_not(tiny):
    prepared = prepare(tiny, Path("unused"))
    found = time_fit(prepared, Path("unused"), torch.device("cpu"))
    assert 0 < found.error < found.mean < 60
    assert time_fit(prepare(override(tiny, {"strategy": "random"}), Path("unused")), Path("unused"), None) is None


@pytest.mark.parametrize("seconds", [0.0, 1e9])
def test_no_interval_goes_below_nothing(seconds):
    low, high = Cost((Part("fits", 1, Timing(seconds, seconds)),)).interval
    assert 0 == low <= high
