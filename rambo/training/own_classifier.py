"""Classifiers f of the user's own: any function of (input_shape, num_classes) that returns an `nn.Module`.

Whatever the module draws, its first weights and its dropout alike, comes from torch's global generator. That is seeded
here from the training's own seed and put back afterwards, so a training depends on nothing that ran before it.
`check_own` tries one on two images before anything is trained.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from itertools import chain
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from rambo.errors import ClassifierFailed, InvalidInput, require
from rambo.own import Own, Pinned
from rambo.randomness import torch_generator
from rambo.training.network import Network

Found = TypeVar("Found")

CPU = torch.device("cpu")

PROBED = 2
"""Inputs that a classifier is tried on."""


@dataclass(frozen=True)
class OwnFacts:
    """What trying a classifier tells of it."""

    has_linear_head: bool
    """Whether its logits are a linear layer of its features, up to a number an image, which no softmax sees."""


class OwnNetwork(Network):
    """The user's module, with what is asked of ours.

    Features are what its `features` returns, flattened, where it has such a method or submodule, else what enters the
    last linear layer that its forward pass comes to.
    """

    layout = torch.contiguous_format  # a module may `view` its activations, which other layouts forbid

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body
        normalises = any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in body.modules())
        self.least_batch = 2 if normalises else 1

    def features(self, images: Tensor, masks: Sequence[Tensor] = ()) -> Tensor:
        """What stands for the penultimate activations, (n, d)."""
        own = getattr(self.body, "features", None)
        if callable(own):
            found: Tensor = own(_in_rows(images))
        else:
            last = self.last_linear(images)
            require(last is not None, "A classifier must have features, or a linear layer, got one without.")
            assert last is not None
            found = last[0]
        return found.flatten(1)

    def forward(self, images: Tensor, masks: Sequence[Tensor] = ()) -> Tensor:
        """Logits (n, classes)."""
        logits: Tensor = self.body(_in_rows(images))
        return logits

    def last_linear(self, images: Tensor) -> tuple[Tensor, Tensor] | None:
        """What enters the last linear layer of a forward pass, and what comes out of it; None where there is none."""
        passed: list[tuple[Tensor, Tensor]] = []

        def keep(module: nn.Module, given: Any, out: Tensor) -> None:
            passed[:] = [(given[0], out)]

        layers = [module for module in self.body.modules() if isinstance(module, nn.Linear)]
        hooks = [layer.register_forward_hook(keep) for layer in layers]
        try:
            self(images)
        finally:
            for hook in hooks:
                hook.remove()
        return passed[0] if passed else None


def _in_rows(images: Tensor) -> Tensor:
    """The same with the strides of a new tensor: of one channel, images count as in rows and as channels_last at once.

    A convolution would take them for the latter, and pass it on to what the module may `view`.
    """
    return images.flatten().view(images.shape)


@contextmanager
def drawing_from(seed: int, device: torch.device = CPU) -> Iterator[None]:
    """Inside, torch's global generators of the CPU and of `device` begin at `seed`; then they are as they were."""
    on_gpu = device.type == "cuda"
    with torch.random.fork_rng(devices=[device] if on_gpu else []):
        torch.default_generator.manual_seed(seed)
        if on_gpu:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield


@contextmanager
def blamed(pinned: Pinned | None) -> Iterator[None]:
    """Name the classifier, where it is of the user's own, for what is raised inside."""
    try:
        yield
    except (InvalidInput, MemoryError, torch.OutOfMemoryError):
        raise
    except (Exception, SystemExit) as error:  # whatever a module of the user's does
        if pinned is None:
            raise
        raise ClassifierFailed(f"{pinned.own} must train, got {pinned.own.said(error)}.") from error


def build_own(own: Own, input_shape: tuple[int, ...], num_classes: int, generator: torch.Generator) -> OwnNetwork:
    """The classifier on the CPU, its first weights drawn from the seed of `generator`.

    Raises `InvalidInput` where its function raises or returns something else.
    """
    make = own.function()
    with drawing_from(generator.initial_seed()):
        body = _tried(own, "return an nn.Module", lambda: make(tuple(input_shape), num_classes))
        require(isinstance(body, nn.Module), f"{own} must return an nn.Module, got one of type {type(body).__name__}.")
        network = OwnNetwork(body)
        if any(map(is_lazy, chain(body.parameters(), body.buffers()))):
            with torch.no_grad():  # lazy layers take their shapes from what they see first
                _tried(own, "take images", lambda: network.eval()(torch.zeros(PROBED, *input_shape)))
    return network.train()


def check_own(own: Own, input_shape: tuple[int, ...], num_classes: int) -> OwnFacts:
    """Try the classifier on two images; raises `InvalidInput` with what it must do and does not."""
    return _checked(own.pinned(), tuple(input_shape), num_classes)


@cache
def _checked(pinned: Pinned, input_shape: tuple[int, ...], num_classes: int) -> OwnFacts:
    own = pinned.own
    return _tried(own, "bear being tried on two images", lambda: _facts(own, input_shape, num_classes))


def _facts(own: Own, input_shape: tuple[int, ...], num_classes: int) -> OwnFacts:
    def built() -> OwnNetwork:
        return build_own(own, input_shape, num_classes, torch_generator(0, "weights"))

    network = built()
    _check_weights(own, network, built())
    images = torch.randn(PROBED, *input_shape, generator=torch_generator(0, "tried images"))
    _check_steps(own, network, images, num_classes)
    with torch.inference_mode():
        network.eval()
        _check_logits(own, network, images, num_classes)
        features = _features(own, network, images)
        return OwnFacts(_has_linear_head(network, images, features))


def _check_weights(own: Own, network: OwnNetwork, again: OwnNetwork) -> None:
    trained = [one for one in network.parameters() if one.requires_grad]
    require(len(trained) > 0, f"{own} must have parameters to train, got none.")
    first, second = network.state_dict(), again.state_dict()
    require(
        all(isinstance(value, Tensor) for value in first.values()),
        f"{own} must have a state of tensors alone, which is what is kept of it, got other things in it.",
    )
    same = first.keys() == second.keys() and all(_equal(value, second[name]) for name, value in first.items())
    require(same, f"{own} must draw its first weights from torch's generator, got others from the same seed.")


def _check_steps(own: Own, network: OwnNetwork, images: Tensor, num_classes: int) -> None:
    """Two steps in training: what comes out of them, whether it is learned from, and whether it can be repeated."""
    network.train()
    state = {name: value.clone() for name, value in network.state_dict().items()}
    with drawing_from(0):
        logits = _check_logits(own, network, images, num_classes)
    require(logits.requires_grad, f"{own} must return logits with a gradient by its parameters, got some without.")
    network.load_state_dict(state)
    with drawing_from(0):
        again = _check_logits(own, network, images, num_classes)
    require(
        _equal(logits, again), f"{own} must draw from torch's generator alone, got other logits from the same seed."
    )


def _check_logits(own: Own, network: OwnNetwork, images: Tensor, num_classes: int) -> Tensor:
    given: object = _tried(own, f"take inputs of shape {tuple(images.shape)}", lambda: network(images))
    rule = f"{own} must map {len(images)} inputs of shape {tuple(images.shape[1:])} to logits ({PROBED}, {num_classes})"
    if not isinstance(given, Tensor):
        raise InvalidInput(f"{rule}, got one of type {type(given).__name__}.")
    require(given.shape == (len(images), num_classes), f"{rule}, got {tuple(given.shape)}.")
    require(given.is_floating_point(), f"{rule} of floats, got {given.dtype}.")
    return given


def _features(own: Own, network: OwnNetwork, images: Tensor) -> Tensor:
    named = callable(getattr(network.body, "features", None))
    require(
        named or network.last_linear(images) is not None,
        f"{own} must have a method features, from (n, …) to (n, d), or a linear layer, got neither.",
    )
    found = _tried(own, "have features of images", lambda: network.features(images))
    fits = isinstance(found, Tensor) and found.dim() == 2 and len(found) == len(images) and found.is_floating_point()
    require(fits, f"{own} must have features ({len(images)}, d) of {len(images)} images, got {_described(found)}.")
    return found


def _has_linear_head(network: OwnNetwork, images: Tensor, features: Tensor) -> bool:
    last = network.last_linear(images)
    if last is None or last[0].shape != features.shape:
        return False
    logits, out = network(images), last[1]
    is_last = out.shape == logits.shape and torch.allclose(out.softmax(1), logits.softmax(1), atol=1e-5)
    return is_last and torch.allclose(last[0], features, atol=1e-5)


def _tried(own: Own, rule: str, call: Callable[[], Found]) -> Found:
    try:
        return call()
    except InvalidInput:
        raise
    except (Exception, SystemExit) as error:  # whatever a function of the user's does
        raise InvalidInput(f"{own} must {rule}, got {own.said(error)}.") from None


def _equal(first: Tensor, second: Tensor) -> bool:
    return first.shape == second.shape and torch.allclose(first, second, rtol=0, atol=0, equal_nan=True)


def _described(given: object) -> str:
    return f"{tuple(given.shape)}" if isinstance(given, Tensor) else f"one of type {type(given).__name__}"
