"""What is tried next and what is told: without Ray, on real folders and a real study."""

import math
from collections import Counter

import pytest
from driver_bench import Bench

from cluster.failures import Failure
from cluster.limits import Spent
from rambo.errors import InvalidInput
from rambo.formats import json_bytes
from rambo.home import Home
from tune.driver import FAILURES_IN_A_ROW, MOST_ASIDE, Assignment, Limits
from tune.records import ORPHANED, SeedOutcome, entries, named_search
from tune.space import BATCH, Choice, Space, Whole


def test_trials_are_halved_over_seeds_and_told_as_what_they_are(tiny, tmp_path):
    bench = Bench(tiny, tmp_path, Limits(9))
    for value in (0.5, 0.6, 0.7, 0.9, 0.1, 0.65):
        bench.run(value, value)
    assert bench.states() == ["COMPLETE"] * 4 + ["PRUNED", "COMPLETE"]
    assert bench.driver.num_finished == 6
    again = Bench(tiny, tmp_path, Limits(9))
    again.run(0.2, 0.2)
    assert again.states()[-1] == "PRUNED", "a restart knows what was seen"


def test_without_stopping_every_trial_runs_every_seed(tiny, tmp_path):
    bench = Bench(tiny, tmp_path, Limits(9), stops=False)
    for value in (0.5, 0.6, 0.7, 0.9, 0.1):
        bench.run(value, value)
    assert bench.states() == ["COMPLETE"] * 5


def test_failures_and_values_that_are_no_number_are_told_with_their_reason_and_do_not_count(tiny, tmp_path):
    bench = Bench(tiny, tmp_path, Limits(1))
    bench.run(0.5, math.nan)
    job = bench.driver.next(9)
    assert not bench.driver.heard(job.number, 0, Failure("error", "ValueError: no"))
    bench.driver.ended(job.number)
    job = bench.driver.next(9)
    bench.driver.died(job.number, "its process died 4 times")
    assert bench.states() == ["FAIL"] * 3
    reasons = [one.reason for one in bench.search.attempts()]
    assert reasons == ["its accuracy is nan at seed 1", "ValueError: no", "its process died 4 times"]
    assert b"killed" in bench.home.read(f"{job.folders[0]}/failure.json")
    shown = {entry.name: entry.failure for entry in entries(bench.plan, bench.search.attempts())}
    assert shown == {"trial 0, seed 0": None, **{f"trial {n}, seed {max(0, 1 - n)}": reasons[n] for n in range(3)}}
    assert bench.driver.why_over() is None
    bench.run(0.5, 0.5)
    assert bench.driver.why_over() == "All 1 trials are finished."


def test_a_search_whose_trials_all_fail_gives_up(tiny, tmp_path):
    bench = Bench(tiny, tmp_path, Limits(99))
    for _ in range(FAILURES_IN_A_ROW):
        bench.run(math.nan)
    assert "10 trials in a row have failed, the last since its accuracy is nan" in bench.driver.why_over()
    assert bench.driver.next(9) is None


def test_what_is_measured_already_is_told_and_not_run(tiny, tmp_path):
    space = Space({"acquisition.candidate_batches": Choice((2, 3))})
    bench = Bench(tiny, tmp_path, Limits(8), space)
    job = bench.driver.next(9)
    for folder, accuracy in zip(job.folders, (0.6, 0.8), strict=True):
        bench.finish(folder, accuracy)
    bench.driver.heard(job.number, 0, SeedOutcome(0.6, 0.5, 7))
    bench.driver.heard(job.number, 1, SeedOutcome(0.8, 0.5, 7))
    bench.driver.ended(job.number)
    other = bench.driver.next(9)
    assert other.fields != job.fields
    for folder in other.folders:
        bench.finish(folder, 0.4)
    assert bench.driver.next(9) is None, "every setting there is has its results"
    told = [one for one in bench.search.attempts() if one.number != other.number]
    assert [one.state for one in told] == ["COMPLETE"] * 7
    for one in told:
        expected = 0.7 if one.fields == job.fields else 0.4
        assert one.val_accuracy == pytest.approx(expected)
    assert bench.driver.trainings == 14, "what was known already costs nothing"


def test_a_failure_that_another_try_would_repeat_is_told_and_not_run(tiny, tmp_path):
    bench = Bench(tiny, tmp_path, Limits(5), Space({"acquisition.candidate_batches": Choice((2,))}))
    job = bench.driver.next(9)
    bench.home.write(f"{job.folders[1]}/failure.json", json_bytes(vars(Failure("collapsed", "all scores are equal"))))
    bench.driver.heard(job.number, 0, Failure("collapsed", "all scores are equal"))
    bench.driver.ended(job.number)
    assert bench.driver.next(9) is None
    assert bench.states() == ["FAIL"] * FAILURES_IN_A_ROW
    assert {one.reason for one in bench.search.attempts()} == {"all scores are equal"}
    shown = {entry.tags["seed"]: entry.failure for entry in entries(bench.plan, bench.search.attempts()[1:])}
    assert shown == {"1": "all scores are equal"}, "seed 0 has not failed"


def test_a_known_failure_keeps_the_results_of_the_seeds_before_it(tiny, tmp_path):
    bench = Bench(tiny, tmp_path, Limits(5), Space({"acquisition.candidate_batches": Choice((2,))}))
    job = bench.driver.next(9)
    bench.finish(job.folders[0], 0.6)
    bench.home.write(f"{job.folders[1]}/failure.json", json_bytes(vars(Failure("collapsed", "all scores are equal"))))
    bench.driver.died(job.number, "its process died 4 times")
    assert bench.driver.next(9) is None
    told = bench.search.attempts()[1:]
    assert {one.outcomes for one in told} == {(SeedOutcome(0.6, 0.5),)}
    shown = {entry.tags["seed"]: entry.failure for entry in entries(bench.plan, told)}
    assert shown == {"0": None, "1": "all scores are equal"}


TWO = Space({"acquisition.candidate_batches": Choice((2, 3))})
"""Every third setting, at the latest, is one that is in hand."""


def both(bench: Bench) -> list[Assignment]:
    """A job of each of the two settings; all else that may be asked for is put aside."""
    jobs = [bench.driver.next(9) for _ in range(2)]
    assert len({tuple(job.folders) for job in jobs}) == 2
    assert bench.driver.next(9) is None
    return jobs


def test_a_setting_in_hand_is_not_run_a_second_time_but_told_what_its_twin_gave(tiny, tmp_path):
    bench = Bench(tiny, tmp_path, Limits(6), TWO, stops=False)
    jobs = both(bench)
    assert (bench.driver.num_running, bench.driver.num_in_hand) == (2, 6), "what is aside is among the six trials"
    for job, value in zip(jobs, (0.6, 0.7), strict=True):
        for place, folder in enumerate(job.folders):
            bench.finish(folder, value)
            bench.driver.heard(job.number, place, SeedOutcome(value, 0.5, 7))
        assert not bench.driver.is_done
        bench.driver.ended(job.number)
        assert bench.driver.next(9) is None
    assert bench.driver.is_done
    assert bench.states() == ["COMPLETE"] * 6
    assert {(list(one.folders) == jobs[0].folders, round(one.val_accuracy, 9)) for one in bench.search.attempts()} == {
        (True, 0.6),
        (False, 0.7),
    }
    assert bench.driver.trainings == 28, "paid for once"
    assert sorted(bench.ended) == list(range(6))


def test_a_setting_put_aside_is_run_when_its_twin_has_left_no_results(tiny, tmp_path):
    bench = Bench(tiny, tmp_path, Limits(6), TWO)
    first, second = both(bench)
    bench.finish(first.folders[0], 0.6)
    bench.driver.heard(first.number, 0, SeedOutcome(0.6, 0.5))
    bench.driver.died(first.number, "its process died 4 times")
    assert bench.driver.next(1) is None, "the other one fills the room"
    again = bench.driver.next(2)
    assert (again.folders, again.number > second.number) == (first.folders, True)
    assert bench.driver.next(9) is None, "the rest of its kind waits for it"
    for job in (again, second):
        for place, folder in enumerate(job.folders):
            bench.finish(folder, 0.6)
            bench.driver.heard(job.number, place, SeedOutcome(0.6, 0.5))
        bench.driver.ended(job.number)
    while (more := bench.driver.next(9)) is not None:
        pytest.fail(f"{more} has its results")
    assert Counter(bench.states()) == {"COMPLETE": 6, "FAIL": 1}


def test_a_sampler_that_insists_on_what_is_in_hand_is_asked_a_bounded_number_of_times(tiny, tmp_path):
    bench = Bench(tiny, tmp_path, Limits(99), Space({"acquisition.candidate_batches": Choice((2,))}))
    job = bench.driver.next(2)
    for _ in range(3):
        assert bench.driver.next(2) is None
    assert (bench.driver.num_running, bench.driver.num_in_hand) == (1, 1 + MOST_ASIDE)
    bench.home.write(f"{job.folders[0]}/failure.json", json_bytes(vars(Failure("collapsed", "all scores are equal"))))
    bench.driver.heard(job.number, 0, Failure("collapsed", "all scores are equal"))
    bench.driver.ended(job.number)
    before = len(bench.states())
    assert bench.driver.next(2) is None
    assert bench.states() == ["FAIL"] * (before + FAILURES_IN_A_ROW - 1), "what was aside is one failure with its twin"


def test_a_time_budget_that_ends_while_one_is_aside_leaves_it_to_the_next_command(tiny, tmp_path):
    bench = Bench(tiny, tmp_path, Limits(3, time_budget=1000), TWO, stops=False)
    jobs = both(bench)
    aside = next(one for one in bench.search.attempts() if one.number not in {job.number for job in jobs})
    twin, other = sorted(jobs, key=lambda job: job.fields != aside.fields)
    bench.home.write("searches/test/spent.json", b'{"seconds": 1000.5}')
    bench.spent.__init__(named_search("test", bench.home))
    assert bench.driver.next(9) is None
    for job in (other, twin):
        assert not bench.driver.is_done
        bench.driver.died(job.number, "its process died 4 times")
        assert bench.driver.next(9) is None
    assert bench.driver.is_done
    assert bench.states() == ["FAIL"] * 3
    assert bench.search.attempts()[aside.number].reason == ORPHANED
    again = Bench(tiny, tmp_path, Limits(1), TWO)
    assert again.driver.next(9).fields == aside.fields


def test_an_interrupt_closes_what_is_aside_as_well(tiny, tmp_path):
    bench = Bench(tiny, tmp_path, Limits(6), TWO)
    both(bench)
    assert bench.search.close_orphans() == 6
    assert bench.states() == ["FAIL"] * 6


def test_a_setting_that_cannot_be_is_a_failure(tiny, tmp_path):
    space = Space({"data.num_seed_labels": Whole(1700, 1701)})
    bench = Bench(tiny, tmp_path, Limits(5), space)
    assert bench.driver.next(9) is None
    assert all("the setting cannot be" in one.reason for one in bench.search.attempts())


def test_no_more_are_handed_out_than_there_is_room_or_need_for(tiny, tmp_path):
    bench = Bench(tiny, tmp_path, Limits(3))
    jobs = [bench.driver.next(2) for _ in range(3)]
    assert [job is None for job in jobs] == [False, False, True]
    assert bench.driver.next(9) is not None
    assert bench.driver.next(9) is None
    assert bench.driver.num_in_hand == 3


def test_a_process_that_died_says_again_what_it_has_said(tiny, tmp_path):
    bench = Bench(tiny, tmp_path, Limits(3))
    job = bench.driver.next(9)
    assert bench.driver.heard(job.number, 0, SeedOutcome(0.5, 0.5, 9))
    assert bench.driver.heard(job.number, 0, SeedOutcome(0.5, 0.5, 0))
    bench.driver.heard(job.number, 1, SeedOutcome(0.7, 0.5, 9))
    bench.driver.ended(job.number)
    assert bench.driver.trainings == 18
    assert bench.states() == ["COMPLETE"]


def test_the_spent_budget_survives_a_restart(tiny, tmp_path):
    bench = Bench(tiny, tmp_path, Limits(9, time_budget=1000, max_trainings=30))
    bench.spent.collect(10)
    bench.run(0.5, 0.5, trainings=5)
    assert bench.driver.trainings == 20
    assert bench.driver.why_over() is None, "R = 2 trainings on each of 2 seeds fit"
    bench.run(0.5, 0.5, trainings=4)
    again = Bench(tiny, tmp_path, Limits(9, max_trainings=30))
    assert again.driver.trainings == 28
    assert again.driver.why_over() == "Another trial could go beyond 30 trainings; 28 are spent."
    again.spent.collect(3)
    assert again.driver.trainings == 28, "what a killed collection has left over was counted"
    bench.home.write("searches/test/spent.json", b'{"seconds": 1000.5, "collected": 10}')
    late = Bench(tiny, tmp_path, Limits(9, time_budget=1000))
    assert late.driver.why_over() == "The time budget of 1000 s is spent."


def test_a_damaged_note_of_what_is_spent_is_one_sentence_whose_advice_works(tmp_path):
    home = Home(tmp_path)
    home.write("searches/s/spent.json", b'{"seconds": ')
    with pytest.raises(InvalidInput, match=r"spent\.json must be whole and as this version writes it, .*; remove it: "):
        Spent(named_search("s", home))
    home.remove("searches/s/spent.json")
    assert Spent(named_search("s", home)).collected == 0


def test_accuracy_and_budget_give_a_front(tiny, tmp_path):
    space = Space({"acquisition.budget": Choice((40, 60, 80)), BATCH: Choice((20,))})
    bench = Bench(tiny, tmp_path, Limits(12), space, stops=False, objectives=("accuracy", "budget"))
    for _ in range(12):
        job = bench.driver.next(9)
        accuracy = {40: 0.5, 60: 0.4, 80: 0.7}[job.fields["acquisition.budget"]] + job.number / 1000
        for place in range(2):
            bench.driver.heard(job.number, place, SeedOutcome(accuracy, accuracy))
        bench.driver.ended(job.number)
    front = bench.plan.front(bench.search.attempts())
    assert [bench.plan.budget_of(one) for one in front] == [40, 80]
