"""Training of small nets on one CPU core, as a recorded list of kernel calls.

A step of LeNet-5 on 64 images of 28x28 is a hundred kernels of some 30 µs each; eager PyTorch takes as long again for
dispatch, autograd, allocation and layouts that suit larger images. `Replay` records the calls of a step once per batch
size, on buffers allocated beforehand, and each step calls them again. It computes what autograd and `torch.optim.Adam`
compute for the mean cross-entropy; only sums run in another order. Activations are (C, H, W, N), the batch innermost:
patches and the corners of pooling windows are then runs of N adjacent numbers, however small the image.

Ties: of equal values in a pooling window the first in reading order wins, as in `max_pool2d`. Rounding may break a tie
that eager sees, or make one: a fused convolution (`_convolve`) sums equal patches at the four corners of a window in
different orders, and the bias is added after the maximum. The gradient then passes to another corner of that window;
where the patches there are equal, as on blank background, the gradient of the weights is the same.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import cache, partial
from itertools import count, product
from math import prod
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

FUSE_FROM_KERNEL = 5  # (k+1)²/k² as many products pay at 5x5 (1.44), not at 3x3 (1.78): see `_convolve`
PREDICTION_BATCH = 64  # with more images at once, what `predict` works on leaves the cache

Call = Callable[[], object]
Layers = Sequence[nn.Module]
Shape = tuple[int, ...]
_relu_backward = torch.ops.aten.threshold_backward.grad_input
_fused_adam: Any = getattr(torch, "_fused_adam_", None)


def supports(layers: Layers) -> bool:
    """Whether `Replay` can train `nn.Sequential(*layers)`.

    It takes any number of Conv2d (square kernel, stride 1, even zero padding, bias), each followed by at most one ReLU
    and one MaxPool2d(2) in either order; Flatten; Linears with bias, each but the last with or without ReLU.
    """
    letters = "".join(map(_letter, layers))
    shared = len(list(nn.Sequential(*layers).parameters())) < 2 * (letters.count("C") + letters.count("L"))
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


class Replay:
    """Trains models of one architecture, one after another: `load`, `train_epoch` as often as wanted, `save`.

    Results depend on what these were given, to the bit (and on the number of PyTorch's threads), not on models trained
    before. `gradients` are those of the last batch, in the order of the parameters. Not for several threads at once.
    """

    @torch.inference_mode()  # autograd keeps no books on tensors made in this mode: 5% of a step on 8x8 images
    def __init__(
        self, layers: Layers, image_shape: Shape, *, dtype: torch.dtype = torch.float32, learning_rate: float
    ) -> None:
        """Reads kinds and shapes of `layers`, not their weights; raises ValueError where `supports` says no."""
        if not supports(layers):
            raise ValueError(f"layers must be such as `supports` takes, got {list(layers)}.")
        parameters = list(nn.Sequential(*layers).parameters())
        sizes = [parameter.numel() for parameter in parameters]
        self._adam = _Adam(sum(sizes), dtype, learning_rate, fused_adam_agrees(dtype))
        flats = self._adam.weights, self._adam.gradient
        self._weights, self.gradients = ([*map(Tensor.view_as, flat.split(sizes), parameters)] for flat in flats)
        self._blocks = list(_blocks(layers, image_shape, map(_Variable, self._weights, self.gradients)))
        self._slots, self._programs = list[Tensor](), dict[int, _Program]()

    @torch.inference_mode()
    def load(self, parameters: Iterable[Tensor]) -> None:
        """Start a new model from these weights, in the order of `nn.Sequential(*layers).parameters()`."""
        for weight, parameter in zip(self._weights, parameters, strict=True):
            weight.copy_(parameter.view_as(weight))
        self._adam.reset()

    @torch.inference_mode()
    def save(self, parameters: Iterable[Tensor]) -> None:
        """Write the weights into `parameters`."""
        for weight, parameter in zip(self._weights, parameters, strict=True):
            parameter.copy_(weight.view_as(parameter))

    @torch.inference_mode()
    def train_epoch(self, images: Tensor, labels: Tensor, order: Tensor, batch_size: int) -> int:
        """One step of Adam for each `batch_size` consecutive entries of `order`, the last batch being what remains.

        Takes images (n, C, H, W) or rows (n, d), labels (n,) and a permutation (n,), both int64. Returns how many were
        predicted right, each by the weights before its own batch's step.
        """
        shuffled = images.index_select(0, order).movedim(0, -1).contiguous()  # one transposition for all batches
        labels = labels.index_select(0, order)
        one_hot = F.one_hot(labels, len(self._weights[-1])).t().to(images.dtype)  # raises at a label without logit
        logits = torch.empty_like(one_hot)
        batches = [x.split(batch_size, dim=-1) for x in (shuffled, one_hot, logits)]
        for images_part, one_hot_part, logits_part in zip(*batches, strict=True):
            program = self._program(images_part.shape[-1])
            logits_part.copy_(program.predict(images_part))
            program.learn(one_hot_part)
            self._adam.step()
        return int((logits.argmax(0) == labels).sum())

    def predict(self, images: Tensor, batch_size: int = PREDICTION_BATCH) -> Tensor:
        """Likeliest classes (m,) int64 of one or more images (m, C, H, W) or rows (m, d)."""
        with torch.inference_mode():
            batches = images.movedim(0, -1).split(batch_size, dim=-1)
            classes = [self._program(batch.shape[-1]).predict(batch).argmax(0) for batch in batches]
        return torch.cat(classes)  # outside: the caller shall have an ordinary tensor

    def _program(self, num: int) -> "_Program":
        if num > max(self._programs, default=0):  # it outgrows the slots, which programs so far would keep alive
            self._programs.clear()
        if num not in self._programs:
            self._programs[num] = _Program(self._blocks, num, self._slots)
        return self._programs[num]


class _Variable(NamedTuple):
    """Weights, or an activation with N innermost, and the loss's gradient by it."""

    value: Tensor
    grad: Tensor


class _Block(NamedTuple):
    """A convolution with the ReLU and pooling behind it, in whichever order, or a Linear with its ReLU."""

    letters: str
    weight: _Variable
    bias: _Variable
    padding: int
    input_shape: Shape

    @property
    def output_shape(self) -> Shape:
        channels, _, *sizes = self.weight.value.shape
        sides = (side + 2 * self.padding - size + 1 for side, size in zip(self.input_shape[1:], sizes, strict=False))
        return channels, *(side // 2 if "P" in self.letters else side for side in sides)


def _blocks(layers: Layers, image_shape: Shape, variables: Iterator[_Variable]) -> Iterator[_Block]:
    shape = image_shape
    for found in re.finditer("C[RP]*|LR?", "".join(map(_letter, layers))):
        layer, weight, bias = layers[found.start()], next(variables), next(variables)
        padding, num_inputs = (int(layer.padding[0]), shape[0]) if isinstance(layer, nn.Conv2d) else (0, prod(shape))
        if weight.value.shape[1] != num_inputs or min(shape) < 1:
            raise ValueError(f"image_shape must suit the layers, got {image_shape}, which leaves {shape} for {layer}.")
        block = _Block(found[0], weight, bias, padding, shape)
        yield block
        shape = block.output_shape


class _Program:
    """A step on `num` images: recorded by the constructor, then played."""

    def __init__(self, blocks: Sequence[_Block], num: int, slots: list[Tensor]) -> None:
        self._num, self._dtype, self._slots, self._next_slot = num, blocks[0].weight.value.dtype, slots, count()
        self._forward, self._backward = list[Call](), list[Call]()
        self._bottom, images = self._bordered(blocks[0])
        top = self._stack(blocks[0], self._bottom)
        for block in blocks[1:]:
            top = self._stack(block, self._pad(top, block) if block.padding else top)
        self._images, self._logits, self._one_hot = images.value, top.value, self._empty(*blocks[-1].output_shape)
        softmax = partial(torch.softmax, top.value, 0, out=top.grad)  # the loss's gradient: (softmax − one_hot) / N
        self._record([], [softmax, partial(top.grad.sub_, self._one_hot), partial(top.grad.mul_, 1 / num)])

    def predict(self, images: Tensor) -> Tensor:
        """Logits (classes, N) of images (C, H, W, N), in a buffer that later calls overwrite."""
        if images.shape != self._images.shape:  # copy_ would broadcast
            wanted, got = (tuple(one.shape[:-1]) for one in (self._images, images))
            raise ValueError(f"images must be of shape {wanted}, got {got}.")
        self._images.copy_(images)
        for call in self._forward:
            call()
        return self._logits

    def learn(self, one_hot: Tensor) -> None:
        """Compute the gradients at the images just predicted from their labels (classes, N)."""
        self._one_hot.copy_(one_hot)
        for call in self._backward:
            call()

    def _record(self, forward: Sequence[Call], backward: Sequence[Call]) -> None:
        """Append to the way up; the way down takes the records in opposite order."""
        self._forward += forward
        self._backward[:0] = backward

    def _empty(self, *shape: int) -> Tensor:
        """A buffer (*shape, N), in memory that all batch sizes share, lest they drive each other out of the cache."""
        index, numel = next(self._next_slot), prod(shape) * self._num
        if index == len(self._slots) or len(self._slots[index]) < numel:
            self._slots[index : index + 1] = [torch.empty(numel, dtype=self._dtype)]
        return self._slots[index][:numel].view(*shape, self._num)

    def _bordered(self, block: _Block) -> tuple[_Variable, _Variable]:
        """The input with its border of zeros, and without; they must stay zeros, so the memory is not shared."""
        border, (channels, *sides) = block.padding, block.input_shape
        whole = torch.zeros(2, channels, *(side + 2 * border for side in sides), self._num, dtype=self._dtype)
        inside = (slice(None), slice(None), *(slice(border, border + side) for side in sides))
        return _Variable(*whole), _Variable(*whole[inside])

    def _pad(self, x: _Variable, block: _Block) -> _Variable:
        whole, inside = self._bordered(block)
        self._record([partial(inside.value.copy_, x.value)], [partial(x.grad.copy_, inside.grad)])
        return whole

    def _stack(self, block: _Block, below: _Variable) -> _Variable:
        """Put `block` on its input, which has its border."""
        if "C" in block.letters:
            top = self._convolve(block, below)
        else:
            top = _Variable(self._empty(*block.output_shape), self._empty(*block.output_shape))
            self._multiply(block.weight, below, top, below is self._bottom)
        value, grad = (x.view(len(block.bias.value), -1) for x in top)
        bias, grad_bias = block.bias
        self._record([partial(value.add_, bias.unsqueeze(1))], [partial(torch.sum, grad, 1, out=grad_bias)])
        if "R" in block.letters:
            self._record([value.relu_], [partial(_relu_backward, grad, value, 0, grad_input=grad)])
        return top

    def _multiply(self, weight: _Variable, inputs: _Variable, products: _Variable, bottom: bool) -> None:
        """products = weight @ inputs, each seen as a matrix; `bottom`: nobody needs the gradient by the inputs."""
        num_rows, num_inputs = len(weight.value), weight.value[0].numel()
        (a, grad_a), (y, grad_y) = ((part.view(num_rows, -1) for part in pair) for pair in (weight, products))
        x, grad_x = (part.view(num_inputs, -1) for part in inputs)
        down = [partial(torch.mm, grad_y, x.t(), out=grad_a)]
        if not bottom:
            down += [partial(torch.mm, a.t(), grad_y, out=grad_x)]
        self._record([partial(torch.mm, a, x, out=y)], down)

    def _convolve(self, block: _Block, below: _Variable) -> _Variable:
        """Weights times patches, with a column of patches for each window and image, and the pooling.

        Fused with the pooling, a window is the (k+1)x(k+1) patch under a whole pooling window. The kernel lies in it at
        four shifts, as four blocks of rows, and one product gives the four corners to take the maximum of. It
        multiplies more, by zeros, but copies only (k+1)²/4k² as many numbers into patches.
        """
        size, pool, bottom = block.weight.value.shape[-1], "P" in block.letters, below is self._bottom
        step = 2 if pool and size >= FUSE_FROM_KERNEL else 1
        weight, window = self._widen(block.weight) if step == 2 else block.weight, size + step - 1
        height, width = (side * (1 + pool) // step for side in block.output_shape[1:])  # no odd side if it is pooled
        views = (x.unfold(1, window, step).unfold(2, window, step)[:, :height, :width] for x in below)
        patches, grad_patches = (x.permute(0, 4, 5, 1, 2, 3) for x in views)  # (C, window, window, height, width, N)
        columns, places = self._empty(*patches.shape[:-1]), product(range(window), repeat=2)
        scatter: list[Call] = [partial(grad_patches[:, i, j].add_, columns[:, i, j]) for i, j in places]
        self._record([partial(columns.copy_, patches)], [] if bottom else [below.grad.zero_, *scatter])
        value = self._empty(len(weight.value), height, width)
        # Gradients take the place of what has served: of the columns, and of products that were pooled.
        products = _Variable(value, value if pool else self._empty(len(weight.value), height, width))
        self._multiply(weight, _Variable(columns, columns), products, bottom)
        return self._maximum(value, block.output_shape, fused=step == 2) if pool else products

    def _widen(self, weight: _Variable) -> _Variable:
        """The fused weights (4 C, channels below, k+1, k+1), zero but for the kernel at its four places."""
        channels, num_inputs, size, _ = weight.value.shape
        value, grad = torch.zeros(2, 2, 2, channels, num_inputs, size + 1, size + 1, dtype=self._dtype)
        places = [(i, j, ..., slice(i, i + size), slice(j, j + size)) for i, j in product(range(2), repeat=2)]
        collect: list[Call] = [partial(weight.grad.add_, grad[place]) for place in places]
        self._record([partial(value[place].copy_, weight.value) for place in places], [weight.grad.zero_, *collect])
        return _Variable(value.flatten(0, 2), grad.flatten(0, 2))

    def _maximum(self, products: Tensor, shape: Shape, *, fused: bool) -> _Variable:
        """The maximum in each row of a pooling window, then of its two rows; masks are floats, to multiply by."""
        channels, height, width = shape
        unfused = channels, height, 2, width, 2, self._num
        corners = products.view(2, 2, *shape, -1) if fused else products.view(unfused).permute(2, 4, 0, 1, 3, 5)
        left, right = corners.unbind(1)
        rows, right_wins, lower_wins = self._empty(2, *shape), self._empty(2, *shape), self._empty(*shape)
        (upper, lower), top = rows, _Variable(self._empty(*shape), self._empty(*shape))
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
        self._record(up, down)
        return top


class _Adam:
    """Adam on one flat vector: one kernel call a step instead of one for each tensor.

    Not by way of `torch.optim`, whose first optimiser imports PyTorch's compiler: 1.5 s in each process.
    """

    def __init__(self, size: int, dtype: torch.dtype, learning_rate: float, fused: bool) -> None:
        self._state, self._count = torch.zeros(4, size, dtype=dtype), torch.zeros(())
        self.weights, self.gradient, *self._moments = self._state
        self._lists = [[row] for row in self._state]
        self._options = {"lr": learning_rate, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0.0}
        self._fused = fused  # no bound method, a cycle that would keep these tensors until garbage is collected

    def step(self) -> None:
        if self._fused:
            _fused_adam(*self._lists, [], [self._count.add_(1)], **self._options, amsgrad=False, maximize=False)
        else:
            self._plain_step()

    def reset(self) -> None:
        self._state[2:].zero_()
        self._count.zero_()

    def _plain_step(self) -> None:
        """Algorithm 1 of Kingma and Ba, *Adam*."""
        first, second = self._moments
        beta1, beta2, count = self._options["beta1"], self._options["beta2"], self._count.add_(1).item()
        first.lerp_(self.gradient, 1 - beta1)
        second.lerp_(self.gradient.square(), 1 - beta2)
        deviation = (second / (1 - beta2**count)).sqrt_().add_(self._options["eps"])
        self.weights.addcdiv_(first, deviation, value=-self._options["lr"] / (1 - beta1**count))


@cache
def fused_adam_agrees(dtype: torch.dtype) -> bool:
    """Whether PyTorch's fused kernel, which is private and may change, does what Adam is."""
    fused, plain = (_Adam(3, dtype, 0.1, choice) for choice in (True, False))
    with suppress(TypeError, RuntimeError):
        for adam in (fused, plain) * 3:
            adam.gradient.add_(torch.tensor([-2.0, 0.1, 1.0]))
            adam.step()
        return torch.allclose(fused.weights, plain.weights, rtol=1e-5)
    return False
