"""Held-out pairs, by which û is judged, as the trainings in the store give them."""

from collections.abc import Iterator, Sequence

import numpy as np

from ablations.deep.trainings import ROUNDING, Trial
from rambo.arrays import Floats
from rambo.ceiling import agreement_ceiling
from rambo.formats import first_line
from rambo.result import read_held_out
from rambo.store import Store
from rambo.training.trainer import SetSpec
from rambo.utility.samples import order_agreement


def pair_differences(trial: Trial, store: Store) -> Iterator[str]:
    """A sentence where held_out.csv or the bound of û's pair accuracy is not what the store's trainings say.

    None of a trial without û, and none where the store lacks one of the trainings. What û says of each set, and what is
    said of Eq. 4, would take û itself.
    """
    specs = trial.prepared.planned_specs()
    if not specs:
        return
    utility, again = (_measured(trial, specs[stage], store) for stage in ("held-out pairs", "ceiling"))
    if utility is None or again is None:
        return
    try:
        kept = read_held_out(store.home, trial.folder)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        yield f"{trial.what}: held_out.csv cannot be read ({first_line(error)})."
        return
    if kept is None or kept.utility.shape != utility.shape or not np.allclose(kept.utility, utility, 0, ROUNDING):
        yield f"{trial.what}: held_out.csv has other utilities than the store's trainings."
    if len(again) == 0:
        return
    agreement = order_agreement(utility[: len(again)], again)
    told = {"repeat_agreement": agreement, "pair_ceiling": agreement_ceiling(agreement)}
    for name, right in told.items():
        value = getattr(trial.result, name)
        if value is not None and not abs(value - right) <= ROUNDING:
            yield f"{trial.what}: {name} is {value!r}, the store's trainings give {right!r}."


def _measured(trial: Trial, specs: Sequence[SetSpec], store: Store) -> Floats | None:
    """(pairs, 2) accuracies on S_val; None where the store lacks one."""
    problem = trial.prepared.problem(trial.prepared.pool)
    keys = [problem.key(spec) for spec in specs]
    held = store.measurements(keys)
    if any(key not in held for key in keys):
        return None
    return np.array([held[key].val_accuracy for key in keys]).reshape(-1, 2)
