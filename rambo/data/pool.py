"""Who is in which split, and which labels have been seen.

Test images are fixed by the data alone; validation, seed set and pool come from the seed. A `Pool` holds a label only
where it has been revealed, so whoever is handed one cannot reach the others.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np

from rambo.arrays import Indices, Inputs, Labels
from rambo.data.dataset import Dataset, flip_labels, random_classes, test_order, thin_classes
from rambo.errors import InvalidInput, require
from rambo.formats import visible
from rambo.randomness import numpy_generator
from rambo.sections import Data

HIDDEN = -1
"""The label of an image that nobody has asked for, and the round of one not labelled yet."""

MOST_SEEDS, MOST_NAMED = 30, 5
"""Seeds that are tried for one whose seed set holds every class, and classes and files that a sentence names."""


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

    images: Inputs
    """(N, C, H, W), or embeddings (N, d)."""
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
    """The splits of one seed; raises `InvalidInput` where the sizes do not fit the data, with what does.

    Of a pool of one's own (num_test = 0) S_val is drawn from the labelled images; their rest is the seed set, and what
    has no label is the pool.

    Deviation[imbalance-after]: classes are thinned in the pool, after S_0 and S_val have been drawn from all images.
    """
    if data.num_test == 0:
        return _own_split(dataset, data, seed)
    split = _drawn(dataset, data, seed)
    missing = _missing(split, dataset)
    if missing:
        names = ", ".join(visible(dataset.class_names[label]) for label in missing[:MOST_NAMED])
        more = f" and {len(missing) - MOST_NAMED} more" if len(missing) > MOST_NAMED else ""
        cure = " or ".join(_remedies(split, dataset, data, seed)) or _hopeless(split, dataset, missing)
        raise InvalidInput(
            f"The seed set must hold every class, got {len(split.seed_set)} labels without {names}{more}; {cure}."
        )
    return split


def _own_split(dataset: Dataset, data: Data, seed: int) -> Split:
    """Without a test set; S_val has the class shares of what it is drawn from."""
    known = dataset.labelled
    candidates = known if dataset.validation_candidates is None else dataset.validation_candidates
    require(
        data.num_validation <= len(candidates) and data.num_validation + data.num_seed_labels == len(known),
        f"data.num_validation and data.num_seed_labels must be the {len(known)} labelled images together, got "
        f"{data.num_validation} and {data.num_seed_labels}; python -m rambo select sets both.",
    )
    order = _random_order(candidates, dataset.labels, True, numpy_generator(seed, "validation"))
    validation = np.sort(order[: data.num_validation])
    seed_set = np.setdiff1d(known, validation)
    few = [dataset.class_names[c] for c in range(dataset.num_classes) if c not in dataset.labels[seed_set]]
    require(
        not few,
        f"Each class must have a label outside the validation set, got none of {', '.join(map(visible, few))}; label "
        "another image of it, or lower --validation.",
    )
    pool = np.setdiff1d(np.arange(len(dataset.labels)), known)
    return Split(np.empty(0, dtype=np.int64), validation, seed_set, pool, dataset.labels)


def _drawn(dataset: Dataset, data: Data, seed: int) -> Split:
    """The splits, whatever classes they hold."""
    test = dataset.fixed(data.num_test).test
    official = len(dataset.test_candidates) < len(dataset.labels)
    rest = np.setdiff1d(np.arange(len(dataset.labels)), dataset.test_candidates if official else test)
    available, needed = len(rest), data.num_validation + data.num_seed_labels
    require(
        needed < available,
        f"data.num_validation + data.num_seed_labels must leave a pool of the {available} images outside the test "
        f"set, got {data.num_validation} + {data.num_seed_labels}; {_fitting(available)}.",
    )
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


def _fitting(available: int) -> str:
    """What can be done where the sizes do not fit `available` images."""
    if available < 3:
        return "no sizes fit so few: lower data.num_test, or add images"
    return f"let their sum be at most {available - 1}"


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


def _missing(split: Split, dataset: Dataset) -> list[int]:
    """Classes that the seed set lacks."""
    return sorted(set(range(dataset.num_classes)) - set(split.labels[split.seed_set].tolist()))


def _remedies(split: Split, dataset: Dataset, data: Data, seed: int) -> Iterator[str]:
    """What puts every class into the seed set, each tried."""

    def works(changed: Data, other: int = seed) -> bool:
        try:
            return not _missing(_drawn(dataset, changed, other), dataset)
        except InvalidInput:
            return False

    most = data.num_seed_labels + len(split.pool) // 2  # which leaves something to choose from
    sizes = range(data.num_seed_labels + 1, most + 1)  # a larger set holds the smaller
    size = bisect_left(sizes, True, key=lambda number: works(replace(data, num_seed_labels=number)))
    if size < len(sizes):
        yield f"raise data.num_seed_labels to {sizes[size]}"
    if not data.stratified and works(replace(data, stratified=True)):
        yield "set data.stratified"
    seeds = range(seed + 1, seed + 1 + MOST_SEEDS) if data.num_seed_labels >= dataset.num_classes else ()
    yield from (f"take seed {other}" for other in islice((one for one in seeds if works(data, one)), 1))
    smaller = _fewer_tests(split, dataset)
    if smaller and works(replace(data, num_test=smaller)):
        yield f"lower data.num_test to {smaller}"


def _fewer_tests(split: Split, dataset: Dataset) -> int:
    """The most test images, fewer than now, that leave an image of every class; 0 where there is no such number."""
    order = test_order(dataset)
    absent = set(range(dataset.num_classes)) - set(np.delete(dataset.labels, split.test).tolist())
    places = [int(np.flatnonzero(dataset.labels[order] == label).max()) for label in absent]
    return min(places, default=0) if len(order) == len(dataset.labels) else 0


def _hopeless(split: Split, dataset: Dataset, missing: Sequence[int]) -> str:
    """Why nothing but other data can help, and which."""
    official = len(dataset.test_candidates) < len(dataset.labels)
    tested = dataset.test_candidates if official else split.test
    members = {label: np.flatnonzero(dataset.labels == label) for label in missing}
    label = min(missing, key=lambda one: int((~np.isin(members[one], tested)).sum()))
    mine, outside = members[label], int((~np.isin(members[label], tested)).sum())
    files = f" ({', '.join(visible(dataset.files[index]) for index in mine[:MOST_NAMED])})" if dataset.files else ""
    leave = " or leave that class out" if dataset.num_classes > 2 else ""
    return (
        f"no other size, stratification or seed of the next {MOST_SEEDS} helps, since of the images of class "
        f"{visible(dataset.class_names[label])}, {len(mine)}{files}, {outside or 'none'} is outside the test set: add "
        f"some{leave}"
    )
