"""Random: B images uniformly at random (§5.2)."""

import numpy as np

from rambo.strategies.request import Request, Selection


def select_random(request: Request, generator: np.random.Generator) -> Selection:
    """The first B of a random order, so that a larger budget picks a superset."""
    return Selection.at_once(generator.permutation(request.pool.unlabelled)[: request.budget])
