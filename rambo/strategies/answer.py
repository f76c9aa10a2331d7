"""The protocol that every strategy's answer is held to, ours and the user's own alike.

A strategy may answer with a `Selection` or, where it picks at once and without û, with its picks alone: anything that
NumPy reads as a 1-D array of integers. What it is asked with cannot be written to: later trials share those arrays.
"""

import traceback
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rambo.arrays import Indices
from rambo.data.pool import Pool
from rambo.errors import ClassifierFailed, FitCollapsed, InvalidInput, StrategyFailed
from rambo.formats import first_line
from rambo.strategies.request import Request, Select, Selection

Answer = Callable[[Request, np.random.Generator], object]
"""A strategy before it is held to anything."""

NOT_ITS_OWN = (FitCollapsed, ClassifierFailed, InvalidInput, MemoryError, torch.OutOfMemoryError)
"""What a strategy may run into without any fault of its own; whoever runs it tells these apart."""


def held(answer: Answer, name: str) -> Select:
    """The strategy called `name`, whose every answer is checked; raises `StrategyFailed` for one that cannot be."""

    def select(request: Request, generator: np.random.Generator) -> Selection:
        try:
            given = answer(replace(request, pool=_locked(request.pool)), generator)
        except NOT_ITS_OWN:
            raise
        except (Exception, SystemExit) as error:  # whatever a function of the user's does
            said = f"{type(error).__name__}: {first_line(error)} ({_place(error)})"
            raise StrategyFailed(f"strategy {name} must return a selection, got {said}.") from error
        return checked(given, request, name)

    return select


def checked(given: object, request: Request, name: str) -> Selection:
    """What the strategy called `name` has answered, if it is B unlabelled images, once each; else `StrategyFailed`."""
    indices = _integers(given.indices if isinstance(given, Selection) else given)
    if indices is None:
        said = _described(given.indices if isinstance(given, Selection) else given)
        raise StrategyFailed(
            f"strategy {name} must return a Selection or its picks as a 1-D array of integers, got {said}."
        )
    if len(indices) != request.budget:
        raise StrategyFailed(f"strategy {name} must pick {request.budget} images, got {len(indices)}.")
    different, counts = np.unique(indices, return_counts=True)
    if len(different) < len(indices):
        twice = different[np.argmax(counts)]
        raise StrategyFailed(f"strategy {name} must pick each image once, got {twice} {counts.max()} times.")
    foreign = indices[~np.isin(indices, request.pool.unlabelled)]
    if len(foreign):
        raise StrategyFailed(
            f"strategy {name} must pick unlabelled images of the pool, got {foreign[0]}, which is "
            f"{_standing(foreign[0], request.pool)}{f', and {len(foreign) - 1} more' if len(foreign) > 1 else ''}."
        )
    return _whole(given, indices, name) if isinstance(given, Selection) else Selection.at_once(indices)


def _whole(given: Selection, indices: Indices, name: str) -> Selection:
    """A selection that says of each pick when it was made and how it scored."""
    iterations, scores = _integers(given.iterations), np.asarray(given.scores)
    if iterations is None or iterations.shape != indices.shape or scores.shape != indices.shape:
        raise StrategyFailed(
            f"strategy {name} must return an iteration, an integer, and a score for each of {len(indices)} picks, got "
            f"{_described(given.iterations)} and {_described(given.scores)}."
        )
    return Selection(indices, iterations, scores.astype(np.float64))


def _integers(given: object) -> Indices | None:
    """`given` as an array of integers (n,), None where it is none."""
    try:
        array = np.asarray(given)
    except (TypeError, ValueError, RuntimeError):  # ragged lists, tensors on a GPU or with a gradient
        return None
    fits = array.ndim == 1 and (np.issubdtype(array.dtype, np.integer) or array.size == 0)
    return array.astype(np.int64) if fits else None


def _described(given: object) -> str:
    """What was given, in a few words.

    >>> _described(np.zeros((2, 3))), _described([0.5]), _described(None)
    ('ndarray of float64 and shape (2, 3)', 'list of float64 and shape (1,)', 'NoneType')
    """
    kind = type(given).__name__
    try:
        array = np.asarray(given)
    except (TypeError, ValueError, RuntimeError):
        return kind
    return kind if array.dtype == object else f"{kind} of {array.dtype} and shape {array.shape}"


def _standing(image: int, pool: Pool) -> str:
    if image in pool.labelled:
        return "labelled already"
    return "in the validation set" if image in pool.validation else "no image of the pool"


def _locked(pool: Pool) -> Pool:
    """The same arrays, to be read only."""
    values = {field.name: getattr(pool, field.name) for field in fields(pool)}
    views: dict[str, Any] = {name: value.view() for name, value in values.items() if isinstance(value, np.ndarray)}
    for view in views.values():
        view.flags.writeable = False
    return replace(pool, **views)


def _place(error: BaseException) -> str:
    """The last line of the strategy's own file that the error came through, else where it was raised."""
    frames = traceback.extract_tb(error.__traceback__)
    called = frames[min(1, len(frames) - 1)].filename  # the first frame is ours
    last = [frame for frame in frames if frame.filename == called][-1]
    return f"{Path(last.filename).name}:{last.lineno}"
