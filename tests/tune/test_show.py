"""What a plan and a status print of a search."""

from dataclasses import replace

import pytest
from made_searches import NOWHERE, RATE, attempts, plan

from cluster.place import Place
from rambo.home import Home
from tune.driver import Limits
from tune.records import SeedOutcome, named_search
from tune.search import open_search
from tune.settings import Settings, keep_plan, make_plan, most_trainings, storage_of
from tune.show import list_table, plan_text, space_text, status_text
from tune.space import BATCH, LAMBDA_OT, Choice, Range, Space, Whole


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


def test_the_status_counts_every_trial_once_and_names_the_best_and_why_others_failed(tiny, tmp_path):
    named_search("test", Home(tmp_path)).keep({"spent.json": b'{"seconds": 90.0, "collected": 10}'})
    said = status_text(plan(tiny), attempts(), Home(tmp_path)).splitlines()
    assert "test: 14 complete, 6 stopped early, 0 running, 2 failed." in said
    assert "Spent: 90 s, 10 trainings." in said
    best = plan(tiny).best(attempts())
    begins = f"best: trial {best.number}, validation {100 * best.val_accuracy:.2f} %: "
    assert any(line.startswith(begins) for line in said)
    assert "failed: trial 20: it broke, badly" in said


def test_the_space_is_a_line_for_each_dimension_in_words(tiny):
    space = Space(
        {
            BATCH: Choice((20,)),
            RATE: Range(1e-4, 1e-2, log=True),
            LAMBDA_OT: Range(0.1, 5, zero=True),
            "pretraining.num_pairs": Whole(4, 9),
        }
    )
    *lines, sought = space_text(plan(tiny, space, ("accuracy", "budget"))).splitlines()
    assert [line.split("  ", 1)[0].strip() for line in lines] == list(space.dimensions)
    assert [line.rsplit("  ", 1)[1] for line in lines] == [
        "20 (fixed)",
        "log-uniform from 0.0001 to 0.01",
        "0, or uniform from 0.1 to 5",
        "whole numbers from 4 to 9",
    ]
    assert sought == "Sought: mean validation accuracy, the larger the better; B, the smaller the better."


def test_the_searches_of_a_home_are_listed_with_what_they_cost(tiny, tmp_path):
    home, made = Home(tmp_path), plan(tiny)
    keep_plan(made, home)
    assert [row[:2] for row in list_table(home).rows] == [("test", "database elsewhere")]
    memory = open_search(made, storage_of("test", None, home), "random", 0)
    for value in (0.6, 0.8):
        number = memory.ask().number
        memory.report(number, [SeedOutcome(value, value, 5, 1.5)] * 2)
        memory.complete(number, [value])
    memory.ask()
    home.write("searches/test/spent.json", b'{"seconds": 90.0, "collected": 10}')
    listed = list_table(home)
    assert listed.rows == [("test", "2", "1", "0", "80.00", "6", "30")]
    long = replace(listed, rows=[("quickstart.bilevel=on,OT=off,RankNet=on.search-2", *listed.rows[0][1:])])
    assert max(map(len, long.text(80).splitlines())) <= 80
