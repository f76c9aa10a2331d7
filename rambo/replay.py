"""Training of small convolutional nets on one CPU core, as a recorded list of kernel calls.

A step on 64 images of 28x28 is some hundred kernels of a few microseconds each; eager PyTorch spends as long again on
dispatch, autograd, allocation and layouts that suit larger images. `Replay` records the calls of a step once per batch
size, bound to buffers allocated beforehand, and each step calls them again. It computes what autograd and
`torch.optim.Adam` compute for the mean cross-entropy; only sums run in another order.

Layout: activations are (C, H, W, N), the batch innermost, so that every patch of a convolution and every corner of the
pooling windows is made of runs of N adjacent numbers, however small the image.

Ties: of equal values in a pooling window the first in reading order wins, as in `max_pool2d`. Rounding may break a tie
that eager sees, or make one: a fused convolution (`_Conv`) sums equal patches at the four corners of a window in
different orders, and the bias is added after the maximum. The gradient then passes to another corner of that window.
Where the patches are equal, as on blank background, the gradient of the weights does not depend on the winner.

Not for several threads at once. Limit PyTorch to one thread where bits must not depend on the number of cores.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from itertools import count, product
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

FUSE_FROM_KERNEL = 5
"""Smallest kernel that `_Conv` fuses with its pooling: (k+1)²/k² more products, 1.44 at 5 but 1.78 (a loss) at 3."""
PREDICTION_BATCH = 64
"""Images per forward pass in `predict`: with more, what it works on leaves the cache."""

_ADAM = {"beta1": 0.9, "beta2": 0.999, "eps": 1e-8}
_fused_adam: Any = getattr(torch, "_fused_adam_", None)
_relu_backward = torch.ops.aten.threshold_backward.grad_input
Call = Callable[[], object]


def supports(layers: Sequence[nn.Module]) -> bool:
    """Whether `Replay` can train `nn.Sequential(*layers)`.

    It takes any number of Conv2d (square kernel, stride 1, even zero padding, bias), each followed by at most one ReLU
    and one MaxPool2d(2) in either order; Flatten; Linears with bias, each but the last with or without ReLU.
    """
    letters = "".join(map(_letter, layers))
    shared = len(list(nn.Sequential(*layers).parameters())) < 2 * sum(letters.count(kind) for kind in "CL")
    return re.fullmatch("(C(RP?|PR?)?)*F(LR?)*L", letters) is not None and not shared


def _letter(layer: nn.Module) -> str:
    """C, R, P, F or L for a layer that can be replayed, else "?"; a subclass may compute anything."""
    if type(layer) is nn.Conv2d:
        plain = (layer.stride, layer.dilation, layer.groups, layer.padding_mode) == ((1, 1), (1, 1), 1, "zeros")
        square = len({*layer.kernel_size}) == 1 and layer.padding in {(size, size) for size in layer.padding}
        return "C" if plain and square and layer.bias is not None else "?"
    if type(layer) is nn.MaxPool2d:
        halving = {layer.kernel_size, layer.stride} <= {2, (2, 2)} and layer.padding in (0, (0, 0))
        plain = layer.dilation in (1, (1, 1)) and not layer.ceil_mode and not layer.return_indices
        return "P" if halving and plain else "?"
    if type(layer) is nn.Flatten:
        return "F" if (layer.start_dim, layer.end_dim) == (1, -1) else "?"
    if type(layer) is nn.Linear:
        return "L" if layer.bias is not None else "?"
    return "R" if type(layer) is nn.ReLU else "?"


@dataclass(frozen=True, eq=False)
class _Variable:
    """Weights, or an activation with N innermost, and the loss's gradient by it."""

    value: Tensor
    grad: Tensor

    def rows(self, num: int) -> "_Variable":
        """The same memory as matrices of `num` rows."""
        return _Variable(self.value.view(num, -1), self.grad.view(num, -1))


class Replay:
    """Trains models of one architecture, one after another: `load`, `train_epoch` as often as wanted, `save`.

    Results depend on what these were given, to the bit, and not on models trained before. `gradients` are those of the
    last batch, in the order of the parameters.
    """

    @torch.inference_mode()  # 5% of a step on 8x8 images: tensors made in this mode are exempt from autograd's records
    def __init__(
        self,
        layers: Sequence[nn.Module],
        image_shape: tuple[int, int, int],
        *,
        dtype: torch.dtype = torch.float32,
        learning_rate: float,
    ) -> None:
        """Reads kinds and shapes of `layers`, not their weights; raises ValueError where `supports` says no."""
        if not supports(layers):
            raise ValueError(f"layers must be such as `supports` takes, got {list(layers)}.")
        shapes = [parameter.shape for parameter in nn.Sequential(*layers).parameters()]
        self._image_shape, self._dtype = image_shape, dtype
        self._adam = _Adam(sum(map(prod, shapes)), dtype, learning_rate, fused=fused_adam_agrees(dtype))
        self._weights, self.gradients = (_split(flat, shapes) for flat in (self._adam.weights, self._adam.gradient))
        recorded = _build(layers, image_shape, list(map(_Variable, self._weights, self.gradients)))
        self._record, self._programs = partial(_Program, recorded, image_shape, [], dtype), dict[int, _Program]()

    @torch.inference_mode()
    def load(self, parameters: Iterable[Tensor]) -> None:
        """Start a new model from these weights, in the order of `nn.Sequential(*layers).parameters()`."""
        _copy(parameters, self._weights)
        self._adam.reset()

    @torch.inference_mode()
    def save(self, parameters: Iterable[Tensor]) -> None:
        """Write the weights into `parameters`."""
        _copy(self._weights, parameters)

    @torch.inference_mode()
    def train_epoch(self, images: Tensor, labels: Tensor, order: Tensor, batch_size: int) -> int:
        """One step of Adam for each `batch_size` consecutive entries of `order`, the last batch being what remains.

        Takes images (n, C, H, W), labels (n,) and a permutation (n,), both int64. Returns how many images were
        predicted right, each by the weights before its own batch's step.
        """
        self._check(images, batch_size)
        shuffled = images.index_select(0, order).permute(1, 2, 3, 0).contiguous()  # one transposition for all batches
        labels = labels.index_select(0, order)
        one_hot = F.one_hot(labels, len(self._weights[-1])).t().to(images.dtype)  # raises at a foreign label
        logits = torch.empty_like(one_hot)
        for start in range(0, len(order), batch_size):
            batch = slice(start, min(start + batch_size, len(order)))
            program = self._program(batch.stop - start)
            logits[:, batch].copy_(program.predict(shuffled[..., batch]))
            program.learn(one_hot[:, batch])
            self._adam.step()
        return int((logits.argmax(0) == labels).sum())

    def predict(self, images: Tensor, batch_size: int = PREDICTION_BATCH) -> Tensor:
        """Likeliest classes (m,) int64 of images (m, C, H, W)."""
        self._check(images, batch_size)
        classes = torch.empty(len(images), dtype=torch.int64)
        with torch.inference_mode():
            for start in range(0, len(images), batch_size):
                batch = images[start : start + batch_size].permute(1, 2, 3, 0)
                classes[start : start + batch_size] = self._program(batch.shape[-1]).predict(batch).argmax(0)
        return classes

    def _check(self, images: Tensor, batch_size: int) -> None:
        if images.shape[1:] != self._image_shape or images.dtype != self._dtype:
            rule = f"images must be (n, *{self._image_shape}) {self._dtype}"
            raise ValueError(f"{rule}, got {tuple(images.shape)} {images.dtype}.")
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}.")

    def _program(self, num: int) -> "_Program":
        if num > max(self._programs, default=0):  # it outgrows the memory, which programs so far would keep alive
            self._programs.clear()
        if num not in self._programs:
            self._programs[num] = self._record(num)
        return self._programs[num]


class _Program:
    """A step on `num` images: the constructor lets the layers record their calls, then it can be played."""

    def __init__(
        self,
        layers: "list[_Conv | _Dense]",
        image_shape: Sequence[int],
        slots: list[Tensor],
        dtype: torch.dtype,
        num: int,
    ) -> None:
        self.num, self._dtype, self._slots, self._next_slot = num, dtype, slots, count()
        self._forward, self._backward = list[Call](), list[Call]()
        bottom, self._images = self._bordered(image_shape, layers[0].padding)
        top = layers[0].record(self, bottom, None)
        for layer in layers[1:]:
            below = self._pad(top, layer.padding) if layer.padding else top
            top = layer.record(self, below.value, below.grad)
        self._logits, self._one_hot = top.value, self.empty(*layers[-1].output_shape)
        softmax = partial(torch.softmax, top.value, 0, out=top.grad)  # the loss's gradient: (softmax − one_hot) / N
        self.record([], [softmax, partial(top.grad.sub_, self._one_hot), partial(top.grad.mul_, 1 / num)])

    def predict(self, images: Tensor) -> Tensor:
        """Logits (classes, N) of images (C, H, W, N), in a buffer that later calls overwrite."""
        self._images.copy_(images)
        for call in self._forward:
            call()
        return self._logits

    def learn(self, one_hot: Tensor) -> None:
        """Compute the gradients at the images just predicted from their labels (classes, N)."""
        self._one_hot.copy_(one_hot)
        for call in self._backward:
            call()

    def record(self, forward: Sequence[Call], backward: Sequence[Call]) -> None:
        """Append to the way up; the way down takes the records in opposite order."""
        self._forward += forward
        self._backward[:0] = backward

    def record_relu(self, x: _Variable) -> None:
        """In place."""
        self.record([x.value.relu_], [partial(_relu_backward, x.grad, x.value, 0, grad_input=x.grad)])

    def empty(self, *shape: int) -> Tensor:
        """A buffer (*shape, N). It lies in memory that all batch sizes share, lest they drive each other from cache."""
        index, numel = next(self._next_slot), prod(shape) * self.num
        if index == len(self._slots) or len(self._slots[index]) < numel:
            self._slots[index : index + 1] = [torch.empty(numel, dtype=self._dtype)]
        return self._slots[index][:numel].view(*shape, self.num)

    def variable(self, *shape: int) -> _Variable:
        return _Variable(self.empty(*shape), self.empty(*shape))

    def _bordered(self, shape: Sequence[int], border: int) -> tuple[Tensor, Tensor]:
        """Zeros around (C, H, W, N), and the inside. They must stay zero: memory of its own."""
        channels, height, width = shape
        whole = torch.zeros(channels, height + 2 * border, width + 2 * border, self.num, dtype=self._dtype)
        return whole, whole[:, border : border + height, border : border + width]

    def _pad(self, x: _Variable, border: int) -> _Variable:
        (value, value_inside), (grad, grad_inside) = (self._bordered(x.value.shape[:3], border) for _ in range(2))
        self.record([partial(value_inside.copy_, x.value)], [partial(x.grad.copy_, grad_inside)])
        return _Variable(value, grad)


class _Dense:
    """Linear with the ReLU behind it."""

    padding = 0

    def __init__(self, kind: str, weight: _Variable, bias: _Variable) -> None:
        self._relu, self._weight, self._bias, self.output_shape = "R" in kind, weight, bias, bias.value.shape

    def record(self, program: _Program, below: Tensor, grad_below: Tensor | None) -> _Variable:
        weight, bias, top = self._weight, self._bias, program.variable(*self.output_shape)
        inputs = below.view(-1, program.num)
        up = partial(torch.addmm, bias.value.unsqueeze(1), weight.value, inputs, out=top.value)
        down = [
            partial(torch.sum, top.grad, 1, out=bias.grad),
            partial(torch.mm, top.grad, inputs.t(), out=weight.grad),
        ]
        if grad_below is not None:
            down += [partial(torch.mm, weight.value.t(), top.grad, out=grad_below.view(-1, program.num))]
        program.record([up], down)
        if self._relu:
            program.record_relu(top)
        return top


class _Conv:
    """Conv2d with the ReLU and pooling behind it: weights @ patches, a column of patches for each window and image.

    Fused with the pooling, a window is the (k+1)x(k+1) patch under a whole pooling window. The kernel lies in it at
    four shifts, as four blocks of rows, and one product gives the four corners to take the maximum of. It multiplies
    more, by zeros, but copies only (k+1)²/4k² as many numbers into patches.
    """

    def __init__(self, kind: str, weight: _Variable, bias: _Variable, padding: int, below: Sequence[int]) -> None:
        self._weight, self._bias, self.padding = weight, bias, padding
        self._relu, self._pool = "R" in kind, "P" in kind
        self._channels, _, size, _ = weight.value.shape
        height, width = ((side + 2 * padding - size + 1) // (1 + self._pool) for side in below[1:])
        self.output_shape = torch.Size((self._channels, height, width))
        self._stride = 2 if self._pool and size >= FUSE_FROM_KERNEL else 1
        self._window = size + self._stride - 1
        self._matrix, self._shifts = self._widen(size) if self._stride == 2 else (weight.rows(self._channels), [])

    def _widen(self, size: int) -> tuple[_Variable, list[_Variable]]:
        """The fused weights as a matrix, and the kernel's four places in it; the rest stays zero."""
        shape = 2, 2, *self._weight.value.shape[:2], self._window, self._window
        whole = _Variable(*torch.zeros(2, *shape, dtype=self._weight.value.dtype))
        places = [(i, j, ..., slice(i, i + size), slice(j, j + size)) for i, j in product(range(2), repeat=2)]
        return whole.rows(4 * self._channels), [_Variable(whole.value[at], whole.grad[at]) for at in places]

    def record(self, program: _Program, below: Tensor, grad_below: Tensor | None) -> _Variable:
        products = self._record_products(program, below, grad_below)
        top = self._record_maximum(program, products) if self._pool else products
        rows = top.rows(self._channels)
        add_bias = partial(rows.value.add_, self._bias.value.unsqueeze(1))
        program.record([add_bias], [partial(torch.sum, rows.grad, 1, out=self._bias.grad)])
        if self._relu:
            program.record_relu(rows)
        return top

    def _record_products(self, program: _Program, below: Tensor, grad_below: Tensor | None) -> _Variable:
        """(stride² C, height, width, N) without the odd last row and column that pooling drops."""
        window, step, weight, matrix = self._window, self._stride, self._weight, self._matrix
        height, width = (side * (1 + self._pool) // step for side in self.output_shape[1:])
        patches = below.unfold(1, window, step).unfold(2, window, step)[:, :height, :width].permute(0, 4, 5, 1, 2, 3)
        columns = program.empty(*patches.shape[:-1])
        flat = columns.view(-1, height * width * program.num)
        value = program.empty(len(matrix.value), height, width)
        # The maximum keeps what it needs of the products, so that their gradient can take their place.
        products = _Variable(value, value if self._pool else program.empty(*value.shape[:-1]))
        rows = products.rows(len(matrix.value))
        up: list[Call] = [partial(shift.value.copy_, weight.value) for shift in self._shifts]
        up += [partial(columns.copy_, patches), partial(torch.mm, matrix.value, flat, out=rows.value)]
        down: list[Call] = [partial(torch.mm, rows.grad, flat.t(), out=matrix.grad)]
        if self._shifts:
            down += [weight.grad.zero_, *(partial(weight.grad.add_, shift.grad) for shift in self._shifts)]
        if grad_below is not None:  # the columns' gradient takes their place as well
            down += [partial(torch.mm, matrix.value.t(), rows.grad, out=flat), grad_below.zero_]
            for i, j in product(range(window), repeat=2):
                seen = grad_below[:, i : i + step * height : step, j : j + step * width : step]
                down += [partial(seen.add_, columns[:, i, j])]
        program.record(up, down)
        return products

    def _record_maximum(self, program: _Program, products: _Variable) -> _Variable:
        """The maximum in each row of a pooling window, then of its two rows; masks are floats, to multiply by."""
        channels, height, width = self.output_shape
        if self._stride == 2:
            corners = products.value.view(2, 2, channels, height, width, -1)
        else:
            corners = products.value.view(channels, height, 2, width, 2, -1).permute(2, 4, 0, 1, 3, 5)
        left, right = corners.unbind(1)
        rows, right_wins = program.empty(2, *self.output_shape), program.empty(2, *self.output_shape)
        top, lower_wins = program.variable(*self.output_shape), program.empty(*self.output_shape)
        upper, lower = rows
        up = [
            partial(torch.maximum, left, right, out=rows),
            partial(torch.gt, right, left, out=right_wins),  # not "≥": the first of equals wins
            partial(torch.maximum, upper, lower, out=top.value),
            partial(torch.gt, lower, upper, out=lower_wins),
        ]
        down = [
            partial(torch.mul, top.grad, lower_wins, out=lower),
            partial(torch.sub, top.grad, lower, out=upper),
            partial(torch.mul, rows, right_wins, out=right),
            partial(torch.sub, rows, right, out=left),
        ]
        program.record(up, down)
        return top


def _build(layers: Sequence[nn.Module], image_shape: Sequence[int], variables: list[_Variable]) -> list[_Conv | _Dense]:
    built, shape = list[_Conv | _Dense](), image_shape
    for found in re.finditer("C[RP]*|LR?", "".join(map(_letter, layers))):
        first, (weight, bias, *variables) = layers[found.start()], variables
        inputs = shape[0] if isinstance(first, nn.Conv2d) else prod(shape)
        if weight.value.shape[1] != inputs or min(shape) < 1:
            raise ValueError(f"image_shape must suit the layers, got {image_shape}, which leaves {shape} for {first}.")
        if isinstance(first, nn.Conv2d):
            built.append(_Conv(found[0], weight, bias, int(first.padding[0]), shape))
        else:
            built.append(_Dense(found[0], weight, bias))
        shape = built[-1].output_shape
    return built


class _Adam:
    """Adam on one flat vector: one kernel call a step instead of one for each tensor."""

    def __init__(self, size: int, dtype: torch.dtype, learning_rate: float, *, fused: bool) -> None:
        self.weights, self.gradient, self._mean, self._square = torch.zeros(4, size, dtype=dtype)
        self._count, self._rates = torch.zeros(()), {"lr": learning_rate, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8}
        self.weights.grad = self.gradient
        self._public = torch.optim.Adam([self.weights], learning_rate)
        self.step: Call = self._fused_step if fused else self._public.step

    def reset(self) -> None:
        for state in (self._mean, self._square, self._count):
            state.zero_()
        self._public.state.clear()

    def _fused_step(self) -> None:
        tensors = [[x] for x in (self.weights, self.gradient, self._mean, self._square)]
        fixed = {"weight_decay": 0.0, "amsgrad": False, "maximize": False}
        _fused_adam(*tensors, [], [self._count.add_(1)], **self._rates, **fixed)


@cache
def fused_adam_agrees(dtype: torch.dtype) -> bool:
    """Whether PyTorch's fused kernel, which is private and may change, does what its public optimiser does."""
    fused, public = (_Adam(3, dtype, 0.1, fused=choice) for choice in (True, False))
    for adam in (fused, public) * 3:
        adam.gradient.add_(torch.tensor([-2.0, 0.1, 1.0]))
        try:
            adam.step()
        except (TypeError, RuntimeError):
            return False
    return torch.allclose(fused.weights, public.weights, rtol=1e-5)


def _split(flat: Tensor, shapes: Sequence[torch.Size]) -> list[Tensor]:
    return [part.view(shape) for part, shape in zip(flat.split([*map(prod, shapes)]), shapes, strict=True)]


def _copy(sources: Iterable[Tensor], targets: Iterable[Tensor]) -> None:
    for source, target in zip(sources, targets, strict=True):
        if source.shape != target.shape:  # copy_ would broadcast
            raise ValueError(f"parameters must have the layers' shapes, got {source.shape} and {target.shape}.")
        target.copy_(source)
