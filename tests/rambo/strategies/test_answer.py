"""What any answer of a strategy is held to, with a real pool."""

import numpy as np
import pytest
import torch

from rambo.errors import FitCollapsed, InvalidInput, StrategyFailed
from rambo.strategies.answer import held
from rambo.strategies.request import Request, Selection

BUDGET = 6


@pytest.fixture
def request_for_six(prepared):
    return Request(
        pool=prepared.pool.without_validation_labels(), scout=None, budget=BUDGET, batch_size=3, num_candidates=3
    )


def answered(request, answer):
    """The checked answer of a strategy called lab:pick that answers with `answer(pool)`."""
    return held(lambda asked, generator: answer(asked.pool), "lab:pick")(request, np.random.default_rng(0))


def first(pool):
    return pool.unlabelled[:BUDGET]


@pytest.mark.parametrize("kind", [np.array, list, tuple, torch.tensor, np.int32, np.uint64])
def test_picks_alone_are_a_selection_made_at_once(request_for_six, kind):
    picks = answered(request_for_six, lambda pool: kind(first(pool).tolist()))
    assert picks.indices.tolist() == first(request_for_six.pool).tolist()
    assert picks.indices.dtype == np.int64
    assert picks.iterations.tolist() == [0] * BUDGET
    assert np.isnan(picks.scores).all()


def test_a_selection_keeps_its_order_its_iterations_and_its_scores(request_for_six):
    iterations, scores = np.arange(BUDGET) // 3, np.linspace(0, 1, BUDGET, dtype=np.float32)
    picks = answered(request_for_six, lambda pool: Selection(first(pool)[::-1], iterations, scores))
    assert picks.indices.tolist() == first(request_for_six.pool)[::-1].tolist()
    assert (picks.iterations.tolist(), picks.scores.tolist()) == (iterations.tolist(), scores.tolist())


def with_one(pool, index):
    return [*first(pool)[:-1].tolist(), int(index)]


@pytest.mark.parametrize(
    ("answer", "rule"),
    [
        (lambda pool: None, "must return a Selection or its picks as a 1-D array of integers, got NoneType."),
        (lambda pool: {1: 2}, "as a 1-D array of integers, got dict."),
        (lambda pool: first(pool) / 2, "as a 1-D array of integers, got ndarray of float64 and shape (6,)."),
        (lambda pool: first(pool)[None], "as a 1-D array of integers, got ndarray of int64 and shape (1, 6)."),
        (
            lambda pool: np.isin(pool.members, first(pool)),
            "as a 1-D array of integers, got ndarray of bool and shape (",
        ),
        (lambda pool: [[1, 2], [3]], "as a 1-D array of integers, got list."),
        (lambda pool: Selection.at_once(first(pool) / 2), "as a 1-D array of integers, got ndarray of float64 and"),
        (lambda pool: [], "must pick 6 images, got 0."),
        (lambda pool: pool.unlabelled[:5], "must pick 6 images, got 5."),
        (lambda pool: pool.unlabelled[:7], "must pick 6 images, got 7."),
        (lambda pool: Selection.at_once(pool.unlabelled[:7]), "must pick 6 images, got 7."),
        (lambda pool: with_one(pool, pool.unlabelled[0]), "must pick each image once, got {0} 2 times."),
        (
            lambda pool: with_one(pool, pool.labelled[3]),
            "unlabelled images of the pool, got {1}, which is labelled alr",
        ),
        (lambda pool: with_one(pool, pool.validation[0]), "of the pool, got {2}, which is in the validation set."),
        (lambda pool: with_one(pool, -1), "of the pool, got -1, which is no image of the pool."),
        (lambda pool: with_one(pool, 10**9), "of the pool, got 1000000000, which is no image of the pool."),
        (lambda pool: pool.labelled[:6], "got {3}, which is labelled already, and 5 more."),
        (
            lambda pool: Selection(first(pool), np.zeros(5, dtype=int), np.zeros(6)),
            "must return an iteration, an integer, and a score for each of 6 picks, got ndarray of int64 and shape (5",
        ),
        (lambda pool: Selection(first(pool), np.zeros(6), np.zeros(6)), "must return an iteration, an integer, and"),
        (
            lambda pool: Selection(first(pool), np.zeros(6, dtype=int), np.zeros(2)),
            "and ndarray of float64 and shape (2",
        ),
    ],
)
def test_what_is_no_selection_is_one_sentence_that_names_the_strategy(request_for_six, answer, rule):
    pool = request_for_six.pool
    with pytest.raises(StrategyFailed) as caught:
        answered(request_for_six, answer)
    assert str(caught.value).startswith("strategy lab:pick must ")
    assert rule.format(pool.unlabelled[0], pool.labelled[3], pool.validation[0], pool.labelled[0]) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("error", [ZeroDivisionError("by\nzero"), KeyError(3), SystemExit(2), AssertionError()])
def test_a_strategy_that_raises_is_one_sentence_with_the_line(request_for_six, error):
    def broken(pool):
        raise error

    with pytest.raises(StrategyFailed) as caught:
        answered(request_for_six, broken)
    said = str(caught.value)
    assert said.startswith(f"strategy lab:pick must return a selection, got {type(error).__name__}: ")
    assert said.endswith(f"(test_answer.py:{broken.__code__.co_firstlineno + 1}).")
    assert "\n" not in said
    assert caught.value.__cause__ is error


def test_the_line_is_the_strategy_s_own_where_a_library_raised(request_for_six):
    def broken(pool):
        return np.linalg.inv(np.zeros((2, 3)))

    with pytest.raises(
        StrategyFailed, match=rf"LinAlgError.*\(test_answer.py:{broken.__code__.co_firstlineno + 1}\)\.$"
    ):
        answered(request_for_six, broken)


@pytest.mark.parametrize(
    "error",
    [MemoryError(), torch.OutOfMemoryError(), InvalidInput("the disk"), FitCollapsed("flat"), KeyboardInterrupt()],
)
def test_what_is_no_fault_of_the_strategy_is_raised_as_it_is(request_for_six, error):
    def broken(pool):
        raise error

    with pytest.raises(type(error)) as caught:
        answered(request_for_six, broken)
    assert caught.value is error


@pytest.mark.parametrize("name", ["images", "labels", "rounds", "members", "validation"])
def test_what_a_strategy_is_asked_with_cannot_be_written_to(request_for_six, name):
    """Trials that follow in a process would else see other data."""
    before = getattr(request_for_six.pool, name).copy()

    def spoiling(pool):
        getattr(pool, name)[...] = 0
        return first(pool)

    with pytest.raises(StrategyFailed, match="ValueError: assignment destination is read-only"):
        answered(request_for_six, spoiling)
    assert np.array_equal(getattr(request_for_six.pool, name), before)
    assert getattr(request_for_six.pool, name).flags.writeable, "only the strategy's view is locked"
