"""What a search is and what came of it, as plain data."""

from pathlib import Path

from made_searches import attempts, plan

from tune.records import Attempt, SearchPlan, entries


def test_a_plan_survives_its_file(tiny):
    assert SearchPlan.from_bytes(plan(tiny).to_bytes()) == plan(tiny)


def test_each_folder_is_shown_once_and_what_was_tried_again_is_not(tiny):
    shared = attempts()[0]
    again = Attempt(30, "COMPLETE", shared.fields, shared.folders, shared.outcomes)
    shown = entries(plan(tiny), [*attempts(), again])
    assert len({entry.folder for entry in shown}) == len(shown)
    assert {entry.tags["number"] for entry in shown} == {str(n) for n in range(21)}
    assert [entry.failure for entry in shown if entry.tags["state"] == "FAIL"] == ["it broke, badly"]
    assert Path(shown[0].folder).name == shown[0].tags["seed"]
