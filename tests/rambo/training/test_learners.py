"""Which learner runs, and that it does not matter which: both take the same steps."""

from copy import deepcopy

import pytest
import torch
from torch.nn import functional as F

from rambo.randomness import torch_generator
from rambo.training.classifiers import build_classifier, draw_masks
from rambo.training.learners import EagerLearner, Learners, LinearLearner, ReplayLearner

CPU, RATE = torch.device("cpu"), 1e-3
SHAPES = {"smallnet": (1, 8, 8), "lenet5": (1, 12, 12), "mnistnet": (1, 8, 8), "resnet18": (1, 16, 16)}
SHAPES |= {"mlp": (9,), "linear": (9,)}


def made(name, seed=0):
    return build_classifier(name, SHAPES[name], 4, torch_generator(seed, "weights"))


def images_of(name, number=30):
    generator = torch_generator(1)
    images = torch.randn(number, *SHAPES[name], generator=generator)
    return images, torch.randint(4, (number,), generator=generator), torch.randperm(number, generator=generator)


def weights_of(model):
    return [parameter.detach().clone() for parameter in model.parameters()]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("smallnet", ReplayLearner),
        ("lenet5", ReplayLearner),
        ("mnistnet", EagerLearner),
        ("resnet18", EagerLearner),
        ("mlp", ReplayLearner),
    ],
)
def test_plain_classifiers_are_replayed_on_a_cpu_and_all_others_are_not(name, kind):
    learners = Learners(RATE, CPU)
    assert type(learners.start(made(name), SHAPES[name], torch_generator(0))) is kind
    elsewhere = Learners(RATE, torch.device("meta"))
    assert type(elsewhere.start(made(name), SHAPES[name], torch_generator(0))) is EagerLearner


@pytest.mark.parametrize("name", ["smallnet", "lenet5", "mlp"])
def test_both_learners_take_the_same_steps(name):
    images, labels, order = images_of(name)
    ours, theirs = made(name), made(name)
    fast = Learners(RATE, CPU).start(ours, SHAPES[name], torch_generator(0))
    eager = EagerLearner(theirs, RATE, torch_generator(0))
    assert type(fast) is ReplayLearner
    for _ in range(2):
        assert fast.train_epoch(images, labels, order, 8) == eager.train_epoch(images, labels, order, 8)
    assert torch.equal(fast.predict(images), eager.predict(images))
    fast.finish()
    eager.finish()
    for mine, other in zip(weights_of(ours), weights_of(theirs), strict=True):
        torch.testing.assert_close(mine, other, atol=1e-5, rtol=1e-4)


def test_the_eager_steps_are_adam_s_under_the_masks_of_its_generator():
    """By hand: batches in the order given, the last one smaller, dropout from the generator that was passed in."""
    images, labels, order = images_of("mnistnet", 20)
    model, reference = made("mnistnet"), made("mnistnet")
    right = EagerLearner(model, RATE, torch_generator(5)).train_epoch(images, labels, order, 8)
    optimiser, masks, expected = torch.optim.Adam(reference.parameters(), lr=RATE), torch_generator(5), 0
    for start in (0, 8, 16):
        batch = order[start : start + 8]
        logits = reference(images[batch], draw_masks(reference, len(batch), masks))
        expected += int((logits.argmax(1) == labels[batch]).sum())
        optimiser.zero_grad()
        F.cross_entropy(logits, labels[batch]).backward()
        optimiser.step()
    assert right == expected
    for mine, other in zip(weights_of(model), weights_of(reference), strict=True):
        torch.testing.assert_close(mine, other, atol=1e-5, rtol=1e-4)


def test_what_was_trained_before_leaves_no_trace():
    """An engine is reused from one classifier to the next, its moments are not."""
    images, labels, order = images_of("smallnet")
    learners, trained = Learners(RATE, CPU), []
    for seed in (1, 2, 1):
        model = made("smallnet", seed)
        learner = learners.start(model, SHAPES["smallnet"], torch_generator(0))
        learner.train_epoch(images, labels, order, 8)
        learner.finish()
        trained.append(weights_of(model))
    assert all(torch.equal(mine, other) for mine, other in zip(trained[0], trained[2], strict=True))
    assert not torch.equal(trained[0][0], trained[1][0])


def test_the_classifier_has_what_was_learned_once_it_is_finished():
    for name in ("smallnet", "mnistnet", "mlp", "linear"):
        images, labels, order = images_of(name)
        model = made(name)
        before = deepcopy(model)
        learner = Learners(RATE, CPU).start(model, SHAPES[name], torch_generator(0))
        learner.train_epoch(images, labels, order, 8)
        predicted = learner.predict(images)
        learner.finish()
        assert not torch.equal(weights_of(model)[0], weights_of(before)[0])
        assert torch.equal(model.eval()(images).argmax(1), predicted)
        assert all(parameter.is_contiguous() for parameter in model.parameters())


def test_one_epoch_of_logistic_regression_is_all_there_is_to_learn():
    images, labels, order = images_of("linear")
    for device in (CPU, torch.device("meta")):
        assert type(Learners(RATE, device).start(made("linear"), SHAPES["linear"], torch_generator(0))) is LinearLearner
    learned = []
    for seed, row in ((0, order), (1, order.flip(0))):
        model = made("linear", seed)
        learner = Learners(RATE, CPU).start(model, SHAPES["linear"], torch_generator(0))
        for _ in range(1 + seed):
            assert learner.train_epoch(images, labels, row, 8) == len(labels)
        learner.finish()
        learned.append(weights_of(model))
    assert all(torch.equal(first, second) for first, second in zip(*learned, strict=True))
