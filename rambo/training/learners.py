"""One epoch of training, in the way that is fastest for the classifier at hand.

Two learners take the same steps (Adam on the mean cross-entropy, batches in the order given) and differ only in how
sums are rounded; the third finds the one minimum of logistic regression. Which one runs follows from the classifier and
the device alone.
"""

from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from rambo.training.classifiers import LinearNet, Plain, draw_masks
from rambo.training.logistic import classes_of, minimise
from rambo.training.network import Network
from rambo.training.replay import Replay, supports

PREDICTION_BATCH = 500
"""Images per forward pass of the eager learner outside training."""


def next_batch(num_left: int, batch_size: int, least: int) -> int:
    """Images of the next step: a batch, unless fewer than `least` images would then be left over.

    >>> next_batch(9, 4, 2), next_batch(5, 4, 2), next_batch(5, 4, 1), next_batch(3, 4, 2)
    (4, 5, 4, 3)
    """
    return num_left if num_left < batch_size + least else batch_size


class Learner(Protocol):
    """A classifier in training."""

    def train_epoch(self, images: Tensor, labels: Tensor, order: Tensor, batch_size: int) -> int:
        """One pass over images (n, …) in `order` (n,); how many were predicted right, each before its update.

        All of them where another pass would change nothing.
        """
        ...

    def predict(self, images: Tensor) -> Tensor:
        """(m,) classes of images (m, …)."""
        ...

    def finish(self) -> None:
        """Put the learned weights into the classifier."""
        ...


class EagerLearner:
    """Any classifier on any device, by autograd."""

    def __init__(self, model: Network, learning_rate: float, masks: torch.Generator) -> None:
        self._model, self._masks = model, masks
        self._model.to(memory_format=model.layout)
        self._optimiser = torch.optim.Adam(model.parameters(), lr=learning_rate, fused=True)

    def train_epoch(self, images: Tensor, labels: Tensor, order: Tensor, batch_size: int) -> int:
        self._model.train()
        shuffled, targets = images[order], labels[order]
        shuffled = shuffled.to(memory_format=self._model.layout) if shuffled.ndim == 4 else shuffled
        predicted = torch.empty_like(targets)
        start = 0
        while start < len(order):
            batch = slice(start, start + next_batch(len(order) - start, batch_size, self._model.least_batch))
            start = batch.stop
            drawn = [mask.to(images) for mask in draw_masks(self._model, len(targets[batch]), self._masks)]
            logits = self._model(shuffled[batch], drawn)
            self._optimiser.zero_grad(set_to_none=True)
            F.cross_entropy(logits, targets[batch]).backward()
            self._optimiser.step()
            predicted[batch] = logits.detach().argmax(1)
        return int((predicted == targets).sum())

    @torch.inference_mode()
    def predict(self, images: Tensor) -> Tensor:
        self._model.eval()
        return torch.cat([self._model(chunk).argmax(1) for chunk in images.split(PREDICTION_BATCH)])

    def finish(self) -> None:
        """The classifier's own weights were trained; they lie again as those of one that is restored from a file."""
        self._model.to(memory_format=torch.contiguous_format)


class ReplayLearner:
    """A plain classifier on one CPU core, about twice as fast; `engine` may have trained others before."""

    def __init__(self, model: Plain, engine: Replay) -> None:
        self._model, self._engine = model, engine
        engine.load(model.parameters())

    def train_epoch(self, images: Tensor, labels: Tensor, order: Tensor, batch_size: int) -> int:
        return self._engine.train_epoch(images, labels, order, batch_size)

    def predict(self, images: Tensor) -> Tensor:
        return self._engine.predict(images)

    def finish(self) -> None:
        self._engine.save(self._model.parameters())


class LinearLearner:
    """Logistic regression: one epoch finds the minimum, from wherever, in whatever order."""

    def __init__(self, model: LinearNet) -> None:
        self._model = model
        self._weights = torch.cat([model.head.weight, model.head.bias[:, None]], dim=1).detach()

    def train_epoch(self, images: Tensor, labels: Tensor, order: Tensor, batch_size: int) -> int:
        everything = torch.arange(len(labels), device=labels.device)
        [self._weights] = minimise(images.flatten(1), labels, [everything], len(self._weights))
        return len(labels)

    def predict(self, images: Tensor) -> Tensor:
        return classes_of(self._weights, images.flatten(1))

    @torch.no_grad()
    def finish(self) -> None:
        self._model.head.weight.copy_(self._weights[:, :-1])
        self._model.head.bias.copy_(self._weights[:, -1])


class Learners:
    """Makes a learner for each classifier of one architecture; what can be reused from one to the next is."""

    def __init__(self, learning_rate: float, device: torch.device) -> None:
        self._learning_rate, self._device = learning_rate, device
        self._engine: Replay | None = None

    def start(self, model: Network, image_shape: tuple[int, ...], masks: torch.Generator) -> Learner:
        """A learner for `model`, whose weights are as they shall be at the start; `masks` draws its dropout."""
        if isinstance(model, LinearNet):
            return LinearLearner(model)
        if self._device.type == "cpu" and isinstance(model, Plain):
            layers = (*model.body, model.head)
            if self._engine is None and supports(layers):
                self._engine = Replay(layers, image_shape, learning_rate=self._learning_rate)
            if self._engine is not None:
                return ReplayLearner(model, self._engine)
        return EagerLearner(model, self._learning_rate, masks)
