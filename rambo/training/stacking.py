"""Many classifiers of one architecture trained at once, for a GPU that a single one leaves idle.

Activations are laid out (images, models·channels, height, width). A classifier's own code then runs unchanged on K
models once its layers hold K weights each: convolutions with a group per model, linear maps as batched products.
Models share no number, so the gradient of the sum of their losses holds each one's own.
"""

import copy
import math
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from functools import cached_property, partial
from itertools import chain, islice

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence
from torch.optim.adam import adam

from rambo.data.pool import HIDDEN
from rambo.errors import require
from rambo.measurement import Measurement
from rambo.randomness import torch_generator
from rambo.training.classifiers import draw_masks, initialise
from rambo.training.learners import next_batch
from rambo.training.network import Network
from rambo.training.trainer import EVALUATION_BATCH, Problem, SetSpec, single_thread

_adam = partial(adam, fused=True, amsgrad=False, maximize=False, beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=0)


def convolve(images: Tensor, weight: Tensor, bias: Tensor | None, stride: int, padding: int) -> Tensor:
    """Images (n, K·C, H, W) by weights (K, out, C, h, w) and biases (K, out): (n, K·out, H', W')."""
    biases = bias if bias is None else bias.flatten()
    return F.conv2d(images, weight.flatten(0, 1), biases, stride, padding, groups=len(weight))


class _Convolution(nn.Module):  # here and below, the values (K, *shape) of K models are set before each pass
    weight: Tensor
    bias: Tensor | None = None

    def __init__(self, layer: nn.Conv2d) -> None:
        super().__init__()
        self._stride, self._padding = layer.stride[0], int(layer.padding[0])

    def forward(self, x: Tensor) -> Tensor:
        return convolve(x, self.weight, self.bias, self._stride, self._padding)


class _Linear(nn.Module):
    weight: Tensor
    bias: Tensor

    def forward(self, x: Tensor) -> Tensor:
        by_model = x.unflatten(1, (len(self.weight), -1)).transpose(0, 1)
        return torch.baddbmm(self.bias.unsqueeze(1), by_model, self.weight.transpose(1, 2)).transpose(0, 1).flatten(1)


class _Norm(nn.Module):
    """BatchNorm in training, over those images of each model that are `real` (n, K), None where all are."""

    weight: Tensor
    bias: Tensor
    running_mean: Tensor
    running_var: Tensor
    real: Tensor | None = None

    def __init__(self, layer: nn.BatchNorm2d) -> None:
        super().__init__()
        self._momentum, self._eps = layer.momentum or 0.0, layer.eps

    def forward(self, x: Tensor) -> Tensor:
        if self.real is not None:
            normalised, mean, var = self._masked(x.unflatten(1, self.weight.shape), self.real)
        else:  # far fewer passes over memory; momentum 1 makes it hand out the statistics of the batch
            mean, var = torch.zeros(2, x.shape[1], device=x.device, dtype=self.running_mean.dtype)
            normalised = F.batch_norm(x, mean, var, self.weight.flatten(), self.bias.flatten(), True, 1.0, self._eps)
        self.running_mean.lerp_(mean.view_as(self.running_mean), self._momentum)
        self.running_var.lerp_(var.view_as(self.running_var), self._momentum)
        return normalised

    def _masked(self, x: Tensor, real: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The same for x (n, K, C, H, W), computed in the precision of the running statistics."""
        wide, keep = x.to(self.running_mean), real[:, :, None, None, None]
        count = (real.sum(0) * x.shape[3] * x.shape[4]).clamp(min=1).unsqueeze(1)
        mean = (wide * keep).sum((0, 3, 4)) / count
        centred = wide - mean[:, :, None, None]
        var = (centred.square() * keep).sum((0, 3, 4)) / count
        scale = self.weight * (var + self._eps).rsqrt()
        normalised = (centred * scale[:, :, None, None] + self.bias[:, :, None, None]).flatten(1, 2).to(x.dtype)
        return normalised, mean.detach(), var.detach() * count / (count - 1).clamp(min=1)


def _stacked(module: nn.Module) -> nn.Module:
    """`module` with every layer that has weights replaced by a stacked one."""
    for name, child in module.named_children():
        setattr(module, name, _stacked(child))
    if isinstance(module, nn.Conv2d):
        return _Convolution(module)
    if isinstance(module, nn.BatchNorm2d):
        return _Norm(module)
    return _Linear() if isinstance(module, nn.Linear) else module


class Layout:
    """Where the named tensors of one model lie in a row of numbers."""

    def __init__(self, tensors: Iterable[tuple[str, Tensor]]) -> None:
        self._tensors = dict(tensors)
        sizes = [tensor.numel() for tensor in self._tensors.values()]
        # each starts at a multiple of 8 numbers: matrix products and Adam can then load 16 bytes at once
        self._widths = list(chain.from_iterable((size, -size % 8) for size in sizes))

    def row(self) -> Tensor:
        """The tensors' present values."""
        row = torch.zeros(1, sum(self._widths))
        for name, view in self.views(row).items():
            view.copy_(self._tensors[name].detach())
        return row[0]

    def views(self, rows: Tensor) -> dict[str, Tensor]:
        """Each tensor's values (K, *shape) in `rows` (K, numbers)."""
        # one split, whose backward is one concatenation; a slice each would fill a whole row with zeros each
        named = zip(self._tensors.items(), rows.split(self._widths, dim=1)[::2], strict=True)
        return {name: piece.view(len(rows), *tensor.shape) for (name, tensor), piece in named}


class Architecture:
    """What the models have in common: how a row of numbers is drawn, and what it computes."""

    def __init__(self, template: Network) -> None:
        self.template = template.eval()
        self._network = _stacked(copy.deepcopy(template))
        self._norms = [module for module in self._network.modules() if isinstance(module, _Norm)]
        self._weights = Layout(template.named_parameters())
        self._statistics = Layout(item for item in template.named_buffers() if item[1].is_floating_point())

    def initial(self, train_seed: int) -> tuple[Tensor, Tensor]:
        """One model's weights, as `Problem.initial` draws them, and running statistics."""
        initialise(self.template, torch_generator(train_seed, "weights"))
        return self._weights.row(), self._statistics.row()

    def values(self, weights: Tensor, statistics: Tensor) -> dict[str, Tensor]:
        """The named values (K, *shape) of K rows."""
        return self._weights.views(weights) | self._statistics.views(statistics)

    def train(self, values: dict[str, Tensor], images: Tensor, masks: Sequence[Tensor], real: Tensor | None) -> Tensor:
        """Logits (n, K, classes) for images (n, K·C, H, W); moves the running statistics among `values`."""
        for name, value in values.items():
            path, _, attribute = name.rpartition(".")
            setattr(self._network.get_submodule(path), attribute, value)
        for norm in self._norms:
            norm.real = real
        logits: Tensor = self._network(images, masks)
        return logits.unflatten(1, (len(values["head.weight"]), -1))

    def release(self) -> None:
        """Let go of the values of the last pass."""
        for module in self._network.modules():
            for name in ("weight", "bias", "running_mean", "running_var", "real"):
                module.__dict__.pop(name, None)


@dataclass
class _Slots:
    """What the device holds; the first axis of each tensor is the slot."""

    numbers: Tensor
    """(K, 3, P) weights and Adam's two moments."""
    steps: Tensor
    statistics: Tensor
    orders: Tensor
    """(K, images) rows of the image table in the order of the epoch."""
    right: Tensor
    """(K,) images of the epoch so far that were predicted right, each before its update."""

    @cached_property
    def rows(self) -> tuple[list[Tensor], ...]:
        """Weights, moments and step count of each slot: to Adam a model is one parameter."""
        numbers = self.numbers.flatten(0, 1).unbind()
        return list(numbers[0::3]), list(numbers[1::3]), list(numbers[2::3]), list(self.steps.unbind())

    def only(self, slots: list[int]) -> "_Slots":
        return _Slots(**{field.name: getattr(self, field.name)[slots] for field in fields(self)})


@dataclass
class _Model:
    """A model in training, as the host knows it; `rows` of the image table are its set."""

    spec: SetSpec
    rows: Tensor
    shuffle: torch.Generator
    dropout: torch.Generator
    start: float
    position: int = 0
    epochs: int = 0


def _ran_out_of_memory(error: RuntimeError) -> bool:
    """Whether a GPU had no room: PyTorch says it by a type, cuBLAS and cuDNN in words."""
    return isinstance(error, torch.OutOfMemoryError) or "ALLOC_FAILED" in str(error)


class StackedTrainer:
    """Trains up to `capacity` classifiers at a time on one device, each as `rambo.training.trainer.Trainer` would.

    `capacity` None: as many as fit into a GPU's free memory. `autocast`: bfloat16 and channels last, for ResNet-18.
    `models`: how those of the user's own compute, where they are.
    """

    def __init__(
        self,
        problem: Problem,
        device: torch.device,
        *,
        capacity: int | None = None,
        dtype: torch.dtype = torch.float32,
        autocast: bool = False,
        models: Architecture | None = None,
    ) -> None:
        require(capacity is None or capacity >= 1, f"The capacity of a stack must be at least 1, got {capacity}.")
        self._problem, self._device, self._dtype, self._autocast = problem, device, dtype, autocast
        self._models = models or Architecture(problem.initial(train_seed=0))
        judged, self._labelled = np.concatenate([problem.validation, problem.test]), problem.labels != HIDDEN
        self._used = np.union1d(np.flatnonzero(self._labelled), judged)
        self._images = problem.tensor(self._used, device).to(dtype)
        self._labels = torch.from_numpy(problem.labels[self._used]).to(device)
        self._judged = torch.from_numpy(np.searchsorted(self._used, judged)).to(device)
        self.capacity = self._affordable() if capacity is None else capacity

    def train(self, specs: Iterable[SetSpec]) -> Iterator[tuple[SetSpec, Measurement]]:
        """Each spec with its utility, as soon as it is known; raises `OutOfMemoryError` if not even one model fits."""
        waiting = iter(specs)
        while True:
            models: dict[int, _Model] = {}
            try:
                yield from self._drain(waiting, models)
                return
            except RuntimeError as error:
                if not _ran_out_of_memory(error):
                    raise
                if self.capacity == 1:
                    rule = f"{self._device} must have room to train one {self._problem.classifier}"
                    raise torch.OutOfMemoryError(f"{rule}, got: {error}; lower training.batch_size.") from error
            # outside the handler, whose traceback keeps the tensors alive
            waiting = chain([model.spec for model in models.values()], waiting)
            self.capacity = max(1, min(self.capacity, len(models)) // 2)
            self._models.release()
            torch.cuda.empty_cache()

    def _drain(self, waiting: Iterator[SetSpec], models: dict[int, _Model]) -> Iterator[tuple[SetSpec, Measurement]]:
        """Train all that is `waiting`; `models` holds by slot, at any time, what was taken and is not measured."""
        models.update((k, self._model(spec)) for k, spec in enumerate(islice(waiting, self.capacity)))
        slots = self._occupied(models) if models else None
        while slots and models:
            self._step(slots, models)
            finished = self._finished(slots, models)
            measured = [self._measure(slots, k, models[k], share=len(models)) for k in finished]
            for k in finished:
                del models[k]
            yield from measured
            entering = {k: self._model(spec) for k, spec in zip(finished, islice(waiting, len(finished)), strict=False)}
            models.update(entering)
            self._enter(slots, entering)
            if len(models) <= len(slots.steps) // 2:
                slots, remaining = slots.only(list(models)), list(models.values())
                models.clear()
                models.update(enumerate(remaining))

    def _model(self, spec: SetSpec) -> _Model:
        require(self._labelled[spec.indices].all(), "A set to train on must be labelled, got a hidden label.")
        shuffle, dropout = (torch_generator(spec.train_seed, name) for name in ("shuffle", "dropout"))
        rows = torch.from_numpy(np.searchsorted(self._used, spec.indices))
        return _Model(spec, rows, shuffle, dropout, time.perf_counter())

    def _upload(self, tensor: Tensor) -> Tensor:
        # without non_blocking a copy waits until the device has done all that was asked of it
        return tensor.to(self._device, non_blocking=True)

    def _occupied(self, models: dict[int, _Model]) -> _Slots:
        """Slots for models that are numbered from 0."""
        weights, statistics = (len(row) for row in self._models.initial(0))
        zeros = partial(torch.zeros, len(models), device=self._device, dtype=self._dtype)
        orders, right = zeros(len(self._labels), dtype=torch.int64), zeros(dtype=torch.int64)
        slots = _Slots(zeros(3, weights), zeros(dtype=torch.float32), zeros(statistics), orders, right)
        self._enter(slots, models)
        return slots

    def _enter(self, slots: _Slots, models: dict[int, _Model]) -> None:
        """Put models into their slots, at their initial weights."""
        for k, model in models.items():
            slots.numbers[k], slots.steps[k] = 0, 0
            weights, statistics = self._models.initial(model.spec.train_seed)
            slots.numbers[k, 0], slots.statistics[k] = self._upload(weights), self._upload(statistics)

    def _step(self, slots: _Slots, models: dict[int, _Model]) -> None:
        """One step of every model on its next batch; those at the start of an epoch are shuffled first."""
        starting = {k: model for k, model in models.items() if model.position == 0}
        if starting:
            shuffled = [m.rows[torch.randperm(len(m.rows), generator=m.shuffle)] for m in starting.values()]
            orders, index = pad_sequence(shuffled, batch_first=True), self._upload(torch.tensor(list(starting)))
            slots.orders[index, : orders.shape[1]], slots.right[index] = self._upload(orders), 0
        size, least = self._problem.training.batch_size, self._models.template.least_batch
        counts = {k: next_batch(len(m.rows) - m.position, size, least) for k, m in models.items()}
        width, num_slots = max(counts.values()), len(slots.steps)
        masks = self._masks(models, counts, (width, num_slots))
        spans = [(models[k].position, counts[k]) if k in models else (0, 0) for k in range(num_slots)]
        positions, sizes = self._upload(torch.tensor(spans)).t()
        places = torch.arange(width, device=self._device).unsqueeze(1)
        # padding repeats an image of the model's own set, which cannot overflow where that does not
        padded = positions + torch.minimum(places, (sizes - 1).clamp(min=0))
        rows = slots.orders.gather(1, padded.t()).t()
        self._learn(slots, rows, masks, places < sizes, ragged=min(counts.values()) < width)
        for k, model in models.items():
            model.position += counts[k]

    def _learn(self, slots: _Slots, rows: Tensor, masks: list[Tensor], real: Tensor, *, ragged: bool) -> None:
        """One Adam step on the images in `rows` (n, K), of which those count that are `real`."""
        images, labels = self._images[rows].flatten(1, 2), self._labels[rows]
        images = images.to(memory_format=torch.channels_last) if self._autocast else images
        with self._precision():
            weights = slots.numbers[:, 0].detach().requires_grad_()
            values = self._models.values(weights, slots.statistics)
            logits = self._models.train(values, images, masks, real if ragged else None)
            losses = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none").view_as(labels)
            (gradient,) = torch.autograd.grad((losses * (real / real.sum(0).clamp(min=1))).sum(), weights)
            own, first, second, steps = slots.rows
            _adam(own, list(gradient.unbind()), first, second, [], steps, lr=self._problem.training.learning_rate)
        slots.right += ((logits.argmax(2) == labels) & real).sum(0)

    def _masks(self, models: dict[int, _Model], counts: dict[int, int], shape: tuple[int, int]) -> list[Tensor]:
        """Dropout masks (n, K·channels, ...), each model's drawn as if it were alone."""
        masks = [torch.zeros(*shape, *site) for site, _ in self._models.template.dropout]
        for k, model in models.items() if masks else ():
            for i, drawn in enumerate(draw_masks(self._models.template, counts[k], model.dropout)):
                masks[i][: counts[k], k] = drawn
        return [self._upload(mask).to(self._dtype).flatten(1, 2) for mask in masks]

    @contextmanager
    def _precision(self) -> Iterator[None]:
        """One CPU thread; on a GPU TF32 matrix products (convolutions use it anyway), and bfloat16 if asked for."""
        before = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("high" if self._device.type == "cuda" else before)
        try:
            with single_thread(), torch.autocast(self._device.type, torch.bfloat16, enabled=self._autocast):
                yield
        finally:
            torch.set_float32_matmul_precision(before)

    def _finished(self, slots: _Slots, models: dict[int, _Model]) -> list[int]:
        """The slots of the models that are at the end of an epoch and stop there."""
        ended = {k: model for k, model in models.items() if model.position == len(model.rows)}
        right = slots.right.tolist() if ended else []  # the only wait for the device besides measuring
        target, max_epochs = self._problem.training.target_accuracy, self._problem.training.max_epochs
        for model in ended.values():
            model.position, model.epochs = 0, model.epochs + 1
        return [k for k, m in ended.items() if right[k] >= target * len(m.rows) or m.epochs == max_epochs]

    def _measure(self, slots: _Slots, k: int, model: _Model, share: int) -> tuple[SetSpec, Measurement]:
        """The spec of the model in slot `k` with its utility; its time was shared by `share` models."""
        stacked = self._models.values(slots.numbers[k : k + 1, 0], slots.statistics[k : k + 1])
        values = {name: value[0] for name, value in stacked.items()}
        chunks = self._judged.split(max(EVALUATION_BATCH, self.capacity * self._problem.training.batch_size))
        with torch.no_grad(), self._precision():
            logits = [functional_call(self._models.template, values, (self._images[rows],)) for rows in chunks]
        correct = (torch.cat(logits).argmax(1) == self._labels[self._judged]).cpu().numpy()
        validation, test = np.split(correct, [len(self._problem.validation)])
        return model.spec, Measurement(
            val_accuracy=float(validation.mean()),
            test_accuracy=float(test.mean()) if len(test) else math.nan,
            val_correct=np.packbits(validation).tobytes(),
            epochs=model.epochs,
            seconds=(time.perf_counter() - model.start) / share,
            device=self._device.type,
            test_correct=np.packbits(test).tobytes(),
        )

    def _affordable(self) -> int:
        """How many models fit into 80 % of the free memory, by a trial step, and at most 512: a GPU is busy by then."""
        labelled = np.flatnonzero(self._labelled)[: self._problem.training.batch_size]
        if self._device.type != "cuda" or len(labelled) == 0:
            return 8
        torch.cuda.reset_peak_memory_stats(self._device)
        before = torch.cuda.memory_allocated(self._device)
        try:
            models = {k: self._model(SetSpec(labelled[k % len(labelled) :], k)) for k in range(4)}
            self._step(self._occupied(models), models)  # sets of unequal size need most
        except RuntimeError as error:
            if not _ran_out_of_memory(error):
                raise
            return 1
        needed = (torch.cuda.max_memory_allocated(self._device) - before) / 4
        torch.cuda.empty_cache()
        return max(1, min(512, int(0.8 * torch.cuda.mem_get_info(self._device)[0] / needed)))
