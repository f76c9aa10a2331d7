"""Classifiers of the user's own, many at once: their code runs unchanged under `torch.func.vmap`.

Whether it can is tried, on a CPU and on five images: a stack of two must compute what each of the two computes alone.
What draws in training cannot, since each training has draws of its own, nor what vmap refuses, such as a choice of path
by the values of activations; these are trained one by one.
"""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from rambo.formats import first_line
from rambo.own import Pinned
from rambo.progress import Progress
from rambo.randomness import torch_generator
from rambo.training.network import Network
from rambo.training.own_classifier import CPU, drawing_from
from rambo.training.stacking import Architecture, Layout
from rambo.training.trainer import Problem, single_thread

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)

TRIED = 3
"""Images of the largest model of the stack that is tried."""


class OwnArchitecture(Architecture):
    """One whose layers are not known: the user's module, once, with the values of K models."""

    def __init__(self, problem: Problem, device: torch.device) -> None:
        self._problem = problem
        self.template = problem.initial(train_seed=0).eval().to(device)
        self._weights, self._statistics = _layouts(self.template)
        self._network = problem.initial(train_seed=0).to(device)
        self._own_norms = _normalise_real_images(self._network)
        self._network.train()

    def initial(self, train_seed: int) -> tuple[Tensor, Tensor]:
        """One model's weights, and what of it is not trained."""
        weights, statistics = _layouts(self._problem.initial(train_seed))
        return weights.row(), statistics.row()

    def train(self, values: dict[str, Tensor], images: Tensor, masks: Sequence[Tensor], real: Tensor | None) -> Tensor:
        """Logits (n, K, classes) for images (n, K·C, …); moves the running statistics among `values`."""
        num_models = len(next(iter(values.values())))
        by_model = images.unflatten(1, (num_models, -1)).transpose(0, 1)
        counted = torch.ones(by_model.shape[:2], device=images.device) if real is None else real.t()
        logits, moved = vmap(self._one, randomness="error")(values, by_model, counted.to(by_model))
        for name, value in moved.items():
            values[name].copy_(value.detach())
        return logits.transpose(0, 1)

    def release(self) -> None:
        """Nothing of a pass is kept."""

    def _one(self, values: dict[str, Tensor], images: Tensor, real: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Logits (n, classes) of one model, and its running statistics after the step."""
        for norm in self._own_norms.values():
            norm.real = real
        logits: Tensor = functional_call(self._network, values, (images,))
        moved: dict[str, Tensor] = {}
        for path, norm in self._own_norms.items():
            moved |= {f"{path}.{name}": value for name, value in norm.moved.items()}
            norm.real, norm.moved = None, {}
        return logits, moved


class _Norm(nn.Module):
    """BatchNorm in training over those images (n, C, …) that are `real` (n,), 0 or 1; hands out its statistics."""

    def __init__(self, norm: nn.modules.batchnorm._BatchNorm) -> None:
        super().__init__()
        self.weight, self.bias = norm.weight, norm.bias
        self.register_buffer("running_mean", norm.running_mean)
        self.register_buffer("running_var", norm.running_var)
        self._momentum, self._eps = norm.momentum or 0.0, norm.eps
        self.real: Tensor | None = None
        self.moved: dict[str, Tensor] = {}

    def forward(self, x: Tensor) -> Tensor:
        assert self.real is not None
        axes, shape = [0, *range(2, x.dim())], (1, -1, *[1] * (x.dim() - 2))
        keep = self.real.view(-1, *[1] * (x.dim() - 1))
        count = self.real.sum() * x[0, 0].numel()
        mean = (x * keep).sum(axes) / count
        centred = x - mean.view(shape)
        var = (centred.square() * keep).sum(axes) / count
        unbiased = var * count / (count - 1).clamp(min=1)
        for name, value in (("running_mean", mean), ("running_var", unbiased)):
            before = getattr(self, name)
            if before is not None:
                self.moved[name] = before + self._momentum * (value.detach() - before)
        normalised = centred * (var + self._eps).rsqrt().view(shape)
        return normalised if self.weight is None else normalised * self.weight.view(shape) + self.bias.view(shape)


def _normalise_real_images(module: nn.Module, path: str = "") -> dict[str, _Norm]:
    """Put a `_Norm` in the place of each BatchNorm below `module`; by the path of each."""
    found: dict[str, _Norm] = {}
    for name, child in module.named_children():
        below = f"{path}.{name}" if path else name
        if isinstance(child, NORMS) and type(child) in NORMS and child.momentum is not None:
            norm = _Norm(child)
            setattr(module, name, norm)
            found[below] = norm
        else:
            found |= _normalise_real_images(child, below)
    return found


def _layouts(network: Network) -> tuple[Layout, Layout]:
    """What is trained, and what is not: weights without a gradient and buffers of floats."""
    weights = list(network.named_parameters())
    buffers = [item for item in network.named_buffers() if item[1].is_floating_point()]
    trained, fixed = ([item for item in weights if item[1].requires_grad is wanted] for wanted in (True, False))
    return Layout(trained), Layout([*fixed, *buffers])


def why_not_stacked(problem: Problem) -> str | None:
    """Why the user's own classifier cannot be trained in stacks, in a few words; None where it can."""
    own, shape = problem.own, tuple(int(size) for size in problem.images.shape[1:])
    if own is None:
        return None
    if (own, shape, problem.num_classes) not in _reasons:
        try:
            with single_thread():
                _reasons[own, shape, problem.num_classes] = _difference(problem, shape)
        except Exception as error:  # whatever vmap says of a module of the user's
            _reasons[own, shape, problem.num_classes] = (
                f"{type(error).__name__}: {first_line(error).partition('. ')[0]}"
            )
    return _reasons[own, shape, problem.num_classes]


_reasons: dict[tuple[Pinned, tuple[int, ...], int], str | None] = {}


def say_how_trained(problems: Iterable[Problem], progress: Progress) -> None:
    """Say once of each classifier of the user's own whether a GPU trains it in stacks, and if not, why."""
    for problem in problems:
        if problem.own is not None and problem.own not in _said:
            _said.add(problem.own)
            reason = why_not_stacked(problem)
            how = "in stacks" if reason is None else f"one by one, since it cannot be stacked ({reason})"
            progress.say(f"{problem.own.own} is trained {how}")


_said: set[Pinned] = set()
"""Those of which this process has told."""


def _difference(problem: Problem, input_shape: tuple[int, ...]) -> str | None:
    """Where a step of two models in a stack, of which one has an image less, is not the step of each alone."""
    models = OwnArchitecture(problem, CPU)
    sizes = (TRIED, TRIED - 1)
    images = torch.randn(TRIED, 2, *input_shape, generator=torch_generator(0, "tried images"))
    images[-1, 1] = images[0, 1]
    real = torch.tensor([[place < size for size in sizes] for place in range(TRIED)])
    weights, statistics = (torch.stack(rows) for rows in zip(*(models.initial(seed) for seed in (0, 1)), strict=True))
    values = models.values(weights, statistics)
    with drawing_from(0), torch.no_grad():
        stacked = models.train(values, images.flatten(1, 2), (), real)
        for k, size in enumerate(sizes):
            alone = problem.initial(train_seed=k).train()
            if not _close(alone(images[:size, k]), stacked[:size, k]):
                return "its logits are others in a stack"
            state = {name: value for name, value in alone.state_dict().items() if name in values}
            if not all(_close(value, values[name][k]) for name, value in state.items()):
                return "its running statistics are others in a stack"
    return None


def _close(first: Tensor, second: Tensor) -> bool:
    return torch.allclose(first, second, rtol=1e-4, atol=1e-5)
