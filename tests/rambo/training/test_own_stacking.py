"""Stacks of the user's own classifiers: each model steps as it would alone, or is not stacked and said so."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from rambo.data.dataset import Normalisation
from rambo.own import Own
from rambo.progress import Progress
from rambo.randomness import torch_generator
from rambo.sections import Training
from rambo.training import own_stacking
from rambo.training.learners import EagerLearner
from rambo.training.measuring import trained
from rambo.training.own_stacking import OwnArchitecture, say_how_trained, why_not_stacked
from rambo.training.stacking import StackedTrainer
from rambo.training.trainer import Problem, SetSpec, Trainer, single_thread

CPU = torch.device("cpu")
NETS = """
import torch
from torch import nn
from torch.nn import functional as F

class Net(nn.Module):
    norm = lambda self: nn.Identity()

    def __init__(self, shape, classes):
        super().__init__()
        self.conv, self.normed = nn.Conv2d(shape[0], 4, 3), self.norm()
        self.fc, self.out = nn.Linear(2 * 4 * 9, 8), nn.Linear(8, classes)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.normed(self.conv(x))), 2)
        return self.out(F.relu(self.fc(torch.cat([x, x * x], 1).view(x.shape[0], -1))))

class Batch(Net):
    norm = lambda self: nn.BatchNorm2d(4)

class Bare(Net):
    norm = lambda self: nn.BatchNorm2d(4, affine=False, track_running_stats=False)

class Group(Net):
    norm = lambda self: nn.GroupNorm(2, 4)

class Cumulative(Net):
    norm = lambda self: nn.BatchNorm2d(4, momentum=None)

class Noisy(Net):
    norm = lambda self: nn.Dropout(0.3)

class Frozen(Batch):
    def __init__(self, shape, classes):
        super().__init__(shape, classes)
        self.conv.requires_grad_(False)
        self.register_buffer("order", torch.arange(72).flip(0))

    def forward(self, x):
        x = F.max_pool2d(self.normed(self.conv(x)), 2)
        return self.out(F.relu(self.fc(torch.cat([x, x * x], 1).flatten(1)[:, self.order])))

class Drawn(Net):
    def __init__(self, shape, classes):
        super().__init__(shape, classes)
        self.offset = torch.randn(1)

    def forward(self, x):
        return super().forward(x + self.offset)

class Choosing(Net):
    def forward(self, x):
        return super().forward(x if x.sum() > 0 else -x)

class Together(Net):
    def forward(self, x):
        return super().forward(x - x.mean(0))
"""


@pytest.fixture
def problem_of(modules):
    """Sixty random images for the class of that name, in batches of 4."""
    modules.write(NETS)
    generator = np.random.default_rng(1)
    plain = Problem(
        images=generator.integers(0, 256, (60, 1, 8, 8), dtype=np.uint8),
        labels=generator.integers(0, 3, 60),
        fingerprint="random",
        normalisation=Normalisation(mean=(0.5,), std=(0.25,)),
        validation=np.arange(40, 50),
        test=np.arange(50, 60),
        num_classes=3,
        classifier="mine:Net",
        training=Training(batch_size=4, max_epochs=6),
    )

    def make(name):
        own = Own("classifier.name", f"mine:{name}").pinned()
        return replace(plain, classifier=own.own.name, own=own)

    return make


def alone(problem, spec, num_epochs):
    """The model after so many epochs of the eager learner, in float64."""
    model = problem.initial(spec.train_seed).double()
    learner = EagerLearner(model, problem.training.learning_rate, torch_generator(spec.train_seed, "dropout"))
    images, labels = problem.tensor(spec.indices, CPU).double(), torch.from_numpy(problem.labels[spec.indices])
    shuffle = torch_generator(spec.train_seed, "shuffle")
    for _ in range(num_epochs):
        learner.train_epoch(images, labels, torch.randperm(len(labels), generator=shuffle), 4)
    return model.state_dict()


@pytest.mark.parametrize("name", ["Net", "Batch", "Bare", "Group", "Frozen"])
def test_steps_are_those_of_each_model_alone(problem_of, name):
    problem = problem_of(name)
    assert why_not_stacked(problem) is None
    sizes, generator = (2, 5, 9, 12), np.random.default_rng(2)
    specs = [SetSpec(generator.choice(40, size, replace=False), 10 + size) for size in sizes]
    trainer = StackedTrainer(problem, CPU, dtype=torch.float64, models=OwnArchitecture(problem, CPU))
    with single_thread():
        models = {k: trainer._model(spec) for k, spec in enumerate(specs)}
        slots, num_steps = trainer._occupied(models), 6
        for _ in range(num_steps):
            trainer._step(slots, models)
            trainer._finished(slots, models)
        least = trainer._models.template.least_batch
        for k, spec in enumerate(specs):
            steps = len(range(0, len(spec.indices), 4)) - (least == 2 and len(spec.indices) % 4 == 1)
            expected = alone(problem, spec, num_steps // steps)
            for path, value in trainer._models.values(slots.numbers[:, 0], slots.statistics).items():
                torch.testing.assert_close(value[k], expected[path].double(), rtol=1e-8, atol=1e-8)
    if name == "Frozen":
        torch.testing.assert_close(expected["body.conv.weight"], problem.initial(22).double().body.conv.weight.detach())


def test_utilities_are_those_of_the_trainer(problem_of):
    problem, generator = problem_of("Batch"), np.random.default_rng(3)
    specs = [SetSpec(generator.choice(40, size, replace=False), size) for size in (3, 9, 9, 14, 30)]
    models = OwnArchitecture(problem, CPU)
    measured = dict(StackedTrainer(problem, CPU, capacity=3, models=models).train(specs))
    trainer = Trainer(problem, CPU)
    for spec in specs:
        reference = trainer.train(spec)
        assert measured[spec].epochs == reference.epochs
        assert abs(measured[spec].val_accuracy - reference.val_accuracy) <= 0.11, "rounding may turn one image of ten"


REASONS = {
    "Noisy": "RuntimeError: vmap: called random operation while in randomness error mode",
    "Choosing": "RuntimeError: vmap: It looks like you're attempting to use a Tensor in some data-dependent",
    "Drawn": "its logits are others in a stack",
    "Together": "its logits are others in a stack",
    "Cumulative": "",
}


@pytest.mark.parametrize("name", REASONS)
def test_what_cannot_be_stacked_is_trained_one_by_one_and_said_so_once(problem_of, name, capsys, monkeypatch):
    monkeypatch.setattr(own_stacking, "_said", set())
    problem = problem_of(name)
    assert (why_not_stacked(problem) or "none").startswith(REASONS[name])
    for _ in range(2):
        say_how_trained([problem, problem_of("Net")], Progress())
    told = [line for line in capsys.readouterr().err.splitlines() if "mine:" in line]
    assert len(told) == 2
    assert f"classifier mine:{name} is trained one by one, since it cannot be stacked (" in told[0]
    assert "classifier mine:Net is trained in stacks" in told[1]


def test_ours_are_stacked_as_before(prepared):
    problem = prepared.problem(prepared.pool)
    assert why_not_stacked(problem) is None
    spec = SetSpec(prepared.split.seed_set[:20], 1)
    assert [found for found, _ in trained(problem, [spec], CPU)] == [spec]
