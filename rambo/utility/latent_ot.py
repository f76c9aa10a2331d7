"""The distance of Equation 4 as footnote 1 has it: optimal transport between two sets in û's latent space.

A set is the uniform distribution on φ(x) of its images, the cost between two images ‖φ(x) − φ(x')‖², and the distance
the least cost of moving one set onto the other: the squared 2-Wasserstein distance. Equation 4 takes ratios alone, so
the scale of û's embeddings does not matter. No label enters.
"""

import numpy as np
from threadpoolctl import threadpool_limits

from rambo.arrays import Features, Floats, Members
from rambo.utility.ot_distance import exact_distance, squared_distances


def set_distances(features: Features, members: Members, targets: Members) -> Floats:
    """(s, t) distances of the sets `members` (s, k) to the sets `targets` (t, k) of the k images with `features`.

    >>> line = np.array([[0.0], [1.0], [2.0]], dtype=np.float32)
    >>> sets = np.array([[True, True, False], [False, True, True]])
    >>> set_distances(line, sets[:1], sets).tolist()  # both images are moved by 1, or neither
    [[0.0, 1.0]]
    """
    with threadpool_limits(1, user_api="blas"):  # sums in one order, however many cores there are
        cost = squared_distances(features, features)
    distances = [[exact_distance(cost[np.ix_(row, target)]) for target in targets] for row in members]
    return np.array(distances).reshape(len(members), len(targets))
