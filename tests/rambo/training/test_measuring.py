import gc
import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from rambo.home import Home
from rambo.progress import Progress
from rambo.store import Store
from rambo.training import measuring
from rambo.training.measuring import Measurer, measure_into, missing_by_key, missing_specs, trained
from rambo.training.trainer import SetSpec, Trainer

CPU = torch.device("cpu")


@pytest.fixture
def problem(prepared):
    return prepared.problem(prepared.pool)


@pytest.fixture
def specs(prepared):
    """Four sets, the second of which stands there twice."""
    seed_set = prepared.split.seed_set
    sets = [SetSpec(seed_set[start : start + 20], 3) for start in (0, 5, 10)]
    return [sets[0], sets[1], SetSpec(sets[1].indices[::-1], 3), sets[2]]


@pytest.fixture
def home(tmp_path):
    return Home(tmp_path)


def measurer(home):
    return Measurer(Store(home), CPU, Progress(quiet=True))


def ledger(home):
    """The keys of the trainings that were begun, in order."""
    return [json.loads(line)["key"] for line in home.read_lines("store/ledger.jsonl")]


def test_each_set_is_measured_once_and_answered_in_order(problem, specs, home):
    first = measurer(home)
    found = first.measure(problem, specs, "sets")
    assert [one.digest for one in found] == [Trainer(problem, CPU).train(spec).digest for spec in specs]
    assert first.num_trainings == 3
    assert ledger(home) == [problem.key(specs[number]) for number in (0, 1, 3)]
    second = measurer(home)
    assert second.measure(problem, specs, "sets") == found
    assert (second.num_trainings, len(ledger(home))) == (0, 3)


def test_what_is_missing_is_named_once_by_its_key(problem, specs, home):
    store = Store(home)
    assert list(missing_by_key(problem, specs, store)) == [problem.key(specs[number]) for number in (0, 1, 3)]
    Measurer(store, CPU, Progress(quiet=True)).measure(problem, specs[:1], "sets")
    assert [problem.key(spec) for spec in missing_specs(problem, specs, store)] == [
        problem.key(specs[number]) for number in (1, 3)
    ]


def test_a_fit_keeps_its_weights_and_is_read_back_to_the_bit(problem, specs, home):
    first, second = measurer(home), measurer(home)
    fitted, again = first.fit(problem, specs[0]), second.fit(problem, specs[0])
    assert (first.num_trainings, second.num_trainings, len(ledger(home))) == (1, 0, 1)
    assert again.measurement == fitted.measurement
    assert np.array_equal(again.margins(problem.test), fitted.margins(problem.test))
    assert second.measure(problem, specs[:1], "sets") == [fitted.measurement]


def test_a_set_that_was_only_measured_is_trained_once_more_for_its_weights(problem, specs, home):
    """A training that the store had, so it does not count; but it is paid for, so the ledger has it."""
    [known] = measurer(home).measure(problem, specs[:1], "sets")
    second = measurer(home)
    assert second.fit(problem, specs[0]).measurement.digest == known.digest
    assert (second.num_trainings, len(ledger(home))) == (0, 2)
    assert Store(home).weights(problem.key(specs[0])) is not None


def test_spoilt_weights_are_trained_anew_and_replaced(problem, specs, home):
    fitted = measurer(home).fit(problem, specs[0])
    name = f"store/weights/{problem.key(specs[0])}.safetensors"
    whole = home.read(name)
    home.write(name, whole[:-20])
    again = measurer(home).fit(problem, specs[0])
    assert home.read(name) == whole
    assert np.array_equal(again.margins(problem.test), fitted.margins(problem.test))


def test_an_interrupt_loses_only_the_training_in_hand(problem, specs, home):
    store, done = Store(home), []

    def advance(number):
        done.append(number)
        if len(done) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure_into(store, problem, [specs[0], specs[1], specs[3]], CPU, advance)
    known = Store(home).known_measurements([problem.key(spec) for spec in specs])
    assert known == {problem.key(specs[0]), problem.key(specs[1])}
    assert done == [1, 1]


def test_finished_measurements_wait_no_longer_than_they_may(problem, specs, home, monkeypatch):
    monkeypatch.setattr(measuring, "FLUSH_SECONDS", -1.0)
    seen = []
    measure_into(Store(home), problem, [specs[0], specs[1]], CPU, lambda number: seen.append(len(stored(home))))
    assert (seen, len(stored(home))) == ([0, 1], 2)


def stored(home):
    return home.list("store/measurements")


def test_a_pilot_keeps_nothing(problem, specs, home):
    done = []
    measure_into(None, problem, specs[:1], CPU, done.append)
    assert (done, home.folders("store")) == ([1], [])


def test_a_training_is_entered_when_it_begins_and_not_before(problem, specs):
    begun = []
    running = trained(problem, iter(specs), CPU, begin=begun.extend)
    assert begun == []
    spec, measurement = next(running)
    assert (begun, spec) == ([problem.key(specs[0])], specs[0])
    assert measurement.digest == Trainer(problem, CPU).train(specs[0]).digest
    next(running)
    assert begun == [problem.key(specs[0]), problem.key(specs[1])]


@pytest.mark.parametrize("classifier", ["mlp", "lenet5", "linear"])
def test_nothing_of_a_training_waits_for_the_garbage_collector(prepared, classifier):
    """Workers train one batch of sets after another, and a cycle with tensors in it is collected hours later."""
    problem = prepared.problem(prepared.pool)
    larger = problem.images.repeat(2, axis=2).repeat(2, axis=3)  # 16 pixels a side, as convolutions need
    short = replace(problem.training, max_epochs=2)
    problem = replace(problem, images=larger, classifier=classifier, training=short)
    spec = SetSpec(prepared.split.seed_set[:20], 3)
    list(trained(problem, [spec], CPU))  # what is made once in a process
    gc.collect()
    gc.disable()
    try:
        before = tensors()
        list(trained(problem, [spec], CPU))
        assert tensors() - before == set()
    finally:
        gc.enable()


def tensors():
    return {id(found) for found in gc.get_objects() if issubclass(type(found), torch.Tensor)}
