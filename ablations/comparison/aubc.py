"""The area under the budget curve: one number for a strategy over all its budgets."""

from collections.abc import Sequence

import numpy as np

from ablations.comparison.compared import Compared, scene_text
from ablations.comparison.curves import head, named
from ablations.comparison.rivals import TEST_FIELDS, TESTS, numbers_of, rivals, told
from ablations.comparison.views import View, moments
from ablations.sentences import mean_error
from ablations.statistics import summarise
from ablations.tables import Row, Table
from rambo.arrays import Floats


def aubc(accuracy: Floats, budgets: Sequence[int]) -> Floats:
    """AUBC = Σ_t (B_{t+1} − B_t)(a_t + a_{t+1})/2 / (B_T − B_1), per seed (Zhan et al. 2021).

    `accuracy`: (…, budgets, seeds), `budgets` rising; returns (…, seeds) in the unit of the accuracy: of a constant
    curve it is that constant, and unevenly spaced budgets count by how far they lie apart.

    >>> aubc(np.array([[0.5], [0.9], [0.9]]), [100, 200, 500]).tolist()
    [0.85]
    """
    widths = np.diff(np.asarray(budgets, dtype=np.float64))
    shares = widths / widths.sum()
    middle = (accuracy[..., 1:, :] + accuracy[..., :-1, :]) / 2
    area: Floats = np.round(np.einsum("t,...ts->...s", shares, middle), 12)
    return area


def aubc_view(compared: Compared, margin: float) -> View:
    """Area under each curve, and its difference to the reference's."""
    rows, numbers = list[Row](), list[tuple[object, ...]]()
    for scene, places in compared.curves.items():
        areas = aubc(compared.accuracy[:, places], [compared.settings[place].budget for place in places])
        found = {one.name: one for one in rivals(areas, compared.methods, compared.reference, margin)}
        for name, area in zip(compared.methods, areas, strict=True):
            against = told(found[name]) if name in found else ("the reference", "", "", "")
            rows.append((*named(compared, scene, name), mean_error(summarise(list(area))), *against))
            numbers.append((scene_text(scene), name, *moments(area), *numbers_of(found.get(name))))
    header = (*head(compared), "AUBC %", f"{compared.methods[compared.reference]} − it", *TESTS[1:])
    note = (
        "Area under the curve of test accuracy over the budgets by trapezoids, divided by their range: of a constant "
        "curve it is that constant. Worked out seed by seed; mean ± standard error, and the difference of the "
        f"reference, {compared.methods[compared.reference]}, in points. Holm's correction is over its rivals."
    )
    fields = ("scene", "method", "n", "mean", "se", "low", "high", *TEST_FIELDS)
    return View("aubc", "Area under the budget curve", Table(header, tuple(rows), ()), note, (fields, *numbers))
