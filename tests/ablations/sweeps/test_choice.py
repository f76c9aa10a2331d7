"""What is started next, and what a limit keeps from being started."""

from datetime import UTC, datetime, timedelta

import pytest

from ablations.sweeps.choice import Candidate, Cost, Spent, Standing, in_order, obstacle
from ablations.sweeps.declaration import Limits

NOW = datetime(2026, 12, 1, tzinfo=UTC)
MINUTE = Cost(60, 1)


def why(limits=None, *, spent=None, running=(), cost=MINUTE, on_failure="continue", cpus=8):
    standing = Standing(limits or Limits(), on_failure, spent or Spent(), running)
    return obstacle(standing, cost, now=NOW, cluster_cpus=cpus)


def candidate(study, seed, priority):
    return Candidate("s", study, f"{study}/{seed}", priority, seed)


def test_priorities_come_first_then_whole_seeds():
    given = [candidate(study, seed, p) for study, p in (("a", 0), ("b", 5), ("c", 5)) for seed in range(2)]
    assert [one.folder for one in in_order(given)] == ["b/0", "c/0", "b/1", "c/1", "a/0", "a/1"]


def test_without_limits_nothing_is_in_the_way():
    assert why() is None
    assert why(spent=Spent(1e9, 1e9, 50)) is None


@pytest.mark.parametrize(
    ("spent", "running", "starts"),
    [
        (3600 * 0.02 - 61, (), True),  # a trial of a minute still fits
        (3600 * 0.02 - 59, (), False),
        (0, (Cost(30, 1),), False),  # beside what runs it does not, and it does once that has taken less
        (3600 * 0.02, (), False),
    ],
)
def test_what_does_not_fit_into_the_hours_that_are_left_is_not_started(spent, running, starts):
    found = why(Limits(core_hours=0.02), spent=Spent(spent), running=running)
    assert (found is None) == starts
    assert starts or "limits.core_hours of 0.02 leaves" in found


def test_hours_that_are_spent_stop_trials_of_which_nothing_is_known():
    assert why(Limits(core_hours=1), spent=Spent(3600), cost=Cost(0, 1)) is not None
    assert why(Limits(gpu_hours=1), spent=Spent(0, 3500), cost=Cost(60, 1, 2)).startswith("limits.gpu_hours of 1")
    assert why(Limits(gpu_hours=1), spent=Spent(1e9, 3500), cost=Cost(60, 1, 1)) is None


def test_a_trial_that_would_end_after_the_deadline_is_not_started():
    assert why(Limits(deadline=NOW + timedelta(seconds=60))) is None
    found = why(Limits(deadline=NOW + timedelta(seconds=59)))
    assert found == "limits.deadline is 2026-12-01 00:00 UTC, and a trial takes 1 min"


def test_what_runs_keeps_others_waiting():
    assert why(Limits(running=2), running=[MINUTE]) is None
    assert why(Limits(running=2), running=[MINUTE] * 2) == "limits.running of 2 is reached"
    assert why(Limits(cluster_share=0.5), running=[MINUTE] * 3) is None
    assert why(Limits(cluster_share=0.5), running=[MINUTE] * 4) == "limits.cluster_share of 0.5 is 4 CPUs"
    assert why(Limits(cluster_share=0.01), cpus=2) is None, "one at a time, or nothing would ever run"


def test_failures_stop_a_sweep_where_they_shall():
    assert why(spent=Spent(failures=3)) is None
    assert why(spent=Spent(failures=1), on_failure="stop") == "policy.on_failure is stop, and 1 trial failed"
    assert why(Limits(failures=2), spent=Spent(failures=1)) is None
    reached = "limits.failures of 2 is reached: 2 trials failed"
    assert why(Limits(failures=2), spent=Spent(failures=2)) == reached
