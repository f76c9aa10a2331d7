"""What is told while Ray Train workers measure."""

from cluster.work_queue import QueueState
from cluster.workers import Pace


def test_pace_says_done_rate_time_left_and_workers():
    pace = Pace(100)
    assert pace.line(QueueState(0, 0, None), 0.0) == "measuring: 0/100 sets, workers at work: 0"
    assert pace.line(QueueState(0, 2, None), 10.0) == "measuring: 0/100 sets, workers at work: 2"
    assert (
        pace.line(QueueState(40, 2, None), 30.0) == "measuring: 40/100 sets, 2.0 sets/s, 30 s left, workers at work: 2"
    )


def test_pace_forgets_what_is_long_ago():
    pace = Pace(1000)
    for now in range(0, 200, 10):
        pace.line(QueueState(min(now, 100), 3, None), float(now))
    assert pace.line(QueueState(100, 1, None), 200.0) == "measuring: 100/1000 sets, workers at work: 1"
