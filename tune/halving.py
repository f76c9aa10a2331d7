"""Successive halving over seeds: who is worth another seed."""

from collections.abc import Sequence

LEAST = 4
"""Values at a seed below which nobody is stopped: half of three says little."""


def goes_on(value: float, others: Sequence[float]) -> bool:
    """Whether a trial whose mean so far is `value` runs its next seed, `others` being the means of others there.

    It must be in the better half, itself included; a tie with the last of that half goes on.

    >>> goes_on(0.5, [0.1, 0.9, 0.8]), goes_on(0.2, [0.1, 0.9, 0.8]), goes_on(0.2, [0.9, 0.8])
    (False, False, True)
    >>> goes_on(0.8, [0.1, 0.9, 0.8])
    True
    """
    total = len(others) + 1
    return total < LEAST or sum(other > value for other in others) < -(-total // 2)
