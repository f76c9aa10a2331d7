"""The primitive that nearly all the cost lies in: train f on a set and measure its accuracy.

`fit` returns the trained classifier, `train` only the measurement. What a measurement depends on is a `Problem` (data,
labels as used, splits, classifier, training settings) and a `SetSpec` (which images, which training seed);
`Problem.key` digests both, and nothing else may influence the result.
"""

import hashlib
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from rambo.arrays import Features, Indices, Inputs, Labels
from rambo.data.dataset import Normalisation, NormalisedImages
from rambo.data.pool import HIDDEN
from rambo.errors import require
from rambo.identity import described, pairs
from rambo.measurement import Measurement
from rambo.own import Pinned
from rambo.randomness import derive, torch_generator
from rambo.sections import Training
from rambo.training.classifiers import build_classifier
from rambo.training.learners import Learner, Learners
from rambo.training.logistic import INVERSE_PENALTY, LOGISTIC_VERSION, TOLERANCE
from rambo.training.network import Network
from rambo.training.own_classifier import blamed, drawing_from
from rambo.training.rounding import rounding

TRAINING_VERSION = 1
"""Raise by hand when the training step changes what it computes; a golden test guards it. Part of every key."""

LOGISTIC = (
    "LogisticRegression",
    [("inverse_penalty", INVERSE_PENALTY), ("tolerance", TOLERANCE), ("version", LOGISTIC_VERSION)],
)
"""What a training of `linear` depends on in the place of training settings, none of which it reads."""

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

    images: Inputs
    labels: Labels
    """(N,) labels as used, −1 where hidden: a set with a hidden label is refused."""
    fingerprint: str
    normalisation: Normalisation
    validation: Indices
    test: Indices
    num_classes: int
    classifier: str
    training: Training
    own: Pinned | None = None
    """The classifier where it is of the user's own."""

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
        normalisation = described("Normalisation", pairs(self.normalisation))
        training = described("Training", pairs(self.training)) if self.classifier != "linear" else described(*LOGISTIC)
        classifier = self.classifier if self.own is None else f"{self.classifier} {self.own.digest}"
        common = f"({self.fingerprint!r}, {normalisation}, {classifier!r}, {training}, {TRAINING_VERSION})"
        digest = hashlib.sha256(common.encode())
        for judged in (self.validation, self.test):
            digest.update(judged.astype("<i8").tobytes())
            digest.update(self.labels[judged].astype("<i8").tobytes())
        return digest.digest()

    def initial(self, train_seed: int) -> Network:
        """f before its first step, on the CPU."""
        generator = torch_generator(train_seed, "weights")
        return build_classifier(self.classifier, self.images.shape[1:], self.num_classes, generator)

    def loader(self, device: torch.device) -> NormalisedImages:
        """Images as f takes them, apart from all labels."""
        return NormalisedImages(self.images, self.normalisation, device)

    def tensor(self, indices: Indices, device: torch.device) -> Tensor:
        """Normalised float32 images (n, C, H, W) on `device`."""
        return self.loader(device)(indices)


@dataclass(frozen=True, eq=False)
class Predictor:
    """A trained f as strategies see it: it predicts for images named by their dataset indices, and holds no label."""

    model: Network
    load_images: Callable[[Indices], Tensor]
    """Normalised images (n, C, H, W) on the model's device."""

    @property
    def device(self) -> torch.device:
        """Where the model computes."""
        return next(self.model.parameters()).device

    def probabilities(self, indices: Indices) -> Features:
        """(n, classes) softmax outputs."""
        return self._predict(indices, lambda images: self.model(images).softmax(dim=1))

    def logits(self, indices: Indices) -> Features:
        """(n, classes) outputs before the softmax."""
        return self._predict(indices, self.model)

    def features(self, indices: Indices) -> Features:
        """(n, d) penultimate activations."""
        return self._predict(indices, self.model.features)

    def margins(self, indices: Indices) -> Features:
        """(n,) probability of the likeliest class minus that of the second."""
        return margins_of(self.probabilities(indices))

    def _predict(self, indices: Indices, function: Callable[[Tensor], Tensor]) -> Features:
        self.model.eval()
        return predict(function, self.load_images, indices)


@dataclass(frozen=True, eq=False)
class FittedClassifier(Predictor):
    """A trained f with its measurement, which tells of the labels of S_val and of the test set."""

    measurement: Measurement

    @property
    def predictor(self) -> Predictor:
        """The same without the measurement."""
        return Predictor(self.model, self.load_images)


class Trainer:
    """Trains one classifier after another on one device."""

    def __init__(self, problem: Problem, device: torch.device) -> None:
        self._problem, self._device = problem, device
        self._learners = Learners(problem.training.learning_rate, device)
        judged = np.concatenate([problem.validation, problem.test])
        self._load_images = problem.loader(device)
        self._judged_images = self._load_images(judged)
        self._judged_labels = torch.from_numpy(problem.labels[judged]).to(device)

    def train(self, spec: SetSpec) -> Measurement:
        """The utility of `spec`."""
        return self.fit(spec).measurement

    def fit(self, spec: SetSpec) -> FittedClassifier:
        """f trained on `spec` from scratch (§5.1), and its measurement."""
        start = time.perf_counter()
        drawn = drawing_from(derive(spec.train_seed, "dropout"), self._device)  # by what is the user's own
        with single_thread(), blamed(self._problem.own), drawn:
            model = self._initial_model(spec.train_seed)
            learner = self._learners.start(model, self._image_shape, torch_generator(spec.train_seed, "dropout"))
            epochs = self._run_epochs(learner, spec)
            correct = (learner.predict(self._judged_images) == self._judged_labels).cpu().numpy()
            learner.finish()
        measurement = measurement_of(self._problem, correct, epochs, time.perf_counter() - start, self._device)
        return FittedClassifier(model, self._load_images, measurement)

    def restore(self, measurement: Measurement, weights: bytes) -> FittedClassifier | None:
        """The classifier whose `weights` were kept as a safetensors file; None where they are spoilt."""
        model = self._initial_model(train_seed=0)
        return FittedClassifier(model, self._load_images, measurement) if take_weights(model, weights) else None

    @property
    def _image_shape(self) -> tuple[int, ...]:
        return self._problem.images.shape[1:]

    def _initial_model(self, train_seed: int) -> Network:
        return self._problem.initial(train_seed).to(self._device)

    def _run_epochs(self, learner: Learner, spec: SetSpec) -> int:
        """Train until the running accuracy of an epoch reaches the target; the number of epochs.

        Deviation[reaches]: §5.1 stops where training accuracy "exceeds" 99 %, which on 50 images only 100 % does; the
        accuracy is that of the batches before their steps, so that no second pass is paid for.
        """
        settings = self._problem.training
        images = self._load_images(spec.indices)
        labels = torch.from_numpy(self._problem.labels[spec.indices]).to(self._device)
        shuffle = torch_generator(spec.train_seed, "shuffle")
        epoch, accurate = 0, False
        while epoch < settings.max_epochs and not accurate:
            order = torch.randperm(len(labels), generator=shuffle).to(self._device)
            right = learner.train_epoch(images, labels, order, settings.batch_size)
            accurate = right >= settings.target_accuracy * len(labels)
            epoch += 1
        return epoch


def measurement_of(
    problem: Problem, correct: NDArray[np.bool_], epochs: int, seconds: float, device: torch.device
) -> Measurement:
    """What is kept of a training, by which images were predicted right: those of S_val, then those of the test set."""
    validation, test = np.split(correct, [len(problem.validation)])
    return Measurement(
        val_accuracy=float(validation.mean()),
        test_accuracy=float(test.mean()) if len(test) else math.nan,
        val_correct=np.packbits(validation).tobytes(),
        epochs=epochs,
        seconds=seconds,
        device=device.type,
        test_correct=np.packbits(test).tobytes(),
        rounding=rounding(device),
    )


def margins_of(probabilities: Features) -> Features:
    """(n,) the largest of each row minus the second largest (Margin sampling, B.1).

    >>> margins_of(np.array([[0.5, 0.25, 0.25], [0.0, 1.0, 0.0]], dtype=np.float32)).tolist()
    [0.25, 1.0]
    """
    if len(probabilities) == 0:
        return np.zeros(0, dtype=np.float32)
    top = np.partition(probabilities, -2, axis=1)
    return top[:, -1] - top[:, -2]


@torch.inference_mode()
def predict(
    function: Callable[[Tensor], Tensor], load_images: Callable[[Indices], Tensor], indices: Indices
) -> Features:
    """`function` of the images (n, C, H, W) at `indices`, some at a time; (n, …) on the CPU."""
    starts = range(0, max(len(indices), 1), EVALUATION_BATCH)  # of no images an array of no rows
    with single_thread():
        parts = [function(load_images(indices[start : start + EVALUATION_BATCH])).cpu() for start in starts]
    predicted: Features = torch.cat(parts).numpy()
    return predicted


def weights_of(model: nn.Module) -> bytes:
    """The weights as a safetensors file."""
    from safetensors.torch import save

    values = model.state_dict().items()  # cloned: tied weights share their memory
    content: bytes = save({name: value.contiguous().cpu().clone() for name, value in values})
    return content


def take_weights(model: nn.Module, content: bytes) -> bool:
    """Put the weights of a safetensors file into `model`; False where they are spoilt, or another network's."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        model.load_state_dict(load(content))
    except (SafetensorError, RuntimeError):
        return False
    return True


@contextmanager
def single_thread() -> Iterator[None]:
    """One thread inside: sums then have one order, so bytes do not depend on the number of cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
