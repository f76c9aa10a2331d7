from dataclasses import replace

import numpy as np
import torch

from cluster.work import OT_BATCH, Work, WorkQueue, missing_work
from rambo.home import Home
from rambo.measuring import measure_into
from rambo.store import Store
from rambo.training import SetSpec


def drain(queue, group, worker=0):
    taken = []
    while (batch := queue.take(group, worker)) is not None:
        taken.append(batch)
        queue.finish(batch)
    return taken


def test_every_batch_is_handed_out_once_in_order():
    queue = WorkQueue([2, 3, 4])
    assert drain(queue, "first") == [0, 1, 2]
    assert queue.state()[0] == 9
    assert queue.take("first", 0) is None


def test_what_a_dead_group_had_in_hand_is_handed_out_again():
    queue = WorkQueue([1] * 5)
    assert [queue.take("first", worker) for worker in (0, 1, 2)] == [0, 1, 2]
    queue.finish(1)
    assert sorted(drain(queue, "second")) == [0, 2, 3, 4]
    assert queue.state()[0] == 5


def test_after_a_failure_nothing_more_is_handed_out():
    queue = WorkQueue([1, 1])
    assert queue.take("first", 0) == 0
    queue.fail("the disk is full")
    assert queue.take("first", 1) is None
    assert queue.state()[2] == "the disk is full"


def test_missing_work_is_what_the_store_lacks_each_set_once(prepared, tmp_path):
    store, problem = Store(Home(tmp_path)), prepared.problem(prepared.pool)
    specs = [SetSpec(prepared.split.seed_set[:size], 0) for size in (20, 30, 40)]
    measure_into(store, problem, specs[:1], device=torch.device("cpu"), advance=lambda done: None)
    twin = replace(problem)
    work = missing_work([(problem, specs), (twin, specs), (problem, specs[1:])], [], store)
    assert work.num_trainings == 2
    assert [len(spec.indices) for spec in work.specs[0]] == [40, 30]


def test_batches_cover_everything_and_ot_comes_first(prepared):
    specs = tuple(SetSpec(prepared.split.seed_set[: 20 + i], 0) for i in range(10))
    members = np.ones((OT_BATCH + 1, 60), dtype=bool)
    work = Work((prepared.problem(prepared.pool),), (None,), (specs,), (members,))  # type: ignore[arg-type]
    batches = work.batches(4)
    assert [len(batch) for batch in batches] == [OT_BATCH, 1, 4, 4, 2]
    assert [spec for batch in batches for spec in batch.specs] == list(specs)


def test_images_are_taken_out_and_put_back(prepared):
    problem = prepared.problem(prepared.pool)
    spec = SetSpec(prepared.split.seed_set, 0)
    work = Work((problem,), (), ((spec,),), ())
    bare = work.without_images()
    assert bare.problems[0].images.size == 0
    restored = bare.with_images([problem.images]).problems[0]
    assert restored.images is problem.images
    assert restored.key(spec) == problem.key(spec)
