"""What work may spend, what it has spent, and when no further trial is begun."""

import json

import pytest

from cluster import limits
from cluster.limits import SPENT, Meter, Spending, Spent
from cluster.named import Kind, Named
from rambo.errors import InvalidInput
from rambo.home import Home

KIND = Kind("study", "studies", "ablations")


@pytest.fixture
def named(tmp_path):
    return Named(KIND, "test", Home(tmp_path))


@pytest.fixture
def clock(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(limits.time, "monotonic", lambda: now[0])

    def wait(seconds):
        now[0] += seconds

    return wait


def test_no_trial_begins_that_could_go_beyond_the_trainings_and_one_that_took_fewer_leaves_room(named):
    meter = Meter(Spent(named), Spending(max_trainings=20))
    meter.collect(8)
    assert meter.begin("a", 6)
    assert meter.begin("b", 6)
    assert not meter.begin("c", 6)
    assert meter.over == "Another trial could go beyond 20 trainings; 8 are spent."
    meter.end("a", 2)
    assert not meter.begin("c", 6)
    meter.end("b", 4)
    assert meter.begin("c", 6)
    assert meter.over is None
    assert meter.trainings == 14


def test_what_is_spent_counts_for_all_commands(named, clock):
    first = Meter(Spent(named), Spending(time_budget=100))
    clock(60)
    first.end("a", 5)
    first.spent.tick()
    second = Meter(Spent(named), Spending(time_budget=100))
    assert (second.trainings, second.begin("b", 1)) == (5, True)
    clock(40)
    assert not second.begin("c", 1)
    assert second.over == "The time budget of 100 s is spent."


def test_a_killed_collection_is_not_counted_again_and_one_too_large_is_refused(named):
    meter = Meter(Spent(named), Spending(max_trainings=30))
    meter.collect(25)
    meter.collect(20)
    assert meter.trainings == 25
    with pytest.raises(InvalidInput, match=r"leave room for the 40 trainings that are known .* got 30; give more, or"):
        meter.collect(40)
    assert json.loads(named.read(SPENT))["collected"] == 25


@pytest.mark.parametrize("spending", [Spending(0.0), Spending(float("nan")), Spending(max_trainings=-1)])
def test_what_is_no_limit_is_one_sentence(spending):
    with pytest.raises(InvalidInput, match=r"--(time-budget|max-trainings) must be positive, got"):
        spending.check()
