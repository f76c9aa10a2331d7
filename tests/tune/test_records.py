"""What a search is and what came of it, as plain data."""

import random
from dataclasses import replace
from pathlib import Path

import pytest
from made_searches import attempts, plan

from rambo.errors import InvalidInput
from rambo.fields import override
from tune.records import OFFSET_PENALTY, ORPHANED, OT, Attempt, SearchPlan, SeedOutcome, entries, settings_of
from tune.space import BATCH, BUDGET, LAMBDA_OT, LAMBDAS


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


def test_the_best_is_complete_and_the_earliest_of_equals(tiny):
    made = [
        Attempt(n, state, {}, (), (SeedOutcome(value, 0.5),))
        for n, (state, value) in enumerate([("COMPLETE", 0.6), ("COMPLETE", 0.7), ("PRUNED", 0.9), ("COMPLETE", 0.7)])
    ]
    assert plan(tiny).best(made[::-1]) == made[1]
    assert plan(tiny).best(made[2:3]) is None


def test_no_trial_of_the_front_is_beaten_and_every_other_is(tiny):
    rng = random.Random(1)
    made = [
        Attempt(n, "COMPLETE", {BUDGET: rng.choice([40, 60, 80, 100])}, (), (SeedOutcome(rng.randint(1, 9) / 10, 0.5),))
        for n in range(40)
    ]
    search = plan(tiny)
    front = search.front(made)
    assert [search.budget_of(one) for one in front] == sorted({search.budget_of(one) for one in front})

    def beats(one, other):
        mine, theirs = ((search.budget_of(x), -x.val_accuracy) for x in (one, other))
        return mine != theirs and all(a <= b for a, b in zip(mine, theirs, strict=True))

    points = {(search.budget_of(one), one.val_accuracy) for one in front}
    for one in made:
        beaten = any(beats(other, one) for other in made)
        assert beaten != ((search.budget_of(one), one.val_accuracy) in points)


def test_a_search_is_the_same_wherever_its_data_lie_and_another_with_another_budget(tiny):
    known = plan(tiny)
    replace(known, base=override(tiny, {"data.source": "npz:moved.npz", "seed": 9})).check_same(known)
    for changed, what in (
        (replace(known, base=override(tiny, {"acquisition.budget": 60})), "base"),
        (replace(known, seeds=(0, 2), data="digits-1"), "seeds and data"),
    ):
        with pytest.raises(InvalidInput, match=f"--study test must keep its .*, got another {what}; choose another"):
            changed.check_same(known)


def test_settings_that_differ_only_in_the_scale_of_lambda_have_the_same_coordinates(tiny):
    def at(lambda_ot, *lambdas):
        fields = {LAMBDA_OT: lambda_ot, **dict(zip(LAMBDAS, lambdas, strict=True)), BATCH: 20}
        return plan(tiny).coordinates(Attempt(0, "COMPLETE", fields, (), ()))

    assert at(2.0, 0.5, 1.5, 3.0) == pytest.approx(at(1.0, 3.0, 1.0, 6.0))
    assert at(2.0, 0.5, 1.5, 3.0)[OFFSET_PENALTY] == 6.0
    assert at(0.0, 0.5, 1.5, 3.0) == {OT: False, BATCH: 20}


def test_a_setting_counts_once_as_far_as_any_of_its_trials_came():
    def trial(number, folder, state, seeds):
        return Attempt(number, state, {}, (f"{folder}/0", f"{folder}/1"), (SeedOutcome(0.5, 0.5),) * seeds)

    first, stopped, twin, further = (
        trial(0, "a", "COMPLETE", 2),
        trial(1, "b", "PRUNED", 1),
        trial(2, "a", "COMPLETE", 2),
        trial(3, "b", "COMPLETE", 2),
    )
    failed = Attempt(4, "FAIL", {}, ("c/0", "c/1"), (), ORPHANED)
    assert settings_of([first, stopped, twin, further, failed]) == [first, further]
    assert settings_of([twin, first]) == [twin]
    assert settings_of([failed]) == []
