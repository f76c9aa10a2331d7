"""The work of a collection: what is missing, cut into batches, and the queue that hands them out."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from rambo.measuring import missing_specs
from rambo.ot_distance import OTProblem, missing_ot
from rambo.store import Store
from rambo.training import Problem, SetSpec

OT_BATCH = 500
"""Sets of one OT problem in a batch: its ground cost takes longer than many of them."""


@dataclass(frozen=True, eq=False)
class Batch:
    """Sets of one problem that one worker takes at a time."""

    problem: int
    """Position in `Work.problems`, or in `Work.ot_problems` where `members` is given."""
    specs: tuple[SetSpec, ...] = ()
    members: NDArray[np.bool_] | None = None

    def __len__(self) -> int:
        return len(self.specs) if self.members is None else len(self.members)


@dataclass(frozen=True, eq=False)
class Work:
    """All that a collection shall put into the store; images are held once, however many problems share them."""

    problems: tuple[Problem, ...]
    ot_problems: tuple[OTProblem, ...]
    specs: tuple[tuple[SetSpec, ...], ...]
    """The missing trainings of each problem, the largest sets first: what ends last should be short."""
    members: tuple[NDArray[np.bool_], ...]
    """The missing sets (s, k) of each OT problem."""

    @property
    def num_trainings(self) -> int:
        """Trainings that the store lacks."""
        return sum(map(len, self.specs))

    @property
    def num_ot(self) -> int:
        """OT values that the store lacks."""
        return sum(map(len, self.members))

    def batches(self, size: int) -> list[Batch]:
        """OT first, then trainings in batches of `size`."""
        cut = [
            Batch(place, members=members[start : start + OT_BATCH])
            for place, members in enumerate(self.members)
            for start in range(0, len(members), OT_BATCH)
        ]
        for place, specs in enumerate(self.specs):
            cut += [Batch(place, specs[start : start + size]) for start in range(0, len(specs), size)]
        return cut

    def sample(self, count: int) -> list[tuple[Problem, SetSpec]]:
        """`count` missing trainings, spread evenly over the problems and sizes."""
        everything = [(place, spec) for place, specs in enumerate(self.specs) for spec in specs]
        chosen = np.linspace(0, len(everything) - 1, min(count, len(everything))).round().astype(int)
        return [(self.problems[everything[i][0]], everything[i][1]) for i in np.unique(chosen)]

    def without_images(self) -> "Work":
        """The same with the images taken out, to be sent beside one copy of them."""
        nothing = np.zeros((0, 1, 1, 1), dtype=np.uint8)
        return replace(self, problems=tuple(replace(problem, images=nothing) for problem in self.problems))

    def with_images(self, images: Sequence[NDArray[np.uint8]]) -> "Work":
        """`without_images` undone, one array a problem."""
        pairs = zip(self.problems, images, strict=True)
        return replace(self, problems=tuple(replace(problem, images=array) for problem, array in pairs))


def missing_work(
    trainings: Iterable[tuple[Problem, Sequence[SetSpec]]],
    distances: Iterable[tuple[OTProblem, NDArray[np.bool_]]],
    store: Store,
) -> Work:
    """What the store lacks of `trainings` and OT `distances`; a set that two problems name alike is taken once."""
    seen: set[str] = set()
    problems, specs = [], []
    for problem, wanted in trainings:
        missing = {problem.key(spec): spec for spec in missing_specs(problem, wanted, store)}
        fresh = [spec for key, spec in missing.items() if key not in seen]
        seen |= missing.keys()
        if fresh:
            problems.append(problem)
            specs.append(tuple(sorted(fresh, key=lambda spec: -len(spec.indices))))
    ot_problems, members = [], []
    for ot_problem, rows in distances:
        absent = missing_ot(ot_problem, rows, store)
        if len(absent):
            ot_problems.append(ot_problem)
            members.append(absent)
    return Work(tuple(problems), tuple(ot_problems), tuple(specs), tuple(members))


class WorkQueue:
    """Hands batches to whoever asks, so that a fast worker takes more; lives in a process of its own.

    Workers come and go in groups. What a former group had in hand when it ended is handed out again.
    """

    def __init__(self, sizes: Sequence[int]) -> None:
        self._sizes = list(sizes)
        self._waiting = list(range(len(sizes)))[::-1]
        self._in_hand: dict[int, str] = {}
        self._done: set[int] = set()
        self._workers: dict[str, int] = {}
        self._group = ""
        self._failure: str | None = None

    def take(self, group: str, worker: int) -> int | None:
        """The next batch for `worker` of `group`, or None when there is nothing left for it to do."""
        if group != self._group:
            self._waiting += sorted(self._in_hand, reverse=True)
            self._in_hand, self._workers, self._group = {}, {}, group
        self._workers[str(worker)] = self._workers.get(str(worker), 0) + 1
        if self._failure is not None or not self._waiting:
            return None
        batch = self._waiting.pop()
        self._in_hand[batch] = group
        return batch

    def finish(self, batch: int) -> None:
        """`batch` is in the store."""
        self._in_hand.pop(batch, None)
        self._done.add(batch)

    def fail(self, sentence: str) -> None:
        """Nothing more is handed out: `sentence` says what the user must mend."""
        self._failure = sentence

    def state(self) -> tuple[int, int, str | None]:
        """Sets done, workers at work, and what went wrong if anything did."""
        return sum(self._sizes[batch] for batch in self._done), len(self._workers), self._failure
