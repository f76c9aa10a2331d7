from dataclasses import replace

import numpy as np
import pytest
import torch

from rambo import sections
from rambo.data.dataset import Normalisation
from rambo.data.pool import HIDDEN
from rambo.errors import InvalidInput
from rambo.randomness import torch_generator
from rambo.training.classifiers import build_classifier
from rambo.training.learners import EagerLearner
from rambo.training.stacking import StackedTrainer
from rambo.training.trainer import Problem, SetSpec, Trainer, single_thread

CPU = torch.device("cpu")
NUM_CLASSES = 3


@pytest.fixture
def problem(prepared):
    settings = sections.Training(max_epochs=15, target_accuracy=0.6, batch_size=16)
    return replace(prepared.problem(prepared.pool), training=settings)


def some_specs(prepared, num_specs, largest=60):
    generator = np.random.default_rng(0)
    sizes = generator.integers(1, largest, num_specs)
    return [SetSpec(generator.choice(prepared.split.seed_set, size, replace=False), k) for k, size in enumerate(sizes)]


def random_problem(classifier, shape, batch_size):
    generator = np.random.default_rng(1)
    images = generator.integers(0, 256, (60, *shape), dtype=np.uint8)
    return Problem(
        images=images if len(shape) == 3 else images.astype(np.float32) / 255,
        labels=generator.integers(0, NUM_CLASSES, 60),
        fingerprint="random",
        normalisation=Normalisation(mean=(0.5,) * shape[0], std=(0.25,) * shape[0]),
        validation=np.arange(40, 50),
        test=np.arange(50, 60),
        num_classes=NUM_CLASSES,
        classifier=classifier,
        training=sections.Training(batch_size=batch_size),
    )


def alone(problem, spec, num_steps):
    """The classifier after `num_steps` steps of the eager learner in float64."""
    generators = [torch_generator(spec.train_seed, name) for name in ("weights", "shuffle", "dropout")]
    model = build_classifier(problem.classifier, problem.images.shape[1:], NUM_CLASSES, generators[0]).double()
    learner = EagerLearner(model, problem.training.learning_rate, generators[2])
    images, labels = problem.tensor(spec.indices, CPU).double(), torch.from_numpy(problem.labels[spec.indices])
    batch_size, left = problem.training.batch_size, num_steps
    while left > 0:
        order = torch.randperm(len(labels), generator=generators[1])[: left * batch_size]
        learner.train_epoch(images, labels, order, batch_size)
        left -= -(-len(order) // batch_size)
    return model


def in_stack(problem, specs, num_steps, idle=()):
    """Named values (K, ...) after `num_steps` steps in one stack; the slots `idle` are left before the first."""
    trainer = StackedTrainer(problem, CPU, dtype=torch.float64)
    models = {k: trainer._model(spec) for k, spec in enumerate(specs)}
    slots = trainer._occupied(models)
    for k in idle:
        del models[k]
    for _ in range(num_steps):
        trainer._step(slots, models)
        trainer._finished(slots, models)
    return trainer._models.values(slots.numbers[:, 0], slots.statistics)


RESNET18 = ("resnet18", (1, 16, 16), (15, 10, 5), 10)


@pytest.mark.parametrize(
    ("classifier", "shape", "sizes", "batch_size", "num_steps", "tolerance"),
    [
        ("smallnet", (1, 8, 8), (1, 5, 8, 11, 30), 4, 20, 1e-9),
        ("lenet5", (1, 28, 28), (1, 5, 8, 30), 4, 20, 1e-9),
        ("lenet5", (3, 32, 32), (6, 9), 4, 6, 1e-9),
        ("mnistnet", (1, 12, 12), (1, 5, 8, 30), 4, 20, 1e-9),
        ("mlp", (1, 3, 4), (1, 5, 8, 30), 4, 20, 1e-9),
        ("mlp", (12,), (1, 5, 8, 30), 4, 20, 1e-9),
        *(pytest.param(*RESNET18, steps, 1e-9, marks=pytest.mark.long) for steps in (4, 20)),
        # a thousandth of a step: where BatchNorm sees three images, both ways part by 6e-8 in 20 steps
        ("resnet18", (1, 16, 16), (8, 4, 7), 4, 4, 1e-6),
    ],
)
def test_steps_are_those_of_each_model_alone(classifier, shape, sizes, batch_size, num_steps, tolerance):
    problem = random_problem(classifier, shape, batch_size)
    generator = np.random.default_rng(2)
    specs = [SetSpec(generator.choice(40, size, replace=False), 10 + size) for size in sizes]
    idle = 1
    with single_thread():
        stacked = in_stack(problem, specs, num_steps, idle={idle})
        for k in set(range(len(specs))) - {idle}:
            expected = alone(problem, specs[k], num_steps).state_dict()
            for name, values in stacked.items():
                torch.testing.assert_close(values[k], expected[name], rtol=tolerance, atol=tolerance)


def test_a_full_batch_of_images_needs_no_mask():
    """BatchNorm's short way and its masked way are the same function."""
    problem = random_problem("resnet18", (1, 16, 16), batch_size=3)
    full, ragged = SetSpec(np.arange(3), 1), SetSpec(np.arange(2), 2)
    with single_thread():
        short, masked = in_stack(problem, [full], 1), in_stack(problem, [full, ragged], 1)
    for name, values in short.items():
        torch.testing.assert_close(values[0], masked[name][0], rtol=1e-8, atol=1e-9)


def test_utilities_are_those_of_the_trainer(prepared, problem):
    specs = some_specs(prepared, 12)
    trainer = Trainer(problem, CPU)
    measured = dict(StackedTrainer(problem, CPU, capacity=5).train(specs))
    assert set(measured) == set(specs)
    for spec, stacked in measured.items():
        reference = trainer.train(spec)
        assert stacked.epochs == reference.epochs
        assert stacked.val_accuracy == pytest.approx(reference.val_accuracy, abs=0.03)
        assert stacked.test_accuracy == pytest.approx(reference.test_accuracy, abs=0.03)
        bits = np.unpackbits(np.frombuffer(stacked.val_correct, dtype=np.uint8))[: len(problem.validation)]
        assert bits.mean() == stacked.val_accuracy
        bits = np.unpackbits(np.frombuffer(stacked.test_correct, dtype=np.uint8))[: len(problem.test)]
        assert bits.mean() == stacked.test_accuracy
        assert stacked.seconds > 0
        assert stacked.device == "cpu"
    assert len({measurement.epochs for measurement in measured.values()}) > 2  # each by its own stopping rule


def result(measurement):
    return measurement.epochs, measurement.val_correct, measurement.test_accuracy


def test_results_do_not_depend_on_who_else_is_in_the_stack(prepared, problem):
    specs = some_specs(prepared, 20)
    by_four, by_one = (
        list(StackedTrainer(problem, CPU, capacity=capacity, dtype=torch.float64).train(specs)) for capacity in (4, 1)
    )
    assert len(by_four) == len(by_one) == len(specs)
    expected = {spec: result(measurement) for spec, measurement in by_one}
    assert {spec: result(measurement) for spec, measurement in by_four} == expected


class Recording(StackedTrainer):
    """Notes the size of the stack and the models in it at every step; may run out of memory."""

    limit = 99
    error = torch.OutOfMemoryError("CUDA out of memory.")

    def _step(self, slots, models):
        self.sizes = [*getattr(self, "sizes", []), (len(slots.steps), len(models))]
        if len(models) > self.limit and len(self.sizes) > 5:
            raise self.error
        super()._step(slots, models)


def test_a_freed_slot_is_refilled_and_the_tail_runs_in_a_small_stack(prepared, problem):
    specs, taken = some_specs(prepared, 20), []
    trainer = Recording(problem, CPU, capacity=4)
    for num_yielded, _ in enumerate(trainer.train(taken.append(spec) or spec for spec in specs)):
        assert len(taken) <= num_yielded + 4  # none is taken before there is a slot for it
    num_models = [models for _, models in trainer.sizes]
    assert num_models == sorted(num_models, reverse=True)
    assert trainer.sizes[-1][0] == 1
    assert all(models <= size < 2 * models or size == models for size, models in trainer.sizes)


@pytest.mark.parametrize(
    "error",
    [torch.OutOfMemoryError("CUDA out of memory."), RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED")],
    ids=["torch", "cuDNN"],
)
def test_out_of_memory_halves_the_stack_and_loses_no_spec(prepared, problem, error):
    specs = some_specs(prepared, 14)
    trainer = Recording(problem, CPU, capacity=8, dtype=torch.float64)
    trainer.limit, trainer.error = 2, error
    yielded = list(trainer.train(specs))
    assert trainer.capacity == 2
    assert len(yielded) == len(specs)
    expected = dict(StackedTrainer(problem, CPU, capacity=1, dtype=torch.float64).train(specs))
    assert {spec: result(m) for spec, m in yielded} == {spec: result(m) for spec, m in expected.items()}


def test_out_of_memory_while_measuring_trains_again(prepared, problem, monkeypatch):
    measure, calls = StackedTrainer._measure, []

    def fail_once(self, *arguments, **keywords):
        calls.append(1)
        if len(calls) == 3:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return measure(self, *arguments, **keywords)

    monkeypatch.setattr(StackedTrainer, "_measure", fail_once)
    specs = some_specs(prepared, 6)
    yielded = [spec for spec, _ in StackedTrainer(problem, CPU, capacity=3).train(specs)]
    assert sorted(spec.train_seed for spec in yielded) == list(range(6))


def test_no_room_for_a_single_model_is_an_error_in_words(prepared, problem):
    trainer = Recording(problem, CPU, capacity=4)
    trainer.limit = 0
    with pytest.raises(torch.OutOfMemoryError, match="cpu must have room to train one smallnet"):
        list(trainer.train(some_specs(prepared, 8)))


def test_other_errors_are_not_taken_for_a_full_gpu(prepared, problem):
    trainer = Recording(problem, CPU, capacity=8)
    trainer.limit, trainer.error = 2, RuntimeError("CUDA error: an illegal memory access was encountered")
    with pytest.raises(RuntimeError, match="illegal memory access"):
        list(trainer.train(some_specs(prepared, 14)))
    assert trainer.capacity == 8


def test_no_spec_gives_no_measurement(problem):
    assert list(StackedTrainer(problem, CPU).train([])) == []


def test_nonsense_is_refused(prepared, problem):
    with pytest.raises(InvalidInput, match="at least 1, got 0"):
        StackedTrainer(problem, CPU, capacity=0)
    hidden = SetSpec(np.flatnonzero(problem.labels == HIDDEN)[:3], 1)
    with pytest.raises(InvalidInput, match="labelled"):
        list(StackedTrainer(problem, CPU).train([*some_specs(prepared, 2), hidden]))


def test_global_settings_are_left_as_they_were(prepared, problem):
    torch.set_float32_matmul_precision("highest")
    before, threads = torch.get_rng_state(), torch.get_num_threads()
    for _ in StackedTrainer(problem, CPU, capacity=2).train(some_specs(prepared, 3)):
        assert torch.get_num_threads() == threads
        assert torch.get_float32_matmul_precision() == "highest"
    assert torch.equal(before, torch.get_rng_state())


def test_bfloat16_learns_as_well(prepared, problem):
    spec = SetSpec(prepared.split.seed_set, 1)
    ((_, half),) = StackedTrainer(problem, CPU, autocast=True).train([spec])
    assert half.test_accuracy == pytest.approx(Trainer(problem, CPU).train(spec).test_accuracy, abs=0.15)
