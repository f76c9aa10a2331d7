"""The classifiers f: LeNet-5 (A.4), a wider MnistNet, ResNet-18 with a CIFAR stem, and a small one for 8x8 images.

Embeddings are taken by logistic regression and by one hidden layer, which take images too, as rows of pixels.

Deviation[lenet]: "similar to LeNet, as suggested by Beck et al." is LeNet-5 here; MnistNet is nearer to what those use.

Each maps images (n, C, H, W), or embeddings (n, d), to penultimate features and those to logits. Weights come from a
generator that is passed in, and dropout from masks that are passed in: a training depends on its own seed alone.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rambo.errors import require
from rambo.own import Own, is_own
from rambo.training.network import Network
from rambo.training.own_classifier import build_own


class Plain(Network):
    """A classifier whose features are one `nn.Sequential`, which `rambo.training.replay` can record."""

    body: nn.Sequential

    def features(self, images: Tensor, masks: Sequence[Tensor] = ()) -> Tensor:
        """Penultimate activations (n, d)."""
        activations: Tensor = self.body(images)
        return activations

    def staged(self, images: Tensor, masks: Sequence[Tensor] = ()) -> tuple[tuple[Tensor, ...], Tensor]:
        """Activations of two convolutions and the first dense layer, and the penultimate ones (n, d)."""
        activations, after_relu = images, []
        for layer in self.body:
            activations = layer(activations)
            if isinstance(layer, nn.ReLU):
                after_relu.append(activations)
        return tuple(after_relu[:3]), activations


class SmallNet(Plain):
    """16-32-64: two 3x3 convolutions for images of about 8x8."""

    def __init__(self, channels: int, side: int, num_classes: int) -> None:
        super().__init__()
        convolutions = (*_block(channels, 16, 3, padding=1), *_block(16, 32, 3, padding=1))
        self.body = nn.Sequential(*convolutions, nn.Flatten(), nn.Linear(32 * (side // 4) ** 2, 64), nn.ReLU())
        self.head = nn.Linear(64, num_classes)


class LeNet5(Plain):
    """6-16-120-84-C; images below 32 pixels are padded by 2, as the original pads digits to 32x32."""

    def __init__(self, channels: int, side: int, num_classes: int) -> None:
        super().__init__()
        padding = 2 if side < 32 else 0
        inner = ((side + 2 * padding - 4) // 2 - 4) // 2
        convolutions = (*_block(channels, 6, 5, padding=padding), *_block(6, 16, 5, padding=0))
        dense = (nn.Linear(16 * inner**2, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU())
        self.body = nn.Sequential(*convolutions, nn.Flatten(), *dense)
        self.head = nn.Linear(84, num_classes)


class LinearNet(Plain):
    """Multinomial logistic regression, whose weights `rambo.training.logistic` finds; its features are its inputs."""

    def __init__(self, num_inputs: int, num_classes: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Flatten())
        self.head = nn.Linear(num_inputs, num_classes)


class Mlp(Plain):
    """One hidden layer of 256."""

    def __init__(self, num_inputs: int, num_classes: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(num_inputs, 256), nn.ReLU())
        self.head = nn.Linear(256, num_classes)


class MnistNet(Network):
    """32-64 3x3 convolutions and a 128-unit layer with dropout, as active-learning toolkits use for MNIST."""

    dropout = (((64, 1, 1), 0.25), ((128,), 0.5))

    def __init__(self, channels: int, side: int, num_classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 32, 3)
        self.conv2 = nn.Conv2d(32, 64, 3)
        self.fc = nn.Linear(64 * ((side - 4) // 2) ** 2, 128)
        self.head = nn.Linear(128, num_classes)

    def features(self, images: Tensor, masks: Sequence[Tensor] = ()) -> Tensor:
        """Penultimate activations (n, 128)."""
        return self.staged(images, masks)[1]

    def staged(self, images: Tensor, masks: Sequence[Tensor] = ()) -> tuple[tuple[Tensor, ...], Tensor]:
        """Activations of both convolutions and of the dense layer, which are the penultimate ones (n, 128) too."""
        after_pool, after_fc = masks or (None, None)
        first = F.relu(self.conv1(images))
        second = _masked(F.max_pool2d(F.relu(self.conv2(first)), 2), after_pool)
        dense = _masked(F.relu(self.fc(second.flatten(1))), after_fc)
        return (first, second, dense), dense


class ResNet18(Network):
    """torchvision's ResNet-18 with the usual stem for small images: one 3x3 convolution and no pooling."""

    def __init__(self, channels: int, side: int, num_classes: int) -> None:
        super().__init__()
        from torchvision.models import resnet18

        self.body = resnet18()
        self.body.conv1 = nn.Conv2d(channels, 64, 3, padding=1, bias=False)
        self.body.maxpool = nn.Identity()
        self.body.fc = nn.Identity()
        self.head = nn.Linear(512, num_classes)

    def features(self, images: Tensor, masks: Sequence[Tensor] = ()) -> Tensor:
        """Penultimate activations (n, 512)."""
        pooled: Tensor = self.body(images)
        return pooled

    def staged(self, images: Tensor, masks: Sequence[Tensor] = ()) -> tuple[tuple[Tensor, ...], Tensor]:
        """Activations of layer1 to layer4, and their means over the last (n, 512)."""
        body = self.body
        stages = [body.maxpool(body.relu(body.bn1(body.conv1(images))))]
        for layer in (body.layer1, body.layer2, body.layer3, body.layer4):
            stages.append(layer(stages[-1]))
        return tuple(stages[1:]), body.avgpool(stages[-1]).flatten(1)


_CLASSES: dict[str, tuple[type[Network], int]] = {
    "smallnet": (SmallNet, 4),
    "lenet5": (LeNet5, 12),
    "mnistnet": (MnistNet, 6),
    "resnet18": (ResNet18, 16),
}
"""Class and smallest side of the images it takes."""

_FLAT: dict[str, type[LinearNet] | type[Mlp]] = {"linear": LinearNet, "mlp": Mlp}
"""Those that take any shape, as a row of numbers."""


def check_classifier(name: str, image_shape: tuple[int, ...]) -> None:
    """Raise `InvalidInput` where classifier `name` cannot take images of shape (C, H, W), or embeddings of (d,)."""
    if name in _FLAT:
        return
    require(
        len(image_shape) == 3,
        f"classifier.name must be {' or '.join(_FLAT)} for embeddings, got {name}, which takes images; set "
        "classifier.name linear.",
    )
    channels, height, width = image_shape
    smallest = _CLASSES[name][1]
    require(
        height == width and height >= smallest and channels in (1, 3),
        f"classifier.name = {name} needs square images of 1 or 3 channels and at least {smallest} pixels a side, "
        f"got {channels} x {height} x {width}; choose another classifier or resize the images.",
    )


def build_classifier(name: str, image_shape: tuple[int, ...], num_classes: int, generator: torch.Generator) -> Network:
    """A classifier on the CPU with PyTorch's usual initial distribution, drawn from `generator`; or the user's own."""
    if is_own(name):
        return build_own(Own("classifier.name", name), image_shape, num_classes, generator)
    check_classifier(name, image_shape)
    with torch.random.fork_rng(devices=[]):  # the constructors' own initialisation draws from the global generator
        model = _made(name, image_shape, num_classes)
    initialise(model, generator)
    return model


def initialise(model: nn.Module, generator: torch.Generator) -> None:
    """Draw the weights of `model` from `generator`: uniform in ±1/√fan_in; He-normal convolutions where unbiased."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Conv2d | nn.Linear):
            _initialise_layer(module, generator)


def draw_masks(model: Network, num_images: int, generator: torch.Generator) -> tuple[Tensor, ...]:
    """One scaled keep mask per dropout site for `num_images` images, drawn on the CPU."""
    return tuple(
        torch.empty(num_images, *shape).bernoulli_(1 - p, generator=generator) / (1 - p) for shape, p in model.dropout
    )


def _made(name: str, image_shape: tuple[int, ...], num_classes: int) -> Network:
    if name in _FLAT:
        return _FLAT[name](math.prod(image_shape), num_classes)
    return _CLASSES[name][0](image_shape[0], image_shape[1], num_classes)


def _initialise_layer(layer: nn.Conv2d | nn.Linear, generator: torch.Generator) -> None:
    if layer.bias is None:  # ResNet's convolutions
        nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu", generator=generator)
        return
    bound = 1 / math.sqrt(layer.weight[0].numel())
    nn.init.uniform_(layer.weight, -bound, bound, generator=generator)
    nn.init.uniform_(layer.bias, -bound, bound, generator=generator)


def _block(channels: int, filters: int, kernel: int, *, padding: int) -> tuple[nn.Module, ...]:
    """Convolution and ReLU of its 2x2 maximum: the same function as the maximum of ReLUs at a quarter of the work."""
    return nn.Conv2d(channels, filters, kernel, padding=padding), nn.MaxPool2d(2), nn.ReLU()


def _masked(x: Tensor, mask: Tensor | None) -> Tensor:
    return x if mask is None else x * mask
