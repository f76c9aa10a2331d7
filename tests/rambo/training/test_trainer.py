import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from rambo import sections
from rambo.data.pool import reveal
from rambo.errors import InvalidInput
from rambo.randomness import torch_generator
from rambo.training.classifiers import build_classifier
from rambo.training.trainer import SetSpec, Trainer, weights_of

CPU = torch.device("cpu")


@pytest.fixture
def problem(prepared):
    return prepared.problem(prepared.pool)


@pytest.fixture
def spec(prepared):
    return SetSpec(prepared.split.seed_set[:40], train_seed=3)


def test_a_training_is_a_pure_function_of_its_spec(problem, spec):
    trainer = Trainer(problem, CPU)
    first = trainer.train(spec)
    torch.manual_seed(99)
    trainer.train(replace(spec, train_seed=4))
    again = trainer.train(spec)
    assert again.digest == first.digest
    assert trainer.train(replace(spec, train_seed=4)).digest != first.digest


def test_the_global_generator_is_neither_read_nor_moved(problem, spec):
    before = torch.get_rng_state()
    Trainer(problem, CPU).train(spec)
    assert torch.equal(before, torch.get_rng_state())


def test_a_process_that_measures_does_not_load_a_compiler():
    """It would take 2 s in each; both come in by `torch.optim`, or by weights made on the meta device."""
    program = """
import sys
from pathlib import Path
import torch
from rambo.preparation import prepare
from rambo.presets import preset
from rambo.training.trainer import Trainer
prepared = prepare(preset("quickstart"), Path("unused"))
Trainer(prepared.problem(prepared.pool), torch.device("cpu")).train(prepared.specs()["offline pairs"][0])
print([name for name in ("torch._dynamo", "sympy") if name in sys.modules])
"""
    assert subprocess.check_output([sys.executable, "-c", program], text=True).strip() == "[]"


def test_golden_metrics_guard_the_training_step(problem, spec):
    """Where this fails on purpose, raise TRAINING_VERSION: every key changes with it."""
    measured = Trainer(replace(problem, training=sections.Training(max_epochs=30)), CPU).train(spec)
    assert (measured.epochs, measured.val_accuracy, measured.test_accuracy) == (30, GOLDEN_VALIDATION, GOLDEN_TEST)


def test_the_step_is_adam_on_cross_entropy(problem, spec):
    """One epoch of one batch against torch's reference optimiser in float64."""
    one_batch = replace(problem, training=sections.Training(max_epochs=1, batch_size=64))
    fitted = Trainer(one_batch, CPU).fit(spec)
    model = build_classifier("smallnet", (1, 8, 8), 10, torch_generator(spec.train_seed, "weights")).double()
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3)
    images = problem.tensor(spec.indices, CPU).double()
    F.cross_entropy(model(images), torch.from_numpy(problem.labels[spec.indices])).backward()
    optimiser.step()
    for ours, reference in zip(fitted.model.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(ours.double(), reference, rtol=0, atol=2e-5)


def test_training_stops_after_the_first_epoch_that_reaches_the_target(problem, spec):
    easy = replace(problem, training=sections.Training(target_accuracy=0.3))
    hard = replace(problem, training=sections.Training(target_accuracy=0.9))
    first, second = Trainer(easy, CPU).train(spec), Trainer(hard, CPU).train(spec)
    assert 1 <= first.epochs < second.epochs < 100


def test_accuracy_and_bits_are_those_of_the_predictions(prepared, problem, spec):
    fitted = Trainer(problem, CPU).fit(spec)
    for name, indices in (("val_accuracy", problem.validation), ("test_accuracy", problem.test)):
        right = fitted.probabilities(indices).argmax(axis=1) == prepared.split.labels[indices]
        assert getattr(fitted.measurement, name) == right.mean()
        packed = getattr(fitted.measurement, name.replace("accuracy", "correct"))
        bits = np.unpackbits(np.frombuffer(packed, dtype=np.uint8))[: len(indices)]
        assert (bits.astype(bool) == right).all()


def test_weights_survive_a_file(problem, spec):
    trainer = Trainer(problem, CPU)
    fitted = trainer.fit(spec)
    restored = trainer.restore(fitted.measurement, weights_of(fitted.model))
    indices = problem.test
    assert restored is not None
    assert np.array_equal(fitted.margins(indices), restored.margins(indices))
    assert trainer.restore(fitted.measurement, weights_of(fitted.model)[:-20]) is None, "truncated"
    assert trainer.restore(fitted.measurement, b"") is None
    assert fitted.features(indices).shape == (len(indices), 64)


@pytest.mark.parametrize("classifier", ["mnistnet", "resnet18"])
def test_a_classifier_that_was_restored_predicts_as_the_one_that_was_trained(problem, spec, classifier):
    """To the bit, so that a trial that goes on picks what it would have picked: layouts have kernels of their own."""
    images = np.repeat(np.repeat(problem.images, 2, axis=2), 2, axis=3)
    large = replace(problem, classifier=classifier, images=images, training=sections.Training(max_epochs=1))
    trainer = Trainer(large, CPU)
    fitted = trainer.fit(replace(spec, indices=spec.indices[:20]))
    restored = trainer.restore(fitted.measurement, weights_of(fitted.model))
    assert restored is not None
    for ours, theirs in zip(fitted.model.parameters(), restored.model.parameters(), strict=True):
        assert ours.stride() == theirs.stride()
    assert np.array_equal(fitted.margins(problem.test), restored.margins(problem.test))


def test_margins_are_the_gap_between_the_two_likeliest_classes(problem, spec):
    fitted = Trainer(problem, CPU).fit(spec)
    ordered = np.sort(fitted.probabilities(problem.test), axis=1)
    np.testing.assert_allclose(fitted.margins(problem.test), ordered[:, -1] - ordered[:, -2])
    assert len(fitted.margins(np.zeros(0, dtype=np.int64))) == 0


class TestKey:
    def test_it_names_the_set_not_the_order(self, problem, spec):
        backwards = SetSpec(spec.indices[::-1], spec.train_seed)
        assert problem.key(spec) == problem.key(backwards)

    @pytest.mark.parametrize(
        "change",
        [
            {"classifier": "lenet5"},
            {"training": sections.Training(learning_rate=2e-3)},
            {"fingerprint": "other"},
        ],
    )
    def test_whatever_a_measurement_depends_on_is_in_it(self, problem, spec, change):
        assert replace(problem, **change).key(spec) != problem.key(spec)

    def test_splits_labels_and_seed_are_in_it(self, problem, spec):
        flipped = problem.labels.copy()
        flipped[spec.indices[0]] = (flipped[spec.indices[0]] + 1) % 10
        others = [
            replace(problem, validation=problem.validation[1:]),
            replace(problem, test=problem.test[1:]),
            replace(problem, labels=flipped),
        ]
        keys = {other.key(spec) for other in others} | {problem.key(replace(spec, train_seed=9)), problem.key(spec)}
        assert len(keys) == 5

    def test_labels_of_other_images_are_not(self, prepared, problem, spec):
        """A set measured before the acquisition is the same set after it."""
        after = reveal(prepared.pool, prepared.split, prepared.pool.unlabelled[:10])
        assert prepared.problem(after).key(spec) == problem.key(spec)

    def test_a_hidden_label_is_refused(self, prepared, problem):
        with pytest.raises(InvalidInput, match="label is hidden"):
            problem.key(SetSpec(prepared.pool.unlabelled[:5], 0))


GOLDEN_VALIDATION, GOLDEN_TEST = 0.39, 0.41
