"""Pairs of equally large subsets of S_0: the form every utility sample has.

A set is a row of booleans over the k seed images (their positions in S_0, not dataset indices), so that all sets of a
fit are embedded by one product of the (sets x k) membership matrix with the (k x d) image features.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

from rambo.arrays import Floats, Members
from rambo.errors import InvalidInput, require

MIN_SIZE_SHARE = 0.2
"""Smallest subset drawn, as a share of the set it is drawn from."""

SizeLaw = Literal["uniform", "longer", "binomial"]
"""How the size of a pair is drawn: uniform on the range | uniform on its upper half | as of the power set."""

MAX_DRAWS = 1000
"""Draws of one pair before its size is held to be exhausted."""


@dataclass(frozen=True)
class UtilityPairs:
    """n pairs of sets with what was measured of them.

    `members` (n, 2, k) bool; `utility` (n, 2) accuracies in [0, 1]; `ot` (n, 2) distances to S_val in the unit of
    `utility_model.ot_unit`, or None where the OT component is off.
    """

    members: Members
    utility: Floats
    ot: Floats | None

    def __post_init__(self) -> None:
        require(
            self.members.ndim == 3 and self.members.shape[1] == 2,
            f"members must be (pairs, 2, k), got shape {self.members.shape}.",
        )
        for name in ("utility", "ot"):
            values = getattr(self, name)
            require(
                values is None or values.shape == self.members.shape[:2],
                f"{name} must be one value a set, {self.members.shape[:2]}, got shape {np.shape(values)}.",
            )

    def __len__(self) -> int:
        return len(self.members)

    @property
    def sizes(self) -> NDArray[np.int64]:
        """(n,) images in each set of a pair."""
        return self.members[:, 0].sum(axis=1)

    def take(self, index: NDArray[np.int64]) -> "UtilityPairs":
        """The pairs at `index`, in that order."""
        return UtilityPairs(self.members[index], self.utility[index], None if self.ot is None else self.ot[index])

    def among(self, num_images: int) -> "UtilityPairs":
        """The same pairs as members among `num_images`, the first of which they were drawn from."""
        more = np.zeros((*self.members.shape[:2], num_images - self.members.shape[2]), dtype=bool)
        return UtilityPairs(np.concatenate([self.members, more], axis=2), self.utility, self.ot)

    def extend(self, other: "UtilityPairs") -> "UtilityPairs":
        """These pairs followed by those of `other`."""
        ot = None if self.ot is None or other.ot is None else np.concatenate([self.ot, other.ot])
        members = np.concatenate([self.members, other.members])
        return UtilityPairs(members, np.concatenate([self.utility, other.utility]), ot)


def split_by_size(pairs: UtilityPairs, generator: np.random.Generator) -> tuple[UtilityPairs, UtilityPairs]:
    """The shorter half (D_tr, inner objective) and the longer half (D_val, outer objective) of at least 2 pairs.

    §4.2.1 splits at the median length. Deviation[cut-in-the-middle]: ties are broken at random and the order is cut in
    the middle, since "smaller than the median" leaves D_tr empty when most sizes agree.
    """
    require(len(pairs) >= 2, f"A split by size needs at least 2 pairs, got {len(pairs)}.")
    order = np.lexsort((generator.random(len(pairs)), pairs.sizes))
    middle = len(pairs) // 2
    return pairs.take(order[:middle]), pairs.take(order[middle:])


def draw_pairs(
    positions: NDArray[np.int64],
    num_pairs: int,
    generator: np.random.Generator,
    *,
    num_seed_labels: int,
    num_classes: int,
    law: SizeLaw = "uniform",
    exclude: frozenset[bytes] = frozenset(),
) -> Members:
    """Members (num_pairs, 2, k) of pairs drawn from the seed images at `positions`.

    Deviation[size-law]: Algorithm 3 says "equal size" and no more, §4.1 c speaks of the power set. Here each pair's
    size is uniform on {max(C, ⌈.2 s⌉), …, s − 1} for s = len(positions), or as `law` says; its two sets are drawn
    without replacement and differ. Sets whose packed row is in `exclude` are drawn again.
    """
    draw_size = _size_law(law, len(positions), num_classes)
    members = np.zeros((num_pairs, 2, num_seed_labels), dtype=bool)
    for pair in members:
        size = draw_size(generator)
        for _ in range(MAX_DRAWS):
            pair[:] = False
            for row in pair:
                row[generator.choice(positions, size=size, replace=False)] = True
            excluded = bool(exclude) and not exclude.isdisjoint(set_ids(pair))
            if not excluded and not np.array_equal(pair[0], pair[1]):
                break
        else:
            raise InvalidInput(
                f"The seed set must be large enough for {num_pairs} new pairs of {size} of {len(positions)} images, "
                "got too few different ones; raise data.num_seed_labels or ask for fewer pairs."
            )
    return members


def size_range(num_images: int, num_classes: int) -> tuple[int, int]:
    """Smallest and largest subset drawn from `num_images` images of `num_classes` classes."""
    low, high = max(num_classes, int(np.ceil(MIN_SIZE_SHARE * num_images))), num_images - 1
    require(
        low <= high,
        f"Utility samples need more than {num_classes} labelled images (the number of classes) to be drawn from, "
        f"got {num_images}.",
    )
    return low, high


def power_set_shares(num_images: int, low: int, high: int) -> Floats:
    """P(n) for n = low…high of two different sets of the power set (§4.1 c), given that both are of equal size n.

    In a set of the power set each of s images is with probability ½, so C(s, n) of 2^s sets have n images, and of two
    sets drawn independently C(s, n) (C(s, n) − 1) pairs have n images each and differ. 0 < low ≤ high < s.

    >>> power_set_shares(4, 1, 3).round(2).tolist()  # 12, 30 and 12 of 54 pairs
    [0.22, 0.56, 0.22]
    """
    sizes = np.arange(low, high + 1)
    log_sets = gammaln(num_images + 1) - gammaln(sizes + 1) - gammaln(num_images - sizes + 1)
    log_pairs = 2 * log_sets + np.log1p(-np.exp(-log_sets))
    shares: Floats = np.exp(log_pairs - log_pairs.max())
    return shares / shares.sum()


def set_ids(members: Members) -> list[bytes]:
    """A hashable identity for each row of `members` (…, k)."""
    return [row.tobytes() for row in np.packbits(members.reshape(-1, members.shape[-1]), axis=1)]


def _size_law(law: SizeLaw, num_images: int, num_classes: int) -> Callable[[np.random.Generator], int]:
    """Draws the size of a pair."""
    low, high = size_range(num_images, num_classes)
    if law == "binomial":
        sizes, shares = np.arange(low, high + 1), power_set_shares(num_images, low, high)
        return lambda generator: int(generator.choice(sizes, p=shares))
    low = (low + high + 1) // 2 if law == "longer" else low
    return lambda generator: int(generator.integers(low, high + 1))
