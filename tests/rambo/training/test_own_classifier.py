"""Classifiers of the user's own: what is refused, what they draw from, and what stands for their features."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from rambo.errors import ClassifierFailed, InvalidInput
from rambo.fields import override
from rambo.own import Own
from rambo.preparation import prepare
from rambo.randomness import derive, torch_generator
from rambo.sections import Training
from rambo.training.classifiers import build_classifier
from rambo.training.own_classifier import OwnNetwork, check_own, drawing_from
from rambo.training.trainer import SetSpec, Trainer, take_weights, weights_of

CPU, SHAPE = torch.device("cpu"), (1, 8, 8)
BODY = """
import torch
from torch import nn
from torch.nn import functional as F

class Net(nn.Module):
    def __init__(self, shape, classes):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(shape[0], 4, 3), nn.BatchNorm2d(4)
        self.fc, self.drop, self.out = nn.Linear(4 * 36, 16), nn.Dropout(0.5), nn.Linear(16, classes)

    def hidden(self, x):
        x = F.relu(self.norm(self.conv(x)))
        return F.relu(self.fc(x.view(len(x), -1)))

    def forward(self, x):
        return self.out(self.drop(self.hidden(x)))

class Told(Net):
    def features(self, x):
        return self.hidden(x)

class Maps(Net):
    def __init__(self, shape, classes):
        super().__init__(shape, classes)
        self.features = nn.Sequential(self.conv, self.norm)

class LogProbabilities(Net):
    def forward(self, x):
        return super().forward(x).log_softmax(1)

class Tempered(Net):
    def forward(self, x):
        return 2 * super().forward(x)

class Lazy(nn.Module):
    def __init__(self, shape, classes):
        super().__init__()
        self.fc, self.out = nn.LazyLinear(7), nn.Linear(7, classes)

    def forward(self, x):
        return self.out(F.relu(self.fc(x.flatten(1))))

class Tied(nn.Module):
    def __init__(self, shape, classes):
        super().__init__()
        self.first, self.out = nn.Linear(64, 64), nn.Linear(64, classes)
        self.second = nn.Linear(64, 64)
        self.second.weight = self.first.weight

    def forward(self, x):
        return self.out(F.relu(self.second(F.relu(self.first(x.flatten(1))))))
"""


@pytest.fixture
def made(modules):
    """A network of the module that holds `BODY` and `more`, by the name of its function or class."""

    def make(name, seed=0, more=""):
        modules.write(BODY + more)
        generator = torch.Generator().manual_seed(seed)
        return build_classifier(f"mine:{name}", SHAPE, 10, generator)

    return make


def problem_of(prepared, name):
    """Digits, to be learned by the user's own."""
    own = Own("classifier.name", f"mine:{name}").pinned()
    settings = Training(max_epochs=3, batch_size=16)
    return replace(prepared.problem(prepared.pool), classifier=own.own.name, own=own, training=settings)


def images(number=5):
    return torch.randn(number, *SHAPE, generator=torch.Generator().manual_seed(1))


def test_features_are_what_enters_the_last_linear_layer_unless_it_says_otherwise(made):
    plain, told, maps = (made(name).eval() for name in ("Net", "Told", "Maps"))
    x = images()
    for network in (plain, told):
        torch.testing.assert_close(network.features(x), network.body.hidden(x))
        torch.testing.assert_close(
            F.linear(network.features(x), network.body.out.weight, network.body.out.bias), network(x)
        )
    torch.testing.assert_close(maps.features(x), maps.body.norm(maps.body.conv(x)).flatten(1))
    assert not plain.body.out._forward_hooks


@pytest.mark.parametrize(
    ("name", "linear"),
    [("Net", True), ("Told", True), ("LogProbabilities", True), ("Maps", False), ("Tempered", False)],
)
def test_whether_logits_are_linear_in_the_features(made, name, linear):
    made(name)
    assert check_own(Own("classifier.name", f"mine:{name}"), SHAPE, 10).has_linear_head is linear


def test_weights_follow_from_the_seed_and_the_global_generator_is_put_back(made):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first, other = made("Lazy", seed=3), made("Lazy", seed=4)
    torch.rand(3)
    again = made("Lazy", seed=3)
    torch.set_rng_state(before)
    assert all(map(torch.equal, first.parameters(), again.parameters()))
    assert not torch.equal(first.body.out.weight, other.body.out.weight)
    assert sum(one.numel() for one in first.parameters()) == 64 * 7 + 7 + 70 + 10, "lazy layers have their shape"
    with drawing_from(3):
        torch.rand(2)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_training_with_dropout_and_batch_norm_is_a_pure_function_of_its_spec(made, prepared):
    made("Net")
    trainer = Trainer(problem_of(prepared, "Net"), CPU)
    spec = SetSpec(prepared.split.seed_set[:33], 3)  # 16, then 17: one image alone would have no variance
    first = trainer.fit(spec)
    torch.manual_seed(99)
    trainer.train(SetSpec(spec.indices, 4))
    again = Trainer(trainer._problem, CPU).fit(spec)
    assert again.measurement.digest == first.measurement.digest
    assert weights_of(again.model) == weights_of(first.model)
    assert first.model.body.norm.num_batches_tracked == 3 * 2


def test_the_steps_are_adam_s_on_batches_of_its_order(made, prepared):
    """By hand in torch alone: one epoch of two batches, the global generator seeded for dropout."""
    made("Net")
    problem = replace(problem_of(prepared, "Net"), training=Training(max_epochs=1, batch_size=16))
    spec = SetSpec(prepared.split.seed_set[:33], 3)
    fitted = Trainer(problem, CPU).fit(spec)
    model = build_classifier("mine:Net", SHAPE, 10, torch_generator(3, "weights"))
    order = torch.randperm(33, generator=torch_generator(3, "shuffle"))
    x, y = problem.tensor(spec.indices, CPU), torch.from_numpy(problem.labels[spec.indices])
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3)
    torch.manual_seed(derive(3, "dropout"))
    for batch in (order[:16], order[16:]):
        optimiser.zero_grad()
        F.cross_entropy(model(x[batch]), y[batch]).backward()
        optimiser.step()
    for ours, reference in zip(fitted.model.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(ours, reference, rtol=0, atol=1e-6)


def test_weights_are_kept_and_restored_tied_ones_too(made):
    for name in ("Net", "Tied"):
        first, other = made(name, seed=1), made(name, seed=2)
        assert take_weights(other, weights_of(first))
        torch.testing.assert_close(other.eval()(images()), first.eval()(images()))


REFUSED = """
raises: return 1 / 0 | return an nn.Module, got ZeroDivisionError: division by zero (mine.py:
ends: raise SystemExit(3) | return an nn.Module, got SystemExit: 3 (mine.py:
number: return classes | return an nn.Module, got one of type int.
other images: return Net((3, 8, 8), classes) | take inputs of shape (2, 1, 8, 8), got RuntimeError: Given groups=1,
other classes: return Net(shape, 7) | map 2 inputs of shape (1, 8, 8) to logits (2, 10), got (2, 7).
tuple: return Changed(lambda net, x: (x, net(x))) | to logits (2, 10), got one of type tuple.
classes: return Changed(lambda net, x: net(x).argmax(1)) | to logits (2, 10), got (2,).
integers: return Changed(lambda net, x: net(x).long()) | to logits (2, 10) of floats, got torch.int64.
no gradient: return Changed(lambda net, x: net(x).detach()) | return logits with a gradient by its parameters,
no weights: return nn.Flatten() | have parameters to train, got none.
frozen: return Net(shape, classes).requires_grad_(False) | have parameters to train, got none.
drawn elsewhere: return Changed(None, random.random()) | draw its first weights from torch's generator, got others
noise from elsewhere: return Changed(lambda net, x: net(x) * random.random()) | draw from torch's generator alone,
no features: return nn.Sequential(nn.Conv2d(1, classes, 8), nn.Flatten()) | have a method features, from (n, …) to (n,
list: return Changed(features=lambda x: [x]) | have features of images, got AttributeError: 'list' object has no
later: c = [1, 2, 3]; return Changed(lambda net, x: net(x) + 0 * c.pop()) | bear being tried on two images, got Index
one image: return Changed(features=lambda x: x[:1]) | have features (2, d) of 2 images, got (1, 64).
"""
CHANGED = """
import random

class Changed(Net):
    def __init__(self, forward=None, bias=0.0, **attributes):
        super().__init__((1, 8, 8), 10)
        self.changed = forward or (lambda net, x: net(x))
        self.out.bias.data += bias
        vars(self).update(attributes)

    def forward(self, x):
        return self.changed(super().forward, x)

def net(shape, classes):
    """


@pytest.mark.parametrize("line", REFUSED.strip().splitlines(), ids=lambda line: line.partition(":")[0])
def test_what_cannot_be_used_is_one_sentence_before_anything_is_trained(modules, tiny, line):
    code, sentence = line.partition(": ")[2].split(" | ")
    modules.write(f"{BODY}{CHANGED}{code}\n")
    config = override(tiny, {"classifier.name": "mine:net", "strategy": "random"})
    with pytest.raises(InvalidInput) as caught:
        prepare(config, Path("unused"))
    assert str(caught.value).startswith("classifier mine:net must ")
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("strategy", "name", "sentence"),
    [
        (
            "badge",
            "Maps",
            "strategy badge must have logits that are a linear layer of the features, got others of class",
        ),
        (
            "glister",
            "Tempered",
            "strategy glister must have logits that are a linear layer of the features, got others",
        ),
        (
            "portfolio_random",
            "Maps",
            "strategy badge must have logits that are a linear layer of the features, got others",
        ),
        ("llal", "Net", "strategy llal must have a classifier whose stages it knows, smallnet or lenet5 or "),
    ],
)
def test_a_strategy_that_needs_more_of_f_is_refused_before_anything_is_trained(made, tiny, strategy, name, sentence):
    made(name)
    config = override(tiny, {"classifier.name": f"mine:{name}", "strategy": strategy})
    with pytest.raises(InvalidInput) as caught:
        prepare(config, Path("unused"))
    assert str(caught.value).startswith(sentence)
    prepare(override(config, {"strategy": "coreset"}), Path("unused"))


def test_a_changed_line_changes_every_key_and_the_same_file_none(made, tiny, prepared):
    config = override(tiny, {"classifier.name": "mine:Net"})

    def names():
        one = prepare(config, Path("unused"))
        spec = SetSpec(one.split.seed_set, 1)
        return one.folder, one.known_id, one.utility_key, one.problem(one.pool).key(spec)

    made("Net")
    first = names()
    made("Net")
    assert names() == first
    made("Net", more="# changed\n")
    assert not set(names()) & set(first)


def test_what_is_raised_in_a_training_names_the_classifier(made, prepared):
    late = "        assert len(x) < 9, 'too many'\n        return super().forward(x)\n"
    made("Late", more=f"class Late(Net):\n    def forward(self, x):\n{late}")
    with pytest.raises(
        ClassifierFailed, match=r"^classifier mine:Late must train, got AssertionError: too many \(mine"
    ):
        Trainer(problem_of(prepared, "Late"), CPU).train(SetSpec(np.arange(20), 1))


def test_of_ours_nothing_is_blamed_on_a_file(prepared):
    network = Trainer(prepared.problem(prepared.pool), CPU)._initial_model(0)
    assert not isinstance(network, OwnNetwork)
