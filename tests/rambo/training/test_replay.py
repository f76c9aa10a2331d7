"""Eager autograd with torch.optim.Adam is the oracle, in float64 so that only the order of sums may differ."""

from copy import deepcopy
from itertools import pairwise

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from rambo.randomness import torch_generator
from rambo.training import replay
from rambo.training.replay import Replay, supports

RATE = 1e-3


def lenet(channels=1, padding=2):
    return [
        *(nn.Conv2d(channels, 6, 5, padding=padding), nn.MaxPool2d(2), nn.ReLU()),
        *(nn.Conv2d(6, 16, 5), nn.MaxPool2d(2), nn.ReLU(), nn.Flatten()),
        *(nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10)),
    ]


def small():
    return [
        *(nn.Conv2d(1, 16, 3, padding=1), nn.MaxPool2d(2), nn.ReLU()),
        *(nn.Conv2d(16, 32, 3, padding=1), nn.MaxPool2d(2), nn.ReLU(), nn.Flatten()),
        *(nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 10)),
    ]


NETS = {
    "lenet": (lenet(), (1, 28, 28)),
    "lenet, 3 channels": (lenet(3, 0), (3, 32, 32)),
    "small": (small(), (1, 8, 8)),
    "relu before pool": (
        [
            *(nn.Conv2d(2, 3, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(16, 5)),
        ],
        (2, 12, 12),
    ),
    "odd sides, fused": (
        [
            *(nn.Conv2d(1, 3, 5), nn.MaxPool2d(2), nn.Conv2d(3, 4, 5, padding=3), nn.MaxPool2d(2), nn.ReLU()),
            *(nn.Flatten(), nn.Linear(24, 3)),
        ],
        (1, 15, 11),
    ),
    "odd sides, not fused": (
        [
            *(nn.Conv2d(1, 3, 2), nn.MaxPool2d(2), nn.Conv2d(3, 4, 3, padding=2), nn.MaxPool2d(2), nn.ReLU()),
            *(nn.Flatten(), nn.Linear(36, 3)),
        ],
        (1, 12, 10),
    ),
    "no pool": (
        [nn.Conv2d(1, 4, 5), nn.Conv2d(4, 3, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(48, 4)],
        (1, 8, 8),
    ),
    "linears": ([nn.Flatten(), nn.Linear(18, 9), nn.Linear(9, 7), nn.ReLU(), nn.Linear(7, 4)], (2, 3, 3)),
    "rows": ([nn.Flatten(), nn.Linear(7, 5), nn.ReLU(), nn.Linear(5, 3)], (7,)),
}


@pytest.fixture(params=NETS)
def net(request):
    layers, shape = NETS[request.param]
    return fresh(layers), shape


def fresh(layers, seed=0):
    """A float64 model with weights drawn from `seed`."""
    model = nn.Sequential(*deepcopy(layers)).double()
    generator = torch_generator(seed, "weights")
    with torch.no_grad():
        for parameter in model.parameters():
            bound = parameter[0].numel() ** -0.5 if parameter.dim() > 1 else 0.1
            parameter.uniform_(-bound, bound, generator=generator)
    return model


def draw(model, shape, num, seed=0):
    """Images, labels and an order."""
    generator = torch_generator(seed, "images")
    images = torch.randn(num, *shape, dtype=torch.float64, generator=generator)
    labels = torch.randint(model[-1].out_features, (num,), generator=generator)
    return images, labels, torch.randperm(num, generator=generator)


class Eager:
    """What `Replay` must equal."""

    def __init__(self, model):
        self.model = deepcopy(model)
        self.optimiser = torch.optim.Adam(self.model.parameters(), lr=RATE)

    def train_epoch(self, images, labels, order, batch_size):
        right = 0
        for batch in order.split(batch_size):
            logits = self.model(images[batch])
            self.optimiser.zero_grad()
            F.cross_entropy(logits, labels[batch]).backward()
            self.optimiser.step()
            right += int((logits.argmax(1) == labels[batch]).sum())
        return right


def engine(model, shape):
    trained = Replay(list(model), shape, dtype=torch.float64, learning_rate=RATE)
    trained.load(model.parameters())
    return trained


def saved(trained, model):
    """A copy of `model` with the weights of `trained`."""
    copy = deepcopy(model)
    trained.save(copy.parameters())
    return copy


def assert_equal_weights(trained, eager, rtol=1e-9):
    for ours, reference in zip(saved(trained, eager.model).parameters(), eager.model.parameters(), strict=True):
        assert torch.linalg.vector_norm(ours - reference) <= rtol * torch.linalg.vector_norm(reference)


def assert_equal_gradients(trained, model, images, labels):
    """Those of one batch, from a step that starts at the weights of `model`."""
    model.zero_grad()
    F.cross_entropy(model(images), labels).backward()
    trained.load(model.parameters())
    trained.train_epoch(images, labels, torch.arange(len(labels)), len(labels))
    for ours, parameter in zip(trained.gradients, model.parameters(), strict=True):
        torch.testing.assert_close(ours.clone(), parameter.grad, rtol=1e-9, atol=1e-13)


class TestTraining:
    def test_twenty_steps_are_those_of_adam_on_autograd(self, net):
        """Four epochs of batches of 8, 8, 8, 8 and 1."""
        model, shape = net
        trained, eager = engine(model, shape), Eager(model)
        images, labels, _ = draw(model, shape, 33)
        for epoch in range(4):
            order = torch.randperm(33, generator=torch_generator(epoch))
            assert trained.train_epoch(images, labels, order, 8) == eager.train_epoch(images, labels, order, 8)
        assert_equal_weights(trained, eager)

    @pytest.mark.parametrize("num", [1, 7])
    def test_the_gradient_of_a_step_is_autograd_s(self, net, num):
        model, shape = net
        images, labels, _ = draw(model, shape, num)
        assert_equal_gradients(engine(model, shape), model, images, labels)

    def test_batch_sizes_may_alternate(self, net):
        """They share memory, and the larger one makes it grow."""
        model, shape = net
        trained, eager = engine(model, shape), Eager(model)
        images, labels, order = draw(model, shape, 20)
        for batch_size in (3, 8, 1, 20, 8, 6):
            right = trained.train_epoch(images, labels, order, batch_size)
            assert right == eager.train_epoch(images, labels, order, batch_size)
        assert_equal_weights(trained, eager)

    def test_the_running_accuracy_judges_each_batch_before_its_step(self):
        """Blank images and one class: only the first batch can be wrong."""
        model = fresh([nn.Flatten(), nn.Linear(4, 2)])
        nn.init.zeros_(model[1].weight)
        with torch.no_grad():
            model[1].bias.copy_(torch.tensor([1e-4, 0.0]))
        images, labels = torch.zeros(10, 1, 2, 2, dtype=torch.float64), torch.ones(10, dtype=torch.int64)
        assert engine(model, (1, 2, 2)).train_epoch(images, labels, torch.arange(10), 4) == 6

    def test_a_training_learns(self):
        model = fresh(small())
        images, labels, order = draw(model, (1, 8, 8), 40)
        trained = engine(model, (1, 8, 8))
        counts = [trained.train_epoch(images, labels, order, 16) for _ in range(60)]
        assert counts[-1] == 40 > counts[0]


class TestPrediction:
    def test_it_is_eager_s_likeliest_class(self, net):
        model, shape = net
        images, _, _ = draw(model, shape, 23)
        trained = engine(model, shape)
        for batch_size in (5, 64):
            assert torch.equal(trained.predict(images, batch_size), model(images).argmax(1))

    def test_it_leaves_no_trace(self, net):
        model, shape = net
        images, labels, order = draw(model, shape, 20)
        trained, undisturbed = engine(model, shape), engine(model, shape)
        for _ in range(2):
            trained.train_epoch(images, labels, order, 8)
            undisturbed.train_epoch(images, labels, order, 8)
            trained.predict(images, 7)
        assert_same_bits(saved(trained, model), saved(undisturbed, model))

    def test_its_result_is_an_ordinary_tensor(self):
        model = fresh(small())
        assert not engine(model, (1, 8, 8)).predict(draw(model, (1, 8, 8), 3)[0]).is_inference()


def assert_same_bits(first, second):
    for a, b in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", ["small", "lenet", "odd sides, not fused"])
def test_models_trained_before_change_no_bit(name, dtype):
    layers, shape = NETS[name]
    model, other = fresh(layers).to(dtype), fresh(layers, seed=1).to(dtype)
    images, labels, order = draw(model, shape, 45)
    images = images.to(dtype)

    def train(trained, start, batch_size):
        trained.load(start.parameters())
        for _ in range(2):
            trained.train_epoch(images, labels, order, batch_size)
        return saved(trained, start)

    new = lambda: Replay(layers, shape, dtype=dtype, learning_rate=RATE)  # noqa: E731
    used = new()
    train(used, other, 11)
    first = train(used, model, 16)
    train(used, other, 40)
    assert_same_bits(train(used, model, 16), first)
    assert_same_bits(train(new(), model, 16), first)


def test_float32_stays_near_float64():
    model = fresh(lenet())
    images, labels, order = draw(model, (1, 28, 28), 64)
    single = Replay(lenet(), (1, 28, 28), learning_rate=RATE)
    single.load(model.parameters())
    eager = Eager(model)
    single.train_epoch(images.float(), labels, order, 16)
    eager.train_epoch(images, labels, order, 16)
    assert_equal_weights(single, eager, rtol=1e-4)


def test_the_global_generator_is_neither_read_nor_moved():
    model = fresh(small())
    before = torch.get_rng_state()
    engine(model, (1, 8, 8)).train_epoch(*draw(model, (1, 8, 8), 9), 4)
    assert torch.equal(before, torch.get_rng_state())


class TestTies:
    """Blank background ties whole pooling windows: the weights' gradient must not depend on who wins."""

    @pytest.mark.parametrize("name", ["lenet", "lenet, 3 channels", "small", "relu before pool"])
    def test_between_equal_patches_they_do_not_change_the_gradient(self, name):
        layers, shape = NETS[name]
        model = fresh(layers)
        images, labels, _ = draw(model, shape, 9)
        images = (images > 1.2).double() * 1.4 - 0.4  # as a normalised drawing: few strokes on a flat ground
        images[:3] = -0.4
        assert_equal_gradients(engine(model, shape), model, images, labels)

    def test_of_equals_the_first_wins(self):
        """Kernels that only copy: values that are equal stay equal to the bit, in patches that differ."""
        for size in (3, 5):
            layers = [nn.Conv2d(1, 1, size, padding=size // 2), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(9, 3)]
            model = fresh(layers)
            with torch.no_grad():
                model[0].weight.zero_()[..., size // 2, size // 2] = 1
            images, labels, _ = draw(model, (1, 6, 6), 11)
            assert_equal_gradients(engine(model, (1, 6, 6)), model, images.sign(), labels)


@st.composite
def architectures(draw_one):
    """Layers that fit, and the shape of their images."""
    integers = lambda low, high: draw_one(st.integers(low, high))  # noqa: E731
    channels, height, width = shape = integers(1, 3), integers(1, 13), integers(1, 13)
    layers = []
    for _ in range(integers(0, 3)):
        outputs, size, padding = integers(1, 4), integers(1, 6), integers(0, 3)
        behind = draw_one(st.sampled_from(["", "R", "P", "RP", "PR"]))
        height, width = ((side + 2 * padding - size + 1) // (1 + ("P" in behind)) for side in (height, width))
        assume(min(height, width) >= 1)
        layers.append(nn.Conv2d(channels, outputs, size, padding=padding))
        layers += [nn.ReLU() if letter == "R" else nn.MaxPool2d(2) for letter in behind]
        channels = outputs
    layers.append(nn.Flatten())
    sizes = [channels * height * width, *(integers(1, 6) for _ in range(integers(0, 2))), 3]
    for inputs, outputs in pairwise(sizes):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()][: 1 + draw_one(st.booleans())]
    return layers[: len(layers) - isinstance(layers[-1], nn.ReLU)], shape


@settings(max_examples=60, deadline=None)
@given(architectures(), st.integers(1, 6), st.integers(0, 99))
def test_whatever_is_supported_is_trained_as_by_eager(architecture, num, seed):
    layers, shape = architecture
    assert supports(layers)
    model = fresh(layers, seed)
    images, labels, order = draw(model, shape, num, seed)
    trained = engine(model, shape)
    assert_equal_gradients(trained, model, images, labels)
    trained.load(model.parameters())
    eager = Eager(model)
    for _ in range(2):
        assert trained.train_epoch(images, labels, order, 4) == eager.train_epoch(images, labels, order, 4)
    for ours, reference in zip(saved(trained, model).parameters(), eager.model.parameters(), strict=True):
        torch.testing.assert_close(ours, reference, rtol=1e-8, atol=1e-8)
    assert torch.equal(trained.predict(images), eager.model(images).argmax(1))


class TestAdam:
    @pytest.mark.parametrize("fused", [True, False])
    def test_both_ways_of_stepping_are_torch_s_adam(self, monkeypatch, net, fused):
        assert replay.fused_adam_agrees(torch.float64), "this PyTorch has the kernel: the fast way is to be tested"
        monkeypatch.setattr(replay, "fused_adam_agrees", lambda dtype: fused)
        model, shape = net
        trained, eager = engine(model, shape), Eager(model)
        data = draw(model, shape, 30)
        for _ in range(2):
            trained.load(model.parameters())  # the second model starts without the first one's moments
            eager = Eager(model)
            for _ in range(5):
                trained.train_epoch(*data, 8)
                eager.train_epoch(*data, 8)
        assert_equal_weights(trained, eager, rtol=1e-12 if fused else 1e-9)

    @pytest.mark.parametrize("kernel", [None, lambda *tensors, **options: None])
    def test_a_kernel_that_is_gone_or_does_something_else_is_not_used(self, monkeypatch, kernel):
        monkeypatch.setattr(replay, "_fused_adam", kernel)
        assert not replay.fused_adam_agrees.__wrapped__(torch.float64)

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_the_kernel_of_this_pytorch_is_used(self, dtype):
        assert replay.fused_adam_agrees(dtype)


HEAD = [nn.Flatten(), nn.Linear(16, 3)]


class SpecialReLU(nn.ReLU):
    """May compute anything."""


class TestSupports:
    @pytest.mark.parametrize("name", NETS)
    def test_yes(self, name):
        assert supports(NETS[name][0])

    @pytest.mark.parametrize(
        "pool", [nn.MaxPool2d((2, 2)), nn.MaxPool2d(2, (2, 2), (0, 0), (1, 1)), nn.MaxPool2d(2, stride=2)]
    )
    def test_spellings_of_the_same_pool(self, pool):
        assert supports([nn.Conv2d(1, 2, 3), pool, *HEAD])

    @pytest.mark.parametrize(
        "layers",
        [
            [],
            [nn.Conv2d(1, 2, 3)],
            [nn.Conv2d(1, 2, 3, stride=2), *HEAD],
            [nn.Conv2d(1, 2, 3, dilation=2), *HEAD],
            [nn.Conv2d(2, 2, 3, groups=2), *HEAD],
            [nn.Conv2d(1, 2, 3, bias=False), *HEAD],
            [nn.Conv2d(1, 2, (3, 5)), *HEAD],
            [nn.Conv2d(1, 2, 3, padding=(0, 1)), *HEAD],
            [nn.Conv2d(1, 2, 3, padding="same"), *HEAD],
            [nn.Conv2d(1, 2, 3, padding=1, padding_mode="reflect"), *HEAD],
            [nn.Conv1d(1, 2, 3), *HEAD],
            [nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), *HEAD],
            [nn.Conv2d(1, 2, 3), nn.Dropout(), *HEAD],
            [nn.Conv2d(1, 2, 3), nn.AvgPool2d(2), *HEAD],
            [nn.Conv2d(1, 2, 3), nn.MaxPool2d(2, ceil_mode=True), *HEAD],
            [nn.Conv2d(1, 2, 3), nn.MaxPool2d(2, return_indices=True), *HEAD],
            [nn.Conv2d(1, 2, 3), nn.MaxPool2d(2, stride=1), *HEAD],
            [nn.Conv2d(1, 2, 3), nn.MaxPool2d(2, padding=1), *HEAD],
            [nn.Conv2d(1, 2, 3), nn.MaxPool2d(2, dilation=2), *HEAD],
            [nn.Conv2d(1, 2, 3), nn.MaxPool2d(3), *HEAD],
            [nn.Conv2d(1, 2, 3), nn.MaxPool2d((2, 1), 2), *HEAD],
            [nn.Conv2d(1, 2, 3), nn.MaxPool2d(2), nn.MaxPool2d(2), *HEAD],
            [nn.Conv2d(1, 2, 3), nn.ReLU(), nn.MaxPool2d(2), nn.ReLU(), *HEAD],
            [nn.Conv2d(1, 2, 3), SpecialReLU(), *HEAD],
            [nn.MaxPool2d(2), *HEAD],
            [nn.ReLU(), *HEAD],
            [nn.Linear(4, 3)],
            [nn.Flatten(), nn.ReLU(), nn.Linear(16, 3)],
            [nn.Flatten(0), nn.Linear(16, 3)],
            [nn.Flatten(), nn.Linear(16, 3, bias=False)],
            [*HEAD, nn.ReLU()],
            [*HEAD, nn.Flatten(), nn.Linear(3, 3)],
            [nn.Flatten(), *[nn.Linear(16, 16)] * 2],
        ],
        ids=str,
    )
    def test_no(self, layers):
        assert not supports(layers)
        with pytest.raises(ValueError, match="layers must be such as `supports` takes"):
            Replay(layers, (1, 4, 4), learning_rate=RATE)


class TestRefusals:
    @pytest.mark.parametrize("shape", [(2, 8, 8), (1, 12, 10), (1, 2, 2)])
    def test_images_that_do_not_suit_the_layers(self, shape):
        with pytest.raises(ValueError, match="image_shape must suit the layers"):
            Replay(small(), shape, learning_rate=RATE)

    def test_images_of_another_shape(self):
        model = fresh(NETS["linears"][0])
        with pytest.raises(ValueError, match=r"images must be of shape \(2, 3, 3\), got \(1, 3, 3\)"):
            engine(model, (2, 3, 3)).predict(torch.zeros(5, 1, 3, 3, dtype=torch.float64))

    @pytest.mark.parametrize("label", [-1, 10])
    def test_labels_without_a_logit(self, label):
        model = fresh(small())
        images, labels, order = draw(model, (1, 8, 8), 3)
        labels[1] = label
        with pytest.raises(RuntimeError, match="Class values must be"):
            engine(model, (1, 8, 8)).train_epoch(images, labels, order, 2)

    def test_weights_of_another_number_or_shape(self):
        model = fresh(small())
        trained = engine(model, (1, 8, 8))
        with pytest.raises(ValueError, match="shorter"):
            trained.load(list(model.parameters())[:-1])
        with pytest.raises(RuntimeError, match="shape"):
            trained.load(fresh(lenet()).parameters())
