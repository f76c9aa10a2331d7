"""The best setting of a search beside its base: on fresh seeds only, with the paired tests of an ablation."""

from pathlib import Path

import numpy as np
import pytest

from cluster.place import Place
from rambo.errors import InvalidInput
from rambo.home import Home
from rambo.progress import Progress
from tune.confirm import METRICS, Comparison, compare, comparison, comparison_experiments
from tune.records import Attempt, SearchPlan, SeedOutcome, alone
from tune.space import Choice, Space

FIELD = "acquisition.candidate_batches"


@pytest.fixture
def plan(tiny):
    return SearchPlan("quick", Space({FIELD: Choice((2, 3))}), tiny, (0, 1), ("accuracy",), "digits")


def attempts(values):
    return [
        Attempt(number, "COMPLETE", {FIELD: level}, (), (SeedOutcome(value, value), SeedOutcome(value, value)))
        for number, (level, value) in enumerate(values)
    ]


def place(tmp_path):
    return Place(Home(tmp_path), Path("unused"), "cpu", "ledger.jsonl")


def test_the_best_and_the_base_run_with_every_fresh_seed(plan, tmp_path):
    found = comparison_experiments(plan, attempts([(3, 0.5), (2, 0.6)]), (4, 5, 6), place(tmp_path))
    assert [one.config.seed for one in found] == [4, 5, 6, 4, 5, 6]
    assert [one.config.acquisition.candidate_batches for one in found] == [2, 2, 2, 3, 3, 3]


@pytest.mark.parametrize(
    ("seeds", "results", "sentence"),
    [
        ((1, 4), [(3, 0.5)], "--seeds must be fresh, since quick chose its best on 0, 1; got 1 among them"),
        ((4,), [(3, 0.5)], "--seeds must be at least two for a comparison, got 1"),
        ((4, 5), [], "--study quick must have a complete trial, got none"),
    ],
)
def test_what_cannot_be_compared_is_refused(plan, tmp_path, seeds, results, sentence):
    with pytest.raises(InvalidInput, match=sentence):
        comparison_experiments(plan, attempts(results), seeds, place(tmp_path))


def test_nothing_is_compared_while_another_command_holds_the_search(plan, tmp_path):
    where = place(tmp_path)
    with (
        alone("quick", where.home),
        pytest.raises(InvalidInput, match="--study quick must be searched or confirmed by"),
    ):
        compare(plan, attempts([(3, 0.5), (2, 0.6)]), (4, 5), where, progress=Progress(quiet=True))
    assert not where.home.folders("trials")


def test_what_rounding_leaves_of_no_difference_is_none(plan):
    same, almost = np.full(3, 0.3), np.full(3, 0.1 + 0.2)
    found = Comparison((4, 5, 6), dict.fromkeys(METRICS, almost), dict.fromkeys(METRICS, same))
    _, table, sentence = comparison(plan, found)
    assert table.rows[0] == ("test", "30.00 ± 0.00", "30.00 ± 0.00", "0.00", "", "1", "all alike")
    assert sentence.startswith("The difference is the same on every seed, so nothing can be told of other seeds: 0.00")


def test_the_text_says_by_how_much_and_how_surely(plan):
    base = np.array([0.80, 0.81, 0.82])
    found = Comparison(
        (4, 5, 6),
        {"test_accuracy": base + np.array([0.01, 0.02, 0.03]), "val_accuracy": base},
        {"test_accuracy": base, "val_accuracy": base},
    )
    _, table, sentence = comparison(plan, found)
    told = ("test", "83.00 ± 1.15", "81.00 ± 0.58", "+2.00", "−0.48 to 4.48", ".250", "remains open")
    assert table.rows[0] == told
    assert table.rows[1][3] == "0.00"
    assert sentence == "Whether the best beats the base remains open: +2.00 points of test accuracy, sign-flip p .250."
    assert max(map(len, table.text().splitlines())) <= 80
