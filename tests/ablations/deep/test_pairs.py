"""Held-out pairs, held to the store."""

from falsified import falsify, rewrite

from ablations.deep.pairs import pair_differences
from ablations.deep.trainings import read_trials
from rambo.store import Store

RAMBO = "strategy=rambo"


def differences(plan, home, tmp_path, cell=RAMBO):
    trials = {folder: trial for folder, trial, _ in read_trials(plan, home, tmp_path)}
    return list(pair_differences(trials[plan.folders[cell, 0]], Store(home, compact=False)))


def test_what_nobody_has_touched_agrees_and_a_strategy_without_u_has_none(finished, tmp_path):
    assert differences(*finished, tmp_path) == differences(*finished, tmp_path, "strategy=random") == []


def test_pairs_that_flatter_u_are_named(copied, tmp_path):
    """Scores and utilities that agree with each other, and with the result: verify alone sees nothing."""
    plan, home = copied
    folder = plan.folders[RAMBO, 0]
    head, *rows = home.read(f"{folder}/held_out.csv").decode().splitlines()
    forged = [",".join([*row.split(",")[:3], row.split(",")[2], *row.split(",")[4:]]) for row in rows]
    home.write(f"{folder}/held_out.csv", "\n".join([head, *forged]).encode())
    falsify(home, folder, pair_accuracy=1.0, repeat_agreement=0.995)
    first, second = differences(plan, home, tmp_path)
    assert first == "strategy=rambo, seed 0: held_out.csv has other utilities than the store's trainings."
    assert second.startswith("strategy=rambo, seed 0: repeat_agreement is 0.995, the store's trainings give ")
    home.write(f"{folder}/held_out.csv", b"pair,member,score,utility,predicted_ot,ot\n0,0,x,x,,\n")
    assert "held_out.csv cannot be read" in differences(plan, home, tmp_path)[0]


def test_a_store_that_lacks_one_of_their_trainings_tells_nothing(copied, tmp_path):
    plan, home = copied
    falsify(home, plan.folders[RAMBO, 0], repeat_agreement=0.995)
    assert len(differences(plan, home, tmp_path)) == 1
    rewrite(home, lambda rows: rows[:0])
    assert differences(plan, home, tmp_path) == []
