"""What other test images would add to errors, from which images each trial's trainings got right.

All seeds are judged on the same test images, so errors over seeds leave those out: most of what a level hangs on, and
little of a difference, where an image is as hard on either side.
"""

from collections.abc import Sequence

import numpy as np

from ablations.factors import Cell
from ablations.study import Outcome, Study
from rambo.arrays import Floats
from rambo.correctness import correct_share
from rambo.crossed import CrossedError, crossed_error


def level_error(study: Study, cell: Cell) -> CrossedError | None:
    """Of the test accuracy of `cell`; None from fewer than two seeds, or where a trial does not tell its images."""
    seeds = [seed for seed in study.grid.seeds if (cell.name, seed) in study.outcomes]
    return combined_error(study, [cell], np.ones(1), seeds)


def combined_error(study: Study, cells: Sequence[Cell], weights: Floats, seeds: Sequence[int]) -> CrossedError | None:
    """Of Σ weight · test accuracy over `cells`, each of which has `seeds`.

    None as above, for other images, and for cells with the settings of several searches, whose luck is told apart.
    """
    if any(len(cell.variants) > 1 for cell in cells):
        return None
    outcomes = [[study.outcomes[cell.name, seed] for seed in seeds] for cell in cells]
    images = {(one.data, one.num_test) for column in outcomes for one in column}
    if len(seeds) < 2 or len(images) > 1:
        return None
    parts = [_right(column) for column in outcomes]
    known = [weight * part for weight, part in zip(weights, parts, strict=True) if part is not None]
    return crossed_error(np.sum(known, axis=0)) if len(known) == len(parts) else None


def _right(outcomes: Sequence[Outcome]) -> Floats | None:
    """(seeds, images) the share of trainings that got each test image right."""
    told = [(one.test_correct, one.num_test) for one in outcomes]
    rows = [correct_share(text, number) for text, number in told if text is not None and number is not None]
    return np.stack(rows) if len(rows) == len(told) else None
