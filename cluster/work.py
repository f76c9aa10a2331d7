"""The work of a collection: what is missing, cut into batches."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from cluster.failures import left_to_trials, unsaid
from rambo.arrays import Images, Members
from rambo.formats import counted
from rambo.own import Pinned
from rambo.preparation import Prepared, planned_distances
from rambo.store import Store
from rambo.training.measuring import missing_by_key
from rambo.training.trainer import Problem, SetSpec
from rambo.utility.ot_distance import OTProblem, missing_ot_by_key


@dataclass(frozen=True, eq=False)
class Batch:
    """Sets of one problem that one worker takes at a time."""

    problem: int
    """Position in `Work.problems`, or in `Work.ot_problems` where `members` is given."""
    specs: tuple[SetSpec, ...] = ()
    members: Members | None = None

    def __len__(self) -> int:
        return len(self.specs) if self.members is None else len(self.members)


@dataclass(frozen=True, eq=False)
class Work:
    """All that a collection shall put into the store; images are held once, however many problems share them."""

    problems: tuple[Problem, ...]
    ot_problems: tuple[OTProblem, ...]
    specs: tuple[tuple[SetSpec, ...], ...]
    """The missing trainings of each problem, the largest sets first until `shuffled`."""
    members: tuple[Members, ...]
    """The missing sets (s, k) of each OT problem."""

    @property
    def num_trainings(self) -> int:
        """Trainings that the store lacks."""
        return sum(map(len, self.specs))

    @property
    def num_ot(self) -> int:
        """OT values that the store lacks."""
        return sum(map(len, self.members))

    def __str__(self) -> str:
        return f"{counted(self.num_trainings, 'training')} and {counted(self.num_ot, 'OT distance')}"

    @property
    def own(self) -> list[Pinned]:
        """Classifiers of the user's own that are trained."""
        return list({problem.own: None for problem in self.problems if problem.own is not None})

    def batches(self, size: int, ot_size: int, num_workers: int, *, least: int = 1) -> list[Batch]:
        """OT in batches of `ot_size` sets first, then trainings in batches of `size`, ever smaller ones at the end.

        A batch is at most half of a worker's share of what is left (guided self-scheduling), so that all end together;
        but none has fewer than `least` trainings, which a GPU does at once, unless its problem has no more.
        """
        cut = [
            Batch(place, members=members[start : start + ot_size])
            for place, members in enumerate(self.members)
            for start in range(0, len(members), ot_size)
        ]
        left = self.num_trainings
        for place, specs in enumerate(self.specs):
            start = 0
            while start < len(specs):
                taken = max(least, min(size, math.ceil(left / (2 * num_workers))))
                batch = Batch(place, specs[start : start + taken])
                cut.append(batch)
                start, left = start + len(batch), left - len(batch)
        return cut

    def shuffled(self) -> "Work":
        """The same, each problem's sets in an order of this call's own.

        Collections that run at once into one home then find most of each other's sets done; in one order they would
        keep step and measure all of them twice. No result depends on it, and drawing it from a seed would defeat it.
        """
        generator = np.random.default_rng()
        specs = tuple(tuple(specs[i] for i in generator.permutation(len(specs))) for specs in self.specs)
        return replace(self, specs=specs, members=tuple(map(generator.permutation, self.members)))

    def sample(self, count: int) -> list[tuple[Problem, SetSpec]]:
        """`count` missing trainings, spread evenly over the problems and sizes."""
        everything = [(place, spec) for place, specs in enumerate(self.specs) for spec in specs]
        chosen = np.linspace(0, len(everything) - 1, min(count, len(everything))).round().astype(int)
        return [(self.problems[everything[i][0]], everything[i][1]) for i in np.unique(chosen)]

    def sample_stack(self, count: int) -> list[tuple[Problem, list[SetSpec]]]:
        """`count` missing trainings of the problem that has most of them, at most, spread evenly over the sizes."""
        if not self.problems:
            return []
        problem, specs = max(zip(self.problems, self.specs, strict=True), key=lambda pair: len(pair[1]))
        chosen = np.linspace(0, len(specs) - 1, min(count, len(specs))).round().astype(int)
        return [(problem, [specs[i] for i in np.unique(chosen)])]

    def sample_ot(self, count: int) -> list[tuple[OTProblem, Members]]:
        """`count` missing OT distances of the problem that has most of them."""
        if not self.members:
            return []
        problem, members = max(zip(self.ot_problems, self.members, strict=True), key=lambda pair: len(pair[1]))
        return [(problem, row) for row in members[:count]]

    def without_images(self) -> "Work":
        """The same with the images taken out, to be sent beside one copy of them."""
        nothing = np.zeros((0, 1, 1, 1), dtype=np.uint8)
        return replace(self, problems=tuple(replace(problem, images=nothing) for problem in self.problems))

    def with_images(self, images: Sequence[Images]) -> "Work":
        """`without_images` undone, one array a problem."""
        pairs = zip(self.problems, images, strict=True)
        return replace(self, problems=tuple(replace(problem, images=array) for problem, array in pairs))


def known_work(experiments: Iterable[Prepared], data_dir: Path, device: torch.device, store: Store) -> Work:
    """All that the store lacks of what is known before any trial runs; what experiments share is looked at once."""
    trainings, distances = [], []
    for one in {one.known_id: one for one in experiments}.values():
        problem = one.problem(one.pool)
        trainings += [(problem, specs) for specs in one.specs().values()]
        with left_to_trials("OT distances", unsaid):
            distances += planned_distances(one, data_dir, device)
    return missing_work(trainings, distances, store)


def seed_set_work(experiment: Prepared) -> Work:
    """Trainings on the seed set, whether or not a store has them: something to time."""
    problem = experiment.problem(experiment.pool)
    return Work((problem,), (), (tuple(experiment.repeats(experiment.pool)),), ())


def missing_work(
    trainings: Iterable[tuple[Problem, Sequence[SetSpec]]],
    distances: Iterable[tuple[OTProblem, Members]],
    store: Store,
) -> Work:
    """What the store lacks of `trainings` and OT `distances`; a set that two problems name alike is taken once."""
    seen: set[str] = set()
    seen_ot: set[str] = set()
    problems, specs = [], []
    for problem, wanted in trainings:
        missing = missing_by_key(problem, wanted, store)
        fresh = [spec for key, spec in missing.items() if key not in seen]
        seen |= missing.keys()
        if fresh:
            problems.append(problem)
            specs.append(tuple(sorted(fresh, key=lambda spec: -len(spec.indices))))
    ot_problems, members = [], []
    for ot_problem, rows in distances:
        absent: dict[str, Members] = {}
        with left_to_trials("OT distances", unsaid):
            absent = missing_ot_by_key(ot_problem, rows, store)
        fresh_rows = [row for key, row in absent.items() if key not in seen_ot]
        seen_ot |= absent.keys()
        if fresh_rows:
            ot_problems.append(ot_problem)
            members.append(np.array(fresh_rows))
    return Work(tuple(problems), tuple(ot_problems), tuple(specs), tuple(members))
