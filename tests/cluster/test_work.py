from dataclasses import replace

import numpy as np
import pytest
import torch

from cluster.work import Work, missing_work
from rambo.home import Home
from rambo.store import Store
from rambo.training.measuring import measure_into
from rambo.training.trainer import SetSpec


def test_missing_work_is_what_the_store_lacks_each_set_once(prepared, tmp_path):
    store, problem = Store(Home(tmp_path)), prepared.problem(prepared.pool)
    specs = [SetSpec(prepared.split.seed_set[:size], 0) for size in (20, 30, 40)]
    measure_into(store, problem, specs[:1], device=torch.device("cpu"), advance=lambda done: None)
    twin = replace(problem)
    work = missing_work([(problem, specs), (twin, specs), (problem, specs[1:])], [], store)
    assert work.num_trainings == 2
    assert [len(spec.indices) for spec in work.specs[0]] == [40, 30]


def test_what_is_measured_when_somebody_interrupts_is_kept(prepared, tmp_path):
    store, problem = Store(Home(tmp_path)), prepared.problem(prepared.pool)
    specs = [SetSpec(prepared.split.seed_set[:size], 0) for size in (20, 30, 40)]

    def interrupted():
        yield from specs[:2]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure_into(store, problem, interrupted(), device=torch.device("cpu"), advance=lambda done: None)
    found = Store(Home(tmp_path)).measurements([problem.key(spec) for spec in specs])
    assert list(found) == [problem.key(spec) for spec in specs[:2]]


def test_batches_cover_everything_and_ot_comes_first(prepared):
    specs = tuple(SetSpec(prepared.split.seed_set[: 20 + i], 0) for i in range(10))
    members = np.ones((51, 60), dtype=bool)
    work = Work((prepared.problem(prepared.pool),), (None,), (specs,), (members,))  # type: ignore[arg-type]
    batches = work.batches(4, 50, 2)
    assert [len(batch) for batch in batches] == [50, 1, 3, 2, 2, 1, 1, 1]
    assert [spec for batch in batches for spec in batch.specs] == list(specs)


def test_collections_that_run_at_once_take_the_same_sets_in_orders_of_their_own(prepared):
    specs = tuple(SetSpec(prepared.split.seed_set[: 20 + i], i) for i in range(30))
    members = np.arange(40 * 60).reshape(40, 60) % 7 < np.arange(40)[:, None] % 5 + 1
    work = Work((prepared.problem(prepared.pool),), (None,), (specs,), (members,))  # type: ignore[arg-type]
    first, second = work.shuffled(), work.shuffled()
    assert set(first.specs[0]) == set(second.specs[0]) == set(specs)
    assert sorted(first.members[0].tolist()) == sorted(members.tolist())
    assert first.specs[0] != second.specs[0]
    assert not np.array_equal(first.members[0], second.members[0])
    assert work.specs[0] == specs


def test_images_are_taken_out_and_put_back(prepared):
    problem = prepared.problem(prepared.pool)
    spec = SetSpec(prepared.split.seed_set, 0)
    work = Work((problem,), (), ((spec,),), ())
    bare = work.without_images()
    assert bare.problems[0].images.size == 0
    restored = bare.with_images([problem.images]).problems[0]
    assert restored.images is problem.images
    assert restored.key(spec) == problem.key(spec)
