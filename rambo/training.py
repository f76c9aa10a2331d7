"""The primitive that nearly all the cost lies in: train f on a set and measure its accuracy.

`fit` returns the trained classifier, `train` only the measurement. What a measurement depends on is a `Problem` (data,
labels as used, splits, classifier, training settings) and a `SetSpec` (which images, which training seed);
`Problem.key` digests both, and nothing else may influence the result.
"""

import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load, save
from torch import Tensor
from torch.nn import functional as F

from rambo import config
from rambo.classifiers import Classifier, build_classifier, draw_masks
from rambo.data import Normalisation
from rambo.errors import require
from rambo.pool import HIDDEN, Indices
from rambo.randomness import torch_generator
from rambo.store import Measurement

TRAINING_VERSION = 1
"""Raise by hand when the training step changes what it computes; a golden test guards it. Part of every key."""

EVALUATION_BATCH = 500
"""Images per forward pass outside training."""


@dataclass(frozen=True, eq=False)
class SetSpec:
    """One training: the images of a set (sorted dataset indices) and the seed of initial weights and shuffling."""

    indices: Indices
    train_seed: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "indices", np.unique(self.indices))
        require(len(self.indices) > 0, "A set to train on must hold at least one image, got none.")


@dataclass(frozen=True, eq=False)
class Problem:
    """Everything a measurement depends on besides its `SetSpec`."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    """(N,) labels as used, −1 where hidden: a set with a hidden label is refused."""
    fingerprint: str
    normalisation: Normalisation
    validation: Indices
    test: Indices
    num_classes: int
    classifier: str
    training: config.Training

    def key(self, spec: SetSpec) -> str:
        """32 hex digits that name the measurement of `spec`; raises `InvalidInput` where a label is hidden."""
        labels = self.labels[spec.indices]
        require(bool((labels != HIDDEN).all()), "A set to train on must be labelled, got images whose label is hidden.")
        digest = hashlib.sha256(self._common)
        digest.update(spec.indices.astype("<i8").tobytes())
        digest.update(labels.astype("<i8").tobytes())
        digest.update(str(spec.train_seed).encode())
        return digest.hexdigest()[:32]

    @cached_property
    def _common(self) -> bytes:
        described = (self.fingerprint, self.normalisation, self.classifier, self.training, TRAINING_VERSION)
        digest = hashlib.sha256(repr(described).encode())
        for judged in (self.validation, self.test):
            digest.update(judged.astype("<i8").tobytes())
            digest.update(self.labels[judged].astype("<i8").tobytes())
        return digest.digest()

    def tensor(self, indices: Indices, device: torch.device) -> Tensor:
        """Normalised float32 images (n, C, H, W) on `device`."""
        return self.normalisation.apply(torch.from_numpy(self.images[indices]).to(device))


@dataclass(frozen=True, eq=False)
class FittedClassifier:
    """A trained f that predicts for images named by their dataset indices."""

    model: Classifier
    measurement: Measurement
    load_images: Callable[[Indices], Tensor]
    """Normalised images (n, C, H, W) on the model's device: no label is within reach of who holds this."""

    def probabilities(self, indices: Indices) -> NDArray[np.float32]:
        """(n, classes) softmax outputs."""
        return self._predict(indices, lambda images: self.model(images).softmax(dim=1))

    def features(self, indices: Indices) -> NDArray[np.float32]:
        """(n, d) penultimate activations."""
        return self._predict(indices, self.model.features)

    def margins(self, indices: Indices) -> NDArray[np.float32]:
        """(n,) probability of the likeliest class minus that of the second (Margin sampling, B.1)."""
        if len(indices) == 0:
            return np.zeros(0, dtype=np.float32)
        top = np.partition(self.probabilities(indices), -2, axis=1)
        return top[:, -1] - top[:, -2]

    @torch.inference_mode()
    def _predict(self, indices: Indices, function: Callable[[Tensor], Tensor]) -> NDArray[np.float32]:
        self.model.eval()
        with single_thread():
            parts = [
                function(self.load_images(indices[start : start + EVALUATION_BATCH])).cpu()
                for start in range(0, len(indices), EVALUATION_BATCH)
            ]
        predicted: NDArray[np.float32] = torch.cat(parts).numpy()
        return predicted


class Trainer:
    """Trains one classifier after another on one device."""

    def __init__(self, problem: Problem, device: torch.device) -> None:
        self._problem, self._device = problem, device
        self._judged = np.concatenate([problem.validation, problem.test])
        self._judged_images = problem.tensor(self._judged, device)
        self._judged_labels = torch.from_numpy(problem.labels[self._judged]).to(device)

    def train(self, spec: SetSpec) -> Measurement:
        """The utility of `spec`."""
        return self.fit(spec).measurement

    def fit(self, spec: SetSpec) -> FittedClassifier:
        """f trained on `spec` from scratch (§5.1), and its measurement."""
        start = time.perf_counter()
        with single_thread():
            model = self._initial_model(spec)
            epochs = self._run_epochs(model, spec)
            correct = self._judge(model)
        measurement = self._measurement(correct, epochs, time.perf_counter() - start)
        return FittedClassifier(model, measurement, self._load_images)

    def restore(self, measurement: Measurement, weights: bytes) -> FittedClassifier:
        """The classifier whose `weights` were kept as a safetensors file."""
        model = self._initial_model(SetSpec(np.zeros(1, dtype=np.int64), train_seed=0))
        model.load_state_dict(load(weights))
        return FittedClassifier(model, measurement, self._load_images)

    def _load_images(self, indices: Indices) -> Tensor:
        return self._problem.tensor(indices, self._device)

    def _initial_model(self, spec: SetSpec) -> Classifier:
        problem, generator = self._problem, torch_generator(spec.train_seed, "weights")
        shape = (problem.images.shape[1], problem.images.shape[2], problem.images.shape[3])
        return build_classifier(problem.classifier, shape, problem.num_classes, generator).to(self._device)

    def _run_epochs(self, model: Classifier, spec: SetSpec) -> int:
        """Train until the running accuracy of an epoch reaches the target; the number of epochs."""
        settings = self._problem.training
        images = self._problem.tensor(spec.indices, self._device)
        labels = torch.from_numpy(self._problem.labels[spec.indices]).to(self._device)
        order, masks = torch_generator(spec.train_seed, "shuffle"), torch_generator(spec.train_seed, "dropout")
        optimiser = torch.optim.Adam(model.parameters(), lr=settings.learning_rate, fused=True)
        model.train()
        epoch = 0
        while epoch < settings.max_epochs:
            epoch += 1
            shuffled = torch.randperm(len(labels), generator=order).to(self._device)
            correct = torch.zeros((), device=self._device)
            for batch in shuffled.split(settings.batch_size):
                drawn = [mask.to(self._device) for mask in draw_masks(model, len(batch), masks)]
                logits = model(images[batch], drawn)
                optimiser.zero_grad(set_to_none=True)
                F.cross_entropy(logits, labels[batch]).backward()
                optimiser.step()
                correct += (logits.detach().argmax(1) == labels[batch]).sum()
            if correct.item() >= settings.target_accuracy * len(labels):
                break
        return epoch

    @torch.inference_mode()
    def _judge(self, model: Classifier) -> NDArray[np.bool_]:
        model.eval()
        parts = [model(images).argmax(1) for images in self._judged_images.split(EVALUATION_BATCH)]
        correct: NDArray[np.bool_] = (torch.cat(parts) == self._judged_labels).cpu().numpy()
        return correct

    def _measurement(self, correct: NDArray[np.bool_], epochs: int, seconds: float) -> Measurement:
        num_validation = len(self._problem.validation)
        return Measurement(
            val_accuracy=float(correct[:num_validation].mean()),
            test_accuracy=float(correct[num_validation:].mean()),
            val_correct=np.packbits(correct[:num_validation]).tobytes(),
            epochs=epochs,
            seconds=seconds,
            device=self._device.type,
        )


def weights_of(classifier: FittedClassifier) -> bytes:
    """The weights as a safetensors file."""
    content: bytes = save({name: value.contiguous().cpu() for name, value in classifier.model.state_dict().items()})
    return content


@contextmanager
def single_thread() -> Iterator[None]:
    """One thread inside: sums then have one order, so bytes do not depend on the number of cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
