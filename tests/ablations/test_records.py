"""The CSV files hold everything in full, and can be recomputed from each other."""

import numpy as np
import pytest
from gaining_studies import rows

from ablations.statistics import analyse


def test_trials_csv_holds_every_trial_in_full(study, files):
    read = rows(files["trials.csv"])
    assert len(read) == 12 * 10
    for row in read:
        outcome = study.outcomes[row["cell"], int(row["seed"])]
        assert float(row["test_accuracy"]) == outcome.test_accuracy
        assert float(row["val_accuracy"]) == outcome.val_accuracy
        assert (row["config_id"], row["commit"], row["data"]) == (outcome.config_id, outcome.commit, outcome.data)
        assert int(row["training_version"]) == outcome.training_version
    assert {(row["strategy"], row["switches.ot"]) for row in read if row["is_control"] == "true"} == {
        ("random", ""),
        ("margin", ""),
        ("filtered_random", ""),
        ("scout_margin", ""),
    }


def test_trials_csv_says_what_failed_and_why_and_what_is_missing(holed_files):
    unfinished = {row["status"]: row for row in rows(holed_files["trials.csv"]) if row["status"] != "finished"}
    assert set(unfinished) == {"failed", "missing"}
    assert unfinished["failed"]["reason"] == "The classifier's loss was not a number & more."
    assert (unfinished["missing"]["cell"], unfinished["missing"]["seed"]) == ("margin", "5")
    assert unfinished["missing"]["test_accuracy"] == ""


def test_table_csv_can_be_recomputed_from_trials_csv(files):
    trials = rows(files["trials.csv"])
    for row in rows(files["table.csv"]):
        values = [float(trial["test_accuracy"]) for trial in trials if trial["cell"] == row["cell"]]
        assert int(row["n"]) == len(values) == 10
        assert float(row["test_accuracy_mean"]) == pytest.approx(np.mean(values))
        assert float(row["test_accuracy_se"]) == pytest.approx(np.std(values, ddof=1) / np.sqrt(10))
        assert row["config_ids"] == "0123456789abcdef"


def test_effects_csv_holds_what_was_analysed(study, files):
    read = rows(files["effects.csv"])
    analysis = analyse(study)
    kinds = ["main effect"] * 3 + ["interaction"] * 4 + ["Shapley value"] * 3 + ["control"] * 6
    assert [row["kind"] for row in read] == kinds * 2
    effects = (*analysis.contrasts, *analysis.shapley, *analysis.controls)
    for row, effect in zip(read, effects, strict=False):
        assert row["name"] == effect.name
        assert float(row["estimate"]) == pytest.approx(effect.estimate.mean)
        assert [float(value) for value in row["values"].split()] == pytest.approx(list(effect.values), abs=1e-9)
        tested = effect.kind != "Shapley value"
        assert (row["p"] != "") is (row["p_holm"] != "") is (row["p_tost"] != "") is tested
        if tested:
            assert float(row["p_holm"]) == pytest.approx(effect.p_holm)
    assert {row["metric"] for row in read[16:]} == {"val_accuracy"}
