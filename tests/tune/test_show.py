"""What a plan and a status print of a search."""

import pytest
from made_searches import NOWHERE, RATE

from cluster.place import Place
from rambo.home import Home
from tune.driver import Limits
from tune.settings import Settings, make_plan, most_trainings
from tune.show import plan_text
from tune.space import Range, Space


def test_the_plan_says_what_is_left_to_the_trials(tiny, tmp_path):
    space = Space({RATE: Range(1e-4, 1e-2, log=True)})
    settings = Settings("test", (0, 1), Limits(3))
    place = Place(Home(tmp_path), NOWHERE, "cpu", "ledger.jsonl")
    made = make_plan(tiny, space, settings, NOWHERE)
    most = most_trainings(made, NOWHERE)
    said = f"Then up to {most} trainings, the sets that its {RATE} bring among them, a trial, {3 * most} in all."
    assert said in plan_text(made, settings, place)


@pytest.mark.parametrize(("objectives", "halves"), [(("accuracy",), True), (("accuracy", "budget"), False)])
def test_the_plan_announces_halving_only_where_there_is_one_objective(tiny, tmp_path, objectives, halves):
    settings = Settings("test", (0, 1), Limits(3), objectives)
    place = Place(Home(tmp_path), NOWHERE, "cpu", "ledger.jsonl")
    made = make_plan(tiny, Space({"utility_model.dropout": Range(0.1, 0.5)}), settings, NOWHERE)
    assert ("one after another while it is in the better half" in plan_text(made, settings, place)) == halves
