"""Label-efficiency curves: what each method reaches with how many labels."""

from ablations.comparison.compared import BUDGET, SEED_LABELS, Compared, Levels, scene_text
from ablations.comparison.views import View, moments
from ablations.factors import label
from ablations.tables import Row, Table
from rambo.arrays import Floats
from rambo.inference import t_interval

TITLES = {BUDGET: "Accuracy over the budget", SEED_LABELS: "Accuracy over the size of the seed set"}

COUNTED = {BUDGET: "the number B of labels bought", SEED_LABELS: "the number k of labels in the seed set"}


def curves_view(compared: Compared) -> View:
    """Mean accuracy at each level of the axis."""
    axis, curves = compared.axis, compared.curves
    levels = [int(dict(setting.levels).get(axis, 0)) for setting in compared.settings]
    points = sorted({levels[place] for places in curves.values() for place in places})
    rows, numbers = list[Row](), list[tuple[object, ...]]()
    for scene, places in curves.items():
        at = {levels[place]: place for place in places}
        for name, accuracy in zip(compared.methods, compared.accuracy, strict=True):
            cells = [_with_interval(accuracy[at[point]]) if point in at else "–" for point in points]
            rows.append((*named(compared, scene, name), *cells))
            numbers += [_point(compared, scene, name, place, accuracy[place]) for place in places]
    header = (*head(compared), *(f"{label(axis)}={point}" for point in points))
    note = (
        f"Mean test accuracy in % with its 95 % t interval over seeds, by {COUNTED[axis]}. Each is of "
        "one mean, whose seeds are shared by all methods: differences are surer than intervals that overlap suggest."
    )
    fields = ("scene", "method", "budget", "num_labelled", "n", "mean", "se", "low", "high")
    return View("curves", TITLES[axis], Table(header, tuple(rows), ()), note, (fields, *numbers))


def head(compared: Compared) -> Row:
    """The first columns of a table with a row for each curve."""
    return ("method", "in") if len(compared.curves) > 1 else ("method",)


def named(compared: Compared, scene: Levels, name: str) -> Row:
    """The same of one row."""
    return (name, scene_text(scene)) if len(compared.curves) > 1 else (name,)


def _point(compared: Compared, scene: Levels, name: str, place: int, values: Floats) -> tuple[object, ...]:
    setting = compared.settings[place]
    return (scene_text(scene), name, setting.budget, setting.num_labelled, *moments(values))


def _with_interval(values: Floats) -> str:
    low, high = t_interval(values)
    return f"{100 * values.mean():.2f} [{100 * low:.2f}, {100 * high:.2f}]"
