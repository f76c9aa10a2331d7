"""Who is in which split, and which labels have been seen.

Test images are fixed by the data alone; validation, seed set and pool come from the seed. A `Pool` holds a label only
where it has been revealed, so whoever is handed one cannot reach the others.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from rambo.arrays import Images, Indices, Labels
from rambo.data.dataset import Dataset, flip_labels, random_classes, thin_classes
from rambo.errors import InvalidInput, require
from rambo.randomness import numpy_generator
from rambo.sections import Data

HIDDEN = -1
"""The label of an image that nobody has asked for, and the round of one not labelled yet."""


SEEDS_TRIED = 50
"""Seeds after one that cannot be, which are looked at for one that can."""


@dataclass(frozen=True, eq=False)
class Split:
    """Disjoint, sorted dataset indices, and the labels an annotator would give (noise included)."""

    test: Indices
    validation: Indices
    seed_set: Indices
    pool: Indices
    labels: Labels
    """(N,) labels as an oracle tells them: noisy on seed set and pool where asked, clean on validation and test."""


@dataclass(frozen=True, eq=False)
class Pool:
    """What a strategy may see: all images, the labels revealed so far, S_val; no test label, no hidden label."""

    images: Images
    """(N, C, H, W)."""
    labels: Labels
    """(N,) the label where revealed, else −1."""
    rounds: Indices
    """(N,) the round in which an image was labelled: 0 the seed set, 1 the acquisition, −1 not yet."""
    members: Indices
    """The images that may be labelled: seed set and pool."""
    validation: Indices
    """S_val; its labels are revealed, but it is never trained on."""
    num_classes: int

    @property
    def labelled(self) -> Indices:
        """Sorted indices of the labelled set."""
        return np.flatnonzero(self.rounds >= 0)

    @property
    def unlabelled(self) -> Indices:
        """Sorted indices that a strategy may ask for."""
        return self.members[self.rounds[self.members] == HIDDEN]

    def without_validation_labels(self) -> "Pool":
        """The same to who may not see the labels of S_val."""
        labels = self.labels.copy()
        labels[self.validation] = HIDDEN
        return replace(self, labels=labels)


def make_split(dataset: Dataset, data: Data, seed: int) -> Split:
    """The splits of one seed; raises `InvalidInput` where the sizes do not fit the data.

    Deviation[imbalance-after]: classes are thinned in the pool, after S_0 and S_val have been drawn from all images.
    """
    available, needed = _num_outside_test(dataset, data), data.num_validation + data.num_seed_labels
    require(
        needed < available,
        f"data.num_validation + data.num_seed_labels must leave a pool of the {available} images outside the test "
        f"set, got {data.num_validation} + {data.num_seed_labels}; {_fitting(available)}.",
    )
    split = _split(dataset, data, seed)
    _check_classes(split, dataset, data, seed)
    return split


def _fitting(available: int) -> str:
    """What can be done where the sizes do not fit `available` images."""
    if available < 3:
        return "no sizes fit so few: lower data.num_test, or add images"
    return f"let their sum be at most {available - 1}"


def _num_outside_test(dataset: Dataset, data: Data) -> int:
    """Images that seed set, validation set and pool are drawn from."""
    return len(_outside_test(dataset, dataset.fixed(data.num_test).test))


def _outside_test(dataset: Dataset, test: Indices) -> Indices:
    official = len(dataset.test_candidates) < len(dataset.labels)
    return np.setdiff1d(np.arange(len(dataset.labels)), dataset.test_candidates if official else test)


def _split(dataset: Dataset, data: Data, seed: int) -> Split:
    """The same, whatever classes it holds."""
    test = dataset.fixed(data.num_test).test
    rest = _outside_test(dataset, test)
    validation, rest = _draw(rest, data.num_validation, dataset, data, seed, "validation")
    seed_set, pool = _draw(rest, data.num_seed_labels, dataset, data, seed, "seed_set")
    pool = thin_classes(
        dataset.labels,
        pool,
        dataset.num_classes,
        data.imbalance_classes,
        data.imbalance_fraction,
        numpy_generator(seed, "imbalance"),
    )
    noise, chance = numpy_generator(seed, "label_noise"), numpy_generator(seed, "noisy_classes")
    noisy = random_classes(dataset.num_classes, data.label_noise_classes, chance)
    labels = flip_labels(dataset.labels, rest, data.label_noise, dataset.num_classes, noise, classes=noisy)
    return Split(test=test, validation=validation, seed_set=seed_set, pool=pool, labels=labels)


def start_pool(dataset: Dataset, split: Split) -> Pool:
    """The pool before the acquisition: seed set labelled, S_val known, everything else hidden."""
    labels = np.full(len(dataset.labels), HIDDEN, dtype=np.int64)
    for known in (split.seed_set, split.validation):
        labels[known] = split.labels[known]
    rounds = np.full(len(labels), HIDDEN, dtype=np.int64)
    rounds[split.seed_set] = 0
    members = np.sort(np.concatenate([split.seed_set, split.pool]))
    return Pool(dataset.images, labels, rounds, members, split.validation, dataset.num_classes)


def reveal(pool: Pool, split: Split, indices: Indices) -> Pool:
    """The pool with the labels of `indices` bought in the next round."""
    require(
        len(np.unique(indices)) == len(indices) and bool(np.isin(indices, pool.unlabelled).all()),
        "A batch to label must hold different, unlabelled pool images, got repeated or foreign ones.",
    )
    labels, rounds = pool.labels.copy(), pool.rounds.copy()
    labels[indices] = split.labels[indices]
    rounds[indices] = pool.rounds.max() + 1
    return replace(pool, labels=labels, rounds=rounds)


def _draw(
    candidates: Indices, size: int, dataset: Dataset, data: Data, seed: int, name: str
) -> tuple[Indices, Indices]:
    """`size` of `candidates` and the rest, both sorted; a larger size draws a superset."""
    order = _random_order(candidates, dataset.labels, data.stratified, numpy_generator(seed, name))
    return np.sort(order[:size]), np.sort(order[size:])


def _random_order(candidates: Indices, labels: Labels, stratified: bool, generator: np.random.Generator) -> Indices:
    """A random order of `candidates`, each prefix of which has the class shares of the whole where `stratified`."""
    shuffled = generator.permutation(candidates)
    if not stratified:
        return shuffled
    position = np.empty(len(shuffled))
    for label in np.unique(labels[shuffled]):
        mine = np.flatnonzero(labels[shuffled] == label)
        position[mine] = (np.arange(len(mine)) + generator.random()) / len(mine)
    return shuffled[np.argsort(position, kind="stable")]


def _missing(split: Split, num_classes: int) -> list[int]:
    """Classes without a seed image."""
    return sorted(set(range(num_classes)) - set(split.labels[split.seed_set].tolist()))


def _check_classes(split: Split, dataset: Dataset, data: Data, seed: int) -> None:
    """Raise `InvalidInput` where a class has no seed image; what is advised has been tried."""
    missing = _missing(split, dataset.num_classes)
    if missing:
        names = ", ".join(dataset.class_names[label] for label in missing)
        remedies = ", or ".join(_remedies(dataset, data, seed))
        nothing = (
            f"no seed of {SEEDS_TRIED}, no data.num_seed_labels and no data.stratified gives it one, since too few of "
            "its images are outside the test set, which is the same for all: add images of it, or leave the class out"
        )
        raise InvalidInput(
            f"The seed set must hold every class, got {data.num_seed_labels} labels without {names}; "
            f"{remedies or nothing}."
        )


def _remedies(dataset: Dataset, data: Data, seed: int) -> Iterator[str]:
    """Each change that alone gives every class a seed image."""

    def works(changed: Data, seed: int) -> bool:
        return not _missing(_split(dataset, changed, seed), dataset.num_classes)

    if not data.stratified and works(replace(data, stratified=True), seed):
        yield "set data.stratified"
    other = next((one for one in range(seed + 1, seed + 1 + SEEDS_TRIED) if works(data, one)), None)
    if other is not None:
        yield f"take another seed, such as {other}"
    # a larger seed set holds the smaller, so that what is enough is found by halving
    low, high = data.num_seed_labels, _num_outside_test(dataset, data) - data.num_validation - 1
    if works(replace(data, num_seed_labels=high), seed):
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if works(replace(data, num_seed_labels=middle), seed) else (middle, high)
        yield f"raise data.num_seed_labels to {high} at least"
