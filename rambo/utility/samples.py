"""Which sets are measured for one seed, and what the measurements say (Algorithm 1 lines 4-13, Algorithm 3, Eq. 4).

All sets follow from (k, C, seed, settings) alone, so `plan_samples` names them before anything is trained: plans can
count them, and one collection can measure them for every trial that will ask.
"""

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache, partial
from typing import Literal

import numpy as np

from rambo.arrays import Features, Floats, Indices, Labels, Members
from rambo.config import Config
from rambo.randomness import derive, numpy_generator
from rambo.training.trainer import SetSpec
from rambo.utility.pairs import draw_pairs, set_ids
from rambo.utility.structure import draw_structured_pairs

SeedImages = tuple[Features, Labels]
"""Pixels (k, d) and labels (k,) of S_0."""

NEIGHBOURS = 16
"""Plans of samples that are kept for the experiments that come next; .3 MB each on MNIST, 5 at k = 3500."""


@dataclass(frozen=True, eq=False)
class SamplePlan:
    """The sets of one seed, as members among the k seed images."""

    offline: Members
    """(offline pairs, 2, k), drawn from S_0."""
    chain: Members
    """(τ1 + 1, k), the growing labelled sets S_0', S_1', …, S_τ1' = S_0."""
    pretraining: tuple[Members, ...]
    """τ1 arrays (n, 2, k), iteration i drawn from the i-th set of the chain."""
    held_out: Members
    """(held-out pairs, 2, k), none of whose sets stands in the others; sizes are uniform on the upper half whatever the
    law of the others, so that every û is judged on the same kind of sets."""

    @cached_property
    def digest(self) -> bytes:
        """Of all sets, in order."""
        found = hashlib.sha256()
        for members in (self.offline, self.chain, *self.pretraining, self.held_out):
            found.update(f"{members.shape}".encode())
            found.update(np.packbits(members).tobytes())
        return found.digest()

    def all_pairs(self) -> Members:
        """(s, k) the sets of all pairs, one after another."""
        parts = (self.offline, *self.pretraining, self.held_out)
        return np.concatenate([members.reshape(-1, members.shape[-1]) for members in parts])


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """All that decides the sets of one seed, whatever else its cells differ in."""

    seed: int
    num_seed_labels: int
    num_classes: int
    chunk: int
    """b."""
    num_iterations: int
    """τ1."""
    num_offline_pairs: int
    num_pretraining_pairs: int
    """n."""
    num_held_out_pairs: int
    size_law: Literal["uniform", "binomial"]


def plan_samples(config: Config, num_classes: int, seed_images: SeedImages | None = None) -> SamplePlan:
    """The sets that this configuration's seed measures; raises `InvalidInput` where k is too small for them.

    `seed_images` are S_0's, needed where offline pairs are drawn by structure.
    """
    num_structured = config.offline.num_pairs // 2 if config.offline.structured else 0
    plan = _drawn(
        Sampling(
            seed=config.seed,
            num_seed_labels=config.data.num_seed_labels,
            num_classes=num_classes,
            chunk=config.acquisition.batch_size,
            num_iterations=config.num_pretraining_iterations,
            num_offline_pairs=config.offline.num_pairs - num_structured,
            num_pretraining_pairs=config.pretraining.num_pairs,
            num_held_out_pairs=config.evaluation.num_held_out_pairs,
            size_law=config.utility.size_law,
        )
    )
    if num_structured == 0:
        return plan
    assert seed_images is not None
    structured = draw_structured_pairs(
        *seed_images,
        num_structured,
        numpy_generator(config.seed, "structured"),
        num_classes=num_classes,
        exclude=frozenset(set_ids(plan.held_out)),
    )
    return replace(plan, offline=np.concatenate([plan.offline, structured]))


@lru_cache(maxsize=NEIGHBOURS)
def _drawn(sampling: Sampling) -> SamplePlan:
    """Drawn once for the cells of a seed that follow each other."""
    seed, everything = sampling.seed, np.arange(sampling.num_seed_labels)
    draw = partial(draw_pairs, num_seed_labels=sampling.num_seed_labels, num_classes=sampling.num_classes)
    learned_from = partial(draw, law=sampling.size_law)
    offline = learned_from(everything, sampling.num_offline_pairs, numpy_generator(seed, "offline"))
    chain = _chain(sampling)
    pretraining = tuple(
        learned_from(np.flatnonzero(members), sampling.num_pretraining_pairs, numpy_generator(seed, "pretraining", i))
        for i, members in enumerate(chain[:-1])
    )
    seen = frozenset(identity for members in (offline, *pretraining) for identity in set_ids(members))
    generator = numpy_generator(seed, "held_out")
    held_out = draw(everything, sampling.num_held_out_pairs, generator, law="longer", exclude=seen)
    return SamplePlan(offline, chain, pretraining, held_out)


@dataclass(frozen=True, eq=False)
class Growth:
    """The sets that new labels add to a plan of samples, as members among all that is labelled, oldest first."""

    chain: Members
    """(τ + 1, k'), from what was labelled before to everything, b images a step."""
    pretraining: tuple[Members, ...]
    """τ arrays (n, 2, k'), iteration i drawn from the i-th set of the chain."""


def plan_growth(config: Config, num_classes: int, num_before: int, num_after: int) -> Growth:
    """Pairs along the way from `num_before` to `num_after` labels, in chunks of b and what remains."""
    steps = [*range(num_before, num_after, config.acquisition.batch_size), num_after]
    chain = np.arange(num_after) < np.array(steps)[:, None]
    pairs = tuple(
        draw_pairs(
            np.arange(size),
            config.pretraining.num_pairs,
            numpy_generator(config.seed, "growth", size),
            num_seed_labels=num_after,
            num_classes=num_classes,
            law=config.utility.size_law,
        )
        for size in steps[:-1]
    )
    return Growth(chain, pairs)


def planned_specs(plan: SamplePlan, config: Config, seed_set: Indices) -> dict[str, list[SetSpec]]:
    """Every training that û's utility samples take, by stage; a set may stand in two stages."""
    audited = [members[: num_measured(config, len(members))] for members in plan.pretraining]
    ceiling = plan.held_out[: config.evaluation.num_ceiling_pairs]
    return {
        "offline pairs": set_specs(plan.offline, seed_set, train_seed(config.seed)),
        "growing sets": set_specs(plan.chain, seed_set, train_seed(config.seed)),
        "audited pairs": [
            spec for members in audited for spec in set_specs(members, seed_set, train_seed(config.seed))
        ],
        "held-out pairs": set_specs(plan.held_out, seed_set, train_seed(config.seed)),
        "ceiling": set_specs(ceiling, seed_set, train_seed(config.seed, 1)),
    }


def train_seed(seed: int, repeat: int = 0) -> int:
    """The seed of f's weights and shuffling: one for all sets and cells of a seed, so that comparisons are paired."""
    return derive(seed, "classifier", repeat)


def set_specs(members: Members, seed_set: Indices, seed: int) -> list[SetSpec]:
    """One training for each set of `members` (…, k), in order."""
    return [SetSpec(seed_set[row], seed) for row in members.reshape(-1, members.shape[-1])]


def num_measured(config: Config, num_pairs: int) -> int:
    """How many of an iteration's pairs are trained: all of them, or those audited."""
    return num_pairs if config.utility.label == "trained" else min(config.utility.num_audited, num_pairs)


def interpolate(to_current: Floats, to_next: Floats, accuracies: tuple[float, float]) -> Floats:
    """Eq. 4: u(ξ) = α·acc_i + (1 − α)·acc_{i+1} with α = d_{i+1} / (d_i + d_{i+1}).

    `to_current`, `to_next`: distances d_i, d_{i+1} of φ(ξ) to φ(S_i) and φ(S_{i+1}), of any shape; α is ½ where both
    vanish.

    >>> float(interpolate(np.array(0.0), np.array(2.0), (0.5, 0.9)))
    0.5
    """
    total = to_current + to_next
    alpha = np.divide(to_next, total, out=np.full_like(total, 0.5), where=total > 1e-12)
    mixed = alpha * accuracies[0] + (1 - alpha) * accuracies[1]
    return np.clip(mixed, min(accuracies), max(accuracies))  # rounding must not leave the interval


def order_agreement(first: Floats, second: Floats) -> float:
    """Share of pairs (n, 2) that `first` and `second` order alike; a tie in either counts one half.

    >>> order_agreement(np.array([[1.0, 2.0], [1.0, 2.0]]), np.array([[3.0, 4.0], [5.0, 4.0]]))
    0.5
    """
    product = np.sign(first[:, 0] - first[:, 1]) * np.sign(second[:, 0] - second[:, 1])
    return float(((product + 1) / 2).mean())


def _chain(sampling: Sampling) -> Members:
    """S_0 divided at random into a start of k1 and τ1 chunks of b, as the unions of the first chunks."""
    order = numpy_generator(sampling.seed, "chain").permutation(sampling.num_seed_labels)
    start = len(order) - sampling.num_iterations * sampling.chunk
    members = np.zeros((sampling.num_iterations + 1, len(order)), dtype=bool)
    for i, row in enumerate(members):
        row[order[: start + i * sampling.chunk]] = True
    return members
