"""Multinomial logistic regression of many sets at once: Newton's method, each step by a few conjugate gradients.

Of a set ξ of inputs x (d numbers and a 1, which carries the bias) with labels y, the weights W (classes, d + 1) are
those of the least

    L(W) = Σ_{(x, y) ∈ ξ} −log softmax(W x)_y + ‖W‖² / (2 C),    C = 1,

what scikit-learn calls `LogisticRegression(C=1)`, but that the bias is penalised like all weights: L is then strongly
convex, and a class that a set lacks has a finite bias. There is one minimum, and no chance in how it is found.

All sets of a stack take their steps side by side, in batched products. The i-th step takes i conjugate gradients of
every set, and how many zeros a set is filled up with follows from its own size, so on a CPU its weights are the same to
the bit in whatever company it is solved. Where products of a stack depend on its size, as they may on a GPU, weights
differ by what the tolerance leaves open. (Tried and left out: preconditioners by the blocks of the classes or by their
mean, which cost what they spare; L-BFGS, which took twice as many products; one product over the union of all sets,
slower where the union is twice a set, and another sum for each union.)
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

LOGISTIC_VERSION = 1
"""Raise by hand when another minimum is looked for, or another tolerance ends the search. Part of every key."""

_softmax_backward = torch.ops.aten._softmax_backward_data
"""(t, p) to p (t − Σ_c p_c t_c), what the Hessian does to logits, in one pass over memory."""

INVERSE_PENALTY = 1.0
"""C."""

TOLERANCE = 1e-4
"""A search ends where the gradient's norm has fallen to this share of what it is at W = 0; scikit-learn's ends at some
2e-4 by default."""

TINY = torch.finfo(torch.float32).tiny

MOST_STEPS = 1000
"""Newton steps of a search; 8 are usual."""

LEAST_DECREASE = 1e-4
"""Share of the decrease which a step promises by its slope that it must keep (Armijo), else it is halved."""

ROUNDING = 1e-6
"""Share of a loss that rounding may add to it."""

FILLED_TO = 8
"""Sets and inputs are filled up with zeros to multiples of it: each matrix of a batch then begins alike in memory."""

STACKED_VALUES = {"cpu": 2**19, "cuda": 2**27}
"""Inputs, in single precision, that a stack holds: on a CPU what stays in its cache."""


def minimise(
    inputs: Float[Tensor, "m d"], labels: Int[Tensor, " m"], sets: Sequence[Int[Tensor, " _"]], num_classes: int
) -> Float[Tensor, "s classes d_and_1"]:
    """W of s sets, each of which names rows of `inputs`; the last column is the bias.

    Raises `ArithmeticError` where a search does not end, which no finite inputs are known to cause.
    """
    num_rows, width = inputs.shape
    ones = inputs.new_ones(num_rows, 1)
    table = F.pad(torch.cat([inputs, ones], dim=1), (0, _filled(width + 1) - width - 1, 0, 1))
    truth = F.pad(F.one_hot(labels, num_classes).to(inputs), (0, 0, 0, 1))
    found = inputs.new_zeros(len(sets), num_classes, width + 1)
    for size, places in _stacks([len(rows) for rows in sets], table):
        rows = pad_sequence([sets[place] for place in places], batch_first=True, padding_value=num_rows)
        rows = F.pad(rows, (0, size - rows.shape[1]), value=num_rows)  # of the last row, which is zero
        solved = _solve(table[rows].mT.contiguous(), truth[rows].mT.contiguous())
        found[places] = solved[:, :, : width + 1]
    return found


def classes_of(weights: Float[Tensor, "classes d_and_1"], inputs: Float[Tensor, "n d"]) -> Int[Tensor, " n"]:
    """The likeliest class of each row."""
    return torch.addmm(weights[:, -1], inputs, weights[:, :-1].T).argmax(1)


def _stacks(sizes: Sequence[int], table: Tensor) -> Iterator[tuple[int, list[int]]]:
    """Sets that are solved together, by their places: those that are filled up to one size, which is named."""
    by_size: dict[int, list[int]] = {}
    for place, size in enumerate(sizes):
        by_size.setdefault(_filled(size), []).append(place)
    for size, places in by_size.items():
        number = max(1, STACKED_VALUES[table.device.type] // (size * table.shape[1]))
        yield from ((size, places[start : start + number]) for start in range(0, len(places), number))


def _filled(number: int) -> int:
    return -(-number // FILLED_TO) * FILLED_TO


def _solve(inputs: Tensor, truth: Tensor) -> Tensor:
    """(s, classes, d) weights."""
    search = _Search.at_zero(inputs, truth)
    found, left = torch.empty_like(search.weights), torch.arange(len(inputs), device=inputs.device)
    for number in range(1, MOST_STEPS + 1):
        search = search.stepped(number)
        ended = search.slope() <= TOLERANCE * search.start
        if bool(ended.any()):
            found[left[ended]] = search.weights[ended]
            left, search = left[~ended], search.only(~ended)
        if len(left) == 0:
            return found
    raise ArithmeticError(
        f"A logistic regression must end within {MOST_STEPS} Newton steps, got {len(left)} that go on."
    )


@dataclass
class _Search:
    """Where s searches are; C classes, d inputs, n rows."""

    inputs: Tensor
    """(s, d, n)."""
    truth: Tensor
    """(s, C, n)."""
    start: Tensor
    """(s,) the gradient's norm at W = 0."""
    weights: Tensor
    """(s, C, d)."""
    loss: Tensor
    """(s,)."""
    gradient: Tensor
    """(s, C, d)."""
    probabilities: Tensor
    """(s, C, n)."""

    @classmethod
    def at_zero(cls, inputs: Tensor, truth: Tensor) -> "_Search":
        weights = inputs.new_zeros(len(inputs), truth.shape[1], inputs.shape[1])
        made = cls(inputs, truth, weights, weights, *_evaluate(inputs, truth, weights))
        made.start = made.slope()
        return made

    def only(self, which: Tensor) -> "_Search":
        return _Search(**{field.name: getattr(self, field.name)[which] for field in fields(self)})

    def slope(self) -> Tensor:
        """(s,) the gradient's norm."""
        return _dot(self.gradient, self.gradient).sqrt()

    def stepped(self, number: int) -> "_Search":
        """Moved along the Newton directions, by as much as lowers the losses; `number` is that of the step, from 1."""
        direction = self._direction(number)
        moved = self._at(self.weights + direction)
        promised = LEAST_DECREASE * _dot(self.gradient, direction)
        far, length = torch.arange(len(direction), device=direction.device), 1.0
        while True:
            allowed = self.loss[far] + length * promised[far] + ROUNDING * self.loss[far]
            far = far[moved.loss[far] > allowed]
            if len(far) == 0:
                return moved
            length /= 2
            nearer = self.only(far)._at(self.weights[far] + length * direction[far])
            for field in fields(self):
                getattr(moved, field.name)[far] = getattr(nearer, field.name)

    def _at(self, weights: Tensor) -> "_Search":
        return _Search(self.inputs, self.truth, self.start, weights, *_evaluate(self.inputs, self.truth, weights))

    def _direction(self, number: int) -> Tensor:
        """Roughly −H⁻¹g, by as many conjugate gradients from 0; H is that of L."""
        residual = conjugate = -self.gradient
        direction, size = torch.zeros_like(residual), _dot(residual, residual)
        for _ in range(number):
            tilt = _softmax_backward(torch.bmm(conjugate, self.inputs), self.probabilities, 1, torch.float32)
            curved = torch.baddbmm(conjugate, tilt, self.inputs.mT, beta=1 / INVERSE_PENALTY)
            length = _share(size, _dot(conjugate, curved))
            direction = torch.addcmul(direction, length, conjugate)
            residual = torch.addcmul(residual, length, curved, value=-1)
            before, size = size, _dot(residual, residual)
            conjugate = torch.addcmul(residual, _share(size, before), conjugate)
        return direction


def _evaluate(inputs: Tensor, truth: Tensor, weights: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """L (s,), its gradient (s, C, d), and the probabilities (s, C, n), zero without row."""
    log_probabilities = torch.bmm(weights, inputs).log_softmax(1)
    probabilities = log_probabilities.exp().mul_(truth.sum(1, keepdim=True))
    loss = _dot(weights, weights) / (2 * INVERSE_PENALTY) - _dot(log_probabilities, truth)
    gradient = torch.baddbmm(weights, probabilities - truth, inputs.mT, beta=1 / INVERSE_PENALTY)
    return loss, gradient, probabilities


def _dot(first: Tensor, second: Tensor) -> Tensor:
    """(s,) inner product of each search's own numbers."""
    return (first * second).flatten(1).sum(1)


def _share(part: Tensor, whole: Tensor) -> Tensor:
    """(s, 1, 1) part/whole, 0 where nothing is left."""
    return (part / whole.clamp(min=TINY)).view(-1, 1, 1)
