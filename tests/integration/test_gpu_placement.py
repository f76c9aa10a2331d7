"""Where workers go in a cluster that says it has GPUs; those of this one are invented, so the device is the CPU."""

import os
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest
import torch

from cluster.attempt import run_one
from cluster.collect import collect_with_workers
from cluster.failures import Failure, read_failure
from cluster.place import Place, Share
from cluster.runtime import ENVIRONMENT, connected
from cluster.trials import run_trials
from cluster.work import missing_work
from cluster.workers import measure_batches, trainer_of
from rambo.config import Config
from rambo.errors import InvalidInput
from rambo.fields import override
from rambo.home import Home
from rambo.preparation import prepare
from rambo.progress import Progress
from rambo.result import read_result
from rambo.store import Store

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="invented GPUs would be taken for real ones")


@pytest.fixture(scope="module")
def two_gpus():
    import ray

    with pytest.MonkeyPatch.context() as patch:
        for name, value in ENVIRONMENT.items():
            patch.setenv(name, value)
        ray.init(num_cpus=4, num_gpus=2, address="local", include_dashboard=False, log_to_driver=False)
        with connected() as resources:
            yield resources
        assert ray.is_initialized(), "a Ray that was there before stays"
        ray.shutdown()


def test_more_workers_than_gpus_are_refused_before_anything_is_started(prepared, two_gpus, tmp_path):
    home, problem = Home(tmp_path), prepared.problem(prepared.pool)
    work = missing_work([(problem, specs) for specs in prepared.specs().values()], [], Store(home))
    with pytest.raises(InvalidInput, match="1 to 2 workers, as many as the cluster has GPUs free, got 3"):
        collect_with_workers(work, home, num_workers=3, device="auto", progress=Progress(quiet=True))


@pytest.mark.long
def test_each_worker_has_a_gpu_of_its_own_and_an_elastic_group_takes_all(prepared, two_gpus, tmp_path, monkeypatch):
    home, problem = Home(tmp_path / "home"), prepared.problem(prepared.pool)
    notes, actors = tmp_path / "notes", tmp_path / "actors"
    notes.mkdir()
    actors.mkdir()

    def noting(loop_config):
        import ray
        import ray.train

        size = ray.train.get_context().get_world_size()
        (gpu,) = ray.get_gpu_ids()
        Path(notes, str(os.getpid())).write_text(f"{size} {gpu} {torch.distributed.get_backend()}")
        there = [one.info for one in psutil.process_iter(["ppid", "cmdline"])]  # one that ends meanwhile is left out
        titles = [" ".join(info["cmdline"] or []) for info in there if info["ppid"] == os.getppid()]
        Path(actors, str(os.getpid())).write_text("\n".join(titles))
        measure_batches(loop_config)

    def noting_trainer(loop, *arguments):
        assert loop is measure_batches
        return trainer_of(noting, *arguments)

    monkeypatch.setattr("cluster.workers.trainer_of", noting_trainer)
    trainings = [(problem, specs) for specs in prepared.specs().values()]
    work = missing_work(trainings, [], Store(home))
    collect_with_workers(work, home, num_workers=(1, 4), device="auto", progress=Progress(quiet=True))
    assert sorted(path.read_text() for path in notes.iterdir()) == ["2 0 gloo", "2 1 gloo"]
    assert missing_work(trainings, [], Store(home)).num_trainings == 0
    keys = [problem.key(spec) for _, specs in trainings for spec in specs]
    assert {one.device for one in Store(home).measurements(keys).values()} == {"cpu"}
    for seen in (path.read_text() for path in actors.iterdir()):
        assert "ray::TrainController" in seen, "titles are read"
        assert not [name for name in ("DatasetManager", "PlacementGroupCleaner") if name in seen], "each costs a start"


@pytest.mark.long
def test_trials_share_gpus_and_one_without_enough_memory_gets_more(tiny, two_gpus, tmp_path, monkeypatch):
    """Trials with less than half a GPU say here that their memory was too small; of the others, three meet."""
    notes = tmp_path / "notes"
    notes.mkdir()

    class Noting:
        def is_ready(self):
            return True

        def run(self, folder, values, place):
            import ray

            (gpu,) = ray.get_gpu_ids()
            share = ray.get_runtime_context().get_assigned_resources()["GPU"]
            Path(notes, f"{share} {gpu} {place['device']} {time.time_ns()}").touch()
            if share < 0.5:
                return Failure("memory", "it ran out of memory")
            until = time.monotonic() + 120  # a worker may take its time to start, and one at a time needs one GPU only
            while len(list(notes.glob("0.5 *"))) < 3 and time.monotonic() < until:
                time.sleep(0.1)
            return run_one(folder, override(Config(), values), place)

    monkeypatch.setattr("cluster.pool._Worker", Noting)
    experiments = [prepare(override(tiny, {"strategy": "random", "seed": n}), Path("unused")) for n in range(4)]
    home, told = Home(tmp_path / "home"), []
    place = Place(home, Path("unused"), "auto", "ledger.jsonl", share=Share(1))
    run_trials(experiments, place, progress=Progress(quiet=True), on_end=told.append)
    noted = Counter(tuple(path.name.split()[:3]) for path in notes.iterdir())
    assert sum(noted[key] for key in noted if key[0] == "0.25") == 4
    assert sum(noted[key] for key in noted if key[0] == "0.5") == 4
    assert {gpu for _, gpu, _ in noted} == {"0", "1"}, "of both"
    assert {device for _, _, device in noted} == {"auto"}
    assert sorted(one.config.seed for one in told) == [0, 1, 2, 3], "each is told once"
    assert all(read_result(home, one.folder) is not None for one in experiments)
    assert all(read_failure(home, one.folder) is None for one in experiments)
