from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from cluster.collect import BATCH_SECONDS, Forecast, collect, cut
from cluster.work import Work, known_work, missing_work
from rambo.errors import InvalidInput
from rambo.home import Home
from rambo.preparation import planned_distances
from rambo.progress import Progress
from rambo.store import Store
from rambo.training.trainer import SetSpec


@pytest.fixture
def work(prepared):
    specs = tuple(SetSpec(prepared.split.seed_set[:20], seed) for seed in range(100))
    return Work((prepared.problem(prepared.pool),), (None,), (specs,), (np.ones((60, 60), dtype=bool),))


def test_batches_of_quick_sets_leave_each_worker_several(work):
    batches = cut(work, Forecast(1e-4, 100, 1e-5, 60), num_workers=5)
    sizes = [len(batch) for batch in batches]
    assert sizes[:21] == [3] * 20 + [5]
    assert sum(sizes[20:]) == 100


def test_batches_shrink_towards_the_end_so_that_workers_end_together(work):
    sizes = [len(batch) for batch in cut(work, Forecast(1e-4, 100, 1e-5, 60), num_workers=5)][20:]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-5:] == [1] * 5
    left = 100
    for size in sizes:
        assert size <= -(-left // 10), "at most half of a worker's share of what is left"
        left -= size


def test_a_batch_of_slow_sets_is_over_soon(work):
    batches = cut(work, Forecast(BATCH_SECONDS / 2, 100, 3 * BATCH_SECONDS, 60), num_workers=1)
    assert [len(batch) for batch in batches] == [1] * 60 + [2] * 49 + [1] * 2


def test_a_gpu_gets_batches_that_fill_it(work):
    batches = cut(work, Forecast(BATCH_SECONDS / 2, 100, 3 * BATCH_SECONDS, 60), num_workers=2, least=64)
    assert [len(batch) for batch in batches] == [1] * 60 + [64, 36]


def test_a_gpu_s_pilot_is_a_stack_of_the_problem_with_most_to_do(work):
    (pair,) = work.sample_stack(64)
    assert pair[0] is work.problems[0]
    assert len({spec.train_seed for spec in pair[1]}) == 64
    assert Work((), (), (), ()).sample_stack(64) == []


def test_an_estimate_counts_trainings_and_ot_distances():
    assert Forecast(2.0, 10, 0.5, 20).seconds(3) == 10.0


CPU = torch.device("cpu")


def test_distances_that_cannot_be_had_stop_no_collection(prepared, tmp_path, capsys):
    """Features that are no numbers have no optimum: who needs them fails alone, what others need is measured."""
    home = Home(tmp_path / "home")
    [(problem, members)] = planned_distances(prepared, tmp_path, CPU)
    hurt = replace(problem, fingerprint="hurt", seed_features=np.full_like(problem.seed_features, np.nan))
    trainings = [(prepared.problem(prepared.pool), [SetSpec(prepared.split.seed_set[:20], 0)])]
    work = missing_work(trainings, [(hurt, members[:3]), (problem, members[:2])], Store(home))
    assert work.num_ot == 5
    collect(work, home, num_workers=1, device="cpu", progress=Progress())
    assert "OT distances could not be worked out ahead" in capsys.readouterr().err
    left = missing_work(trainings, [(hurt, members[:3]), (problem, members[:2])], Store(home))
    assert (left.num_trainings, left.num_ot) == (0, 3)


def test_what_the_user_can_mend_stops_a_collection_before_it_begins(prepared, tmp_path, monkeypatch):
    def refused(*given):
        raise InvalidInput("data/ must be writable, got a full disk.")

    monkeypatch.setattr("cluster.work.planned_distances", refused)
    with pytest.raises(InvalidInput, match="full disk"):
        known_work([prepared], Path("unused"), CPU, Store(Home(tmp_path)))


def test_an_experiment_whose_distances_cannot_be_planned_leaves_the_others_planned(prepared, tmp_path, monkeypatch):
    def broken(*given):
        raise MemoryError

    whole = known_work([prepared], Path("unused"), CPU, Store(Home(tmp_path)))
    monkeypatch.setattr("cluster.work.planned_distances", broken)
    left = known_work([prepared], Path("unused"), CPU, Store(Home(tmp_path)))
    assert left.num_trainings == whole.num_trainings
    assert left.num_ot == 0 < whole.num_ot
