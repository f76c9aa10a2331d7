from cluster.work_queue import QueueState, WorkQueue


def drain(queue, group, worker=0):
    taken = []
    while (batch := queue.take(group, worker)) is not None:
        taken.append(batch)
        queue.finish(group, worker, batch)
    return taken


def test_every_batch_is_handed_out_once_in_order():
    queue = WorkQueue([2, 3, 4])
    assert drain(queue, "first") == [0, 1, 2]
    assert queue.state() == QueueState(num_done=9, num_at_work=0, failure=None)
    assert queue.take("first", 0) is None


def test_what_a_dead_group_had_in_hand_is_handed_out_again():
    queue = WorkQueue([1] * 5)
    assert [queue.take("first", worker) for worker in (0, 1, 2)] == [0, 1, 2]
    queue.finish("first", 1, 1)
    assert queue.state().num_at_work == 2
    assert sorted(drain(queue, "second")) == [0, 2, 3, 4]
    assert queue.state().num_done == 5


def test_a_batch_is_handed_out_again_though_its_fellows_were_told_that_nothing_is_left():
    queue = WorkQueue([1, 1])
    assert [queue.take("first", worker) for worker in (0, 1)] == [0, 1]
    queue.finish("first", 0, 0)
    assert queue.take("first", 0) is None
    assert drain(queue, "second") == [1]


def test_why_sets_could_not_be_had_is_kept_once():
    queue = WorkQueue([1, 1])
    for batch in (0, 1):
        queue.finish("first", 0, queue.take("first", 0), ["it raised"] if batch else ["it raised", "so did this"])
    assert queue.state() == QueueState(2, 0, None, ("it raised", "so did this"))


def test_a_call_that_is_repeated_takes_no_second_batch():
    queue = WorkQueue([1, 1])
    assert queue.take("first", 0) == queue.take("first", 0) == 0
    assert queue.take("first", 1) == 1


def test_a_worker_of_a_group_that_has_ended_gets_nothing_and_disturbs_nothing():
    queue = WorkQueue([1, 1, 1])
    assert queue.take("first", 0) == 0
    assert queue.take("second", 0) == 0
    assert queue.take("first", 0) is None
    queue.finish("first", 0, 0)
    assert queue.take("second", 0) == 0, "the second group's worker still has it in hand"
    queue.finish("second", 0, 0)
    assert drain(queue, "second") == [1, 2]


def test_a_queue_that_was_started_again_takes_what_was_in_hand_as_done():
    queue = WorkQueue([1, 1])
    queue.finish("first", 0, 1)
    assert drain(queue, "first") == [0]
    assert queue.state().num_done == 2


def test_after_a_failure_nothing_more_is_handed_out():
    queue = WorkQueue([1, 1])
    assert queue.take("first", 0) == 0
    queue.fail("the disk is full")
    queue.fail("the disk is still full")
    assert queue.take("first", 1) is None
    assert queue.state().failure == "the disk is full"
