"""Label-efficiency curves: what each method reaches with how many labels."""

from ablations.comparison.compared import Compared, Levels, scene_text
from ablations.comparison.views import View, moments
from ablations.tables import Row, Table
from rambo.arrays import Floats
from rambo.inference import t_interval


def curves_view(compared: Compared) -> View:
    """Mean accuracy at each budget."""
    budgets = sorted({compared.settings[place].budget for places in compared.curves.values() for place in places})
    rows, numbers = list[Row](), list[tuple[object, ...]]()
    for scene, places in compared.curves.items():
        at = {compared.settings[place].budget: place for place in places}
        for name, accuracy in zip(compared.methods, compared.accuracy, strict=True):
            cells = [_with_interval(accuracy[at[budget]]) if budget in at else "–" for budget in budgets]
            rows.append((*named(compared, scene, name), *cells))
            numbers += [_point(compared, scene, name, place, accuracy[place]) for place in places]
    header = (*head(compared), *(f"B={budget}" for budget in budgets))
    note = (
        "Mean test accuracy in % with its 95 % t interval over seeds, by the number B of labels bought. Each is of "
        "one mean, whose seeds are shared by all methods: differences are surer than intervals that overlap suggest."
    )
    fields = ("scene", "method", "budget", "num_labelled", "n", "mean", "se", "low", "high")
    return View("curves", "Accuracy over the budget", Table(header, tuple(rows), ()), note, (fields, *numbers))


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
