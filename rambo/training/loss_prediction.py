"""How large f's loss on an image would be, by a module that learns it beside f (Yoo and Kweon, 2019).

The module reads the stages of f on their way and learns the order of the losses within pairs of a batch, while f learns
the labels. What it says is therefore of the f that was trained with it, which is no f that anyone measures.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from rambo.arrays import Features, Indices
from rambo.identity import described
from rambo.randomness import torch_generator
from rambo.training.classifiers import build_classifier, draw_masks, initialise
from rambo.training.network import Network
from rambo.training.trainer import Problem, SetSpec, predict, single_thread, take_weights

LOSS_PREDICTION_VERSION = 1
"""Raise by hand when what is trained here changes what it computes; a golden test guards it. Part of every key."""

WIDTH = 128
"""Units that each stage is read by."""

MARGIN = 1.0
"""ξ, by how much the larger loss shall be predicted larger."""

WEIGHT = 1.0
"""λ, weight of the ranking loss beside f's own."""

JOINT_SHARE = 0.6
"""Share of the epochs in which the ranking loss reaches f."""


def loss_prediction_key(problem: Problem, spec: SetSpec) -> str:
    """32 hex digits that name the weights of this training; raises `InvalidInput` where a label is hidden."""
    named = [("training", problem.key(spec)), ("version", LOSS_PREDICTION_VERSION)]
    return hashlib.sha256(described("LossPrediction", named).encode()).hexdigest()[:32]


def ranking_loss(predicted: Float[Tensor, " n"], losses: Float[Tensor, " n"]) -> Float[Tensor, ""]:
    """Mean over the pairs (i, n−1−i) of max(0, ξ ∓ (p_i − p_j)), − where the first loss is the larger (their Eq. 2).

    A pair of equal losses has no order and adds 0. Of an odd number the middle one is in no pair; without a pair the
    loss is 0. No gradient passes to `losses`.

    >>> ranking_loss(torch.tensor([0.25, 0.0]), torch.tensor([2.0, 1.0]))
    tensor(0.7500)
    """
    num_pairs = len(predicted) // 2
    order = torch.sign(losses - losses.flip(0))[:num_pairs].detach()
    ahead = (predicted - predicted.flip(0))[:num_pairs]
    return (order.abs() * F.relu(MARGIN - order * ahead)).sum() / max(num_pairs, 1)


class LossModule(nn.Module):
    """Stages of f to one number an image: each is pooled and read by a layer of its own, and one layer joins them."""

    def __init__(self, widths: Sequence[int]) -> None:
        """`widths`: channels or units of each stage."""
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(width, WIDTH) for width in widths)
        self.head = nn.Linear(WIDTH * len(widths), 1)

    def forward(self, stages: Sequence[Tensor]) -> Tensor:
        """(n,) from activations (n, c, h, w) or (n, c)."""
        pooled = [stage.flatten(2).mean(2) if stage.dim() > 2 else stage for stage in stages]
        read = [F.relu(layer(one)) for layer, one in zip(self.layers, pooled, strict=True)]
        joined: Tensor = self.head(torch.cat(read, dim=1))
        return joined.squeeze(1)


class JointNetwork(nn.Module):
    """f and the module that predicts its losses."""

    def __init__(self, classifier: Network, module: LossModule) -> None:
        super().__init__()
        self.classifier, self.module = classifier, module

    def forward(self, images: Tensor, masks: Sequence[Tensor] = (), *, detached: bool = False) -> tuple[Tensor, Tensor]:
        """Logits (n, classes) and predicted losses (n,); `detached`: these have no gradient by f's weights."""
        stages, features = self.classifier.staged(images, masks)
        seen = [stage.detach() for stage in stages] if detached else stages
        return self.classifier.head(features), self.module(seen)


@dataclass(frozen=True, eq=False)
class LossPredictor:
    """A trained module as strategies see it: it predicts for images named by their indices, and holds no label."""

    network: JointNetwork
    load_images: Callable[[Indices], Tensor]
    """Normalised images (n, C, H, W) on the network's device."""

    def __call__(self, indices: Indices) -> Features:
        """(n,) predicted losses; only their order means something."""
        self.network.eval()
        return predict(lambda images: self.network(images)[1], self.load_images, indices)


class JointTrainer:
    """Trains f together with its module, one set after another on one device, by f's training settings.

    Weights of f, its shuffling and its dropout are drawn as where f is trained alone.
    """

    def __init__(self, problem: Problem, device: torch.device) -> None:
        self._problem, self._device = problem, device
        self._load_images = problem.loader(device)

    def fit(self, spec: SetSpec) -> LossPredictor:
        """The module that was trained on `spec` from scratch, with its f."""
        with single_thread():
            network = self._initial_network(spec.train_seed)
            self._run_epochs(_Learner(network, self._problem.training.learning_rate, spec.train_seed), spec)
        return LossPredictor(network, self._load_images)

    def restore(self, weights: bytes) -> LossPredictor | None:
        """What `weights` were kept of as a safetensors file; None where they are spoilt."""
        network = self._initial_network(train_seed=0)
        return LossPredictor(network, self._load_images) if take_weights(network, weights) else None

    def _initial_network(self, train_seed: int) -> JointNetwork:
        problem, weights = self._problem, torch_generator(train_seed, "weights")
        shape = problem.images.shape[1:]
        classifier = build_classifier(problem.classifier, shape, problem.num_classes, weights)
        with torch.random.fork_rng(devices=[]):  # the constructors' own initialisation draws from the global generator
            module = LossModule(_widths(classifier, torch.zeros(1, *shape)))
        initialise(module, torch_generator(train_seed, "loss module"))
        return JointNetwork(classifier, module).to(self._device)

    def _run_epochs(self, learner: "_Learner", spec: SetSpec) -> None:
        """First together until f would stop, at most .6 of the epochs; then .4 to these .6 with the stages detached.

        Deviation[joint-epochs]: Yoo and Kweon count epochs, of which there are a given number; here f decides when to
        stop (§5.1), mostly long before the last epoch. What is kept is the share.
        """
        settings = self._problem.training
        images = self._load_images(spec.indices)
        labels = torch.from_numpy(self._problem.labels[spec.indices]).to(self._device)
        shuffle = torch_generator(spec.train_seed, "shuffle")

        def epoch(*, detached: bool) -> int:
            order = torch.randperm(len(labels), generator=shuffle).to(self._device)
            batches = order.split(settings.batch_size)
            return sum(learner.step(images[batch], labels[batch], detached=detached) for batch in batches)

        joint, accurate = 0, False
        while joint < JOINT_SHARE * settings.max_epochs and not accurate:
            accurate = epoch(detached=False) >= settings.target_accuracy * len(labels)
            joint += 1
        for _ in range(min(round(joint / JOINT_SHARE), settings.max_epochs) - joint):
            epoch(detached=True)


class _Learner:
    """Adam on the mean cross-entropy of f and the ranking loss of the module."""

    def __init__(self, network: JointNetwork, learning_rate: float, train_seed: int) -> None:
        self._network, self._masks = network, torch_generator(train_seed, "dropout")
        self._optimiser = torch.optim.Adam(network.parameters(), lr=learning_rate)

    def step(self, images: Tensor, labels: Tensor, *, detached: bool) -> int:
        """One step on images (n, C, H, W) with labels (n,); how many were predicted right before it."""
        self._network.train()
        masks = [mask.to(images) for mask in draw_masks(self._network.classifier, len(images), self._masks)]
        logits, predicted = self._network(images, masks, detached=detached)
        losses = F.cross_entropy(logits, labels, reduction="none")
        self._optimiser.zero_grad(set_to_none=True)
        (losses.mean() + WEIGHT * ranking_loss(predicted, losses)).backward()
        self._optimiser.step()
        return int((logits.detach().argmax(1) == labels).sum())


@torch.no_grad()
def _widths(classifier: Network, image: Tensor) -> list[int]:
    """Channels or units of each stage."""
    return [stage.shape[1] for stage in classifier.eval().staged(image)[0]]
