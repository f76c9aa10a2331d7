"""What was recorded keeps its names: every id and key under benchmarks/records, worked out anew by today's code.

The images are not here. Labels, fingerprint and moments, which are all that ids and keys take of a data set, are.
"""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from ablations.plans import StudyPlan
from cluster.databases import file_url
from rambo import preparation
from rambo.data import dataset as data
from rambo.data.pool import reveal
from rambo.fields import from_nested
from rambo.home import Home
from rambo.preparation import planned_distances, prepare
from rambo.result import read_result
from rambo.store import Store
from tune.importances import importances
from tune.noise import noise_text
from tune.records import SearchPlan, settings_of
from tune.report import importances_csv
from tune.search import read_search

RECORDS = Path(__file__).parents[2] / "benchmarks" / "records"
TABLE4, STRATEGIES, PAPER = RECORDS / "table4", RECORDS / "strategies", RECORDS / "paper"
NOWHERE = Path("unused")

RECORDED_STUDIES = [
    *TABLE4.glob("studies/table4/plan.json"),
    *STRATEGIES.glob("studies/*/plan.json"),
    *PAPER.glob("studies/*/plan.json"),
]

REPLACED = 39
"""Final trainings of 13 trials that were run again before they were recorded: the store keeps what was measured."""


@pytest.fixture(scope="module", autouse=True)
def mnist():
    """The data set without its pixels."""
    kept = np.load(RECORDS / "mnist_10k_identity.npz")
    labels = kept["labels"].astype(np.int64)
    images = np.zeros((len(labels), 1, 28, 28), dtype=np.uint8)
    names = tuple(map(str, range(10)))
    dataset = data.Dataset("mnist_10k", images, labels, names, test_candidates=np.arange(len(labels)))
    dataset.__dict__["fingerprint"] = str(kept["fingerprint"])
    moments = data.Normalisation(tuple(map(float, kept["mean"])), tuple(map(float, kept["std"])))
    dataset.__dict__["_fixed"] = {1000: data.Fixed(data.test_indices(dataset, 1000), moments)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(preparation, "_dataset", lambda *arguments: dataset)
        yield dataset


@pytest.fixture(scope="module")
def trials(mnist):
    """The folder of every trial in the home of Table 4, and the experiment that its config.json stands for."""
    return trials_of(TABLE4)


def trials_of(home):
    found = {}
    for path in sorted(home.glob("trials/*/*/*/config.json"), key=lambda path: int(path.parent.name)):
        config = from_nested(json.loads(path.read_text()))
        found[path.parent] = prepare(config, NOWHERE)
    return found


def test_every_trial_lies_in_the_folder_that_its_configuration_names(trials):
    assert len(trials) == 110 + 20 + 30, "Table 4, what takes the bilevel switch apart, and what bounds its fits"
    for folder, prepared in trials.items():
        assert prepared.folder == str(folder.relative_to(TABLE4))


def test_every_measurement_has_the_key_that_its_trial_asks_for(trials):
    keys = set()
    for prepared in {one.known_id: one for one in trials.values()}.values():
        problem = prepared.problem(prepared.pool)
        keys |= {problem.key(spec) for specs in prepared.specs().values() for spec in specs}
    failed = [folder for folder in trials if (folder / "failure.json").exists()]
    assert len(failed) == 5, "those that nothing bounds"
    for folder, prepared in trials.items():
        if folder in failed:
            continue
        keys |= final_keys(folder, prepared)
    kept = kept_keys("measurements")
    assert keys <= kept
    assert len(kept) == len(keys) + REPLACED == 14982 + 60 + 69


def final_keys(folder, prepared):
    """Of the trainings on what was bought, with S_val as well where the trial has those."""
    with (folder / "selected.csv").open() as file:
        picks = np.array([int(row["index"]) for row in csv.DictReader(file)])
    after = reveal(prepared.pool, prepared.split, picks)
    problem, specs = prepared.problem(after), prepared.repeats(after)
    if prepared.config.evaluation.with_validation:
        specs = [*specs, *prepared.repeats(after, with_validation=True)]
    return {problem.key(spec) for spec in specs}


@pytest.mark.parametrize(
    ("home", "num_trials", "num_keys"),
    [
        # all by a scout of S_0, and those that score the pool by one of S_val too, 10 of which bought what had been
        (STRATEGIES, (17 + 12 + 11 + 17) * 10, 170 * 6 + 660 + 110 * 6 + 170 * 6),  # and imagined rounds, imbalance
        # Figures 2a, 7, 8, B.7: what is new of each; the first two with f trained on S_val too
        (PAPER, 200 + 110 + 160 + 60, 200 * 6 + 110 * 6 + 360 + 60),
    ],
    ids=["strategies", "paper"],
)
def test_every_trial_has_its_folder_and_the_keys_of_what_it_bought(mnist, home, num_trials, num_keys):
    """Of the studies of whose measurements those after the purchase are recorded."""
    found, keys = trials_of(home), set()
    assert len(found) == num_trials
    for folder, prepared in found.items():
        assert prepared.folder == str(folder.relative_to(home))
        keys |= final_keys(folder, prepared)
    assert keys == kept_keys("measurements", home)
    assert len(keys) == num_keys


def test_every_ot_value_has_the_key_that_its_trial_asks_for(trials):
    keys = set()
    for prepared in {one.known_id: one for one in trials.values()}.values():
        for problem, members in planned_distances(prepared, NOWHERE, torch.device("cpu")):
            keys |= {problem.key(row) for row in members}
    assert keys == kept_keys("ot")
    assert len(keys) == 14999


def test_repeated_trainings_agree_as_often_as_each_result_says(trials):
    """By the accuracies in the store; results from before the field were given it from there."""
    store, agreements = Store(Home(TABLE4), compact=False), {}
    for folder, prepared in trials.items():
        result = read_result(Home(TABLE4), str(folder.relative_to(TABLE4)))
        if result is None:
            continue  # it failed
        if prepared.plan is None:
            assert (result.repeat_agreement, result.num_ceiling_pairs) == (None, None)
            continue
        if prepared.known_id not in agreements:
            agreements[prepared.known_id] = repeat_agreement(prepared, store)
        assert result.repeat_agreement == pytest.approx(agreements[prepared.known_id], abs=1e-12)
        assert result.num_ceiling_pairs == 32
        root = np.sqrt(max(2 * result.repeat_agreement - 1, 0))
        assert result.pair_ceiling == pytest.approx((1 + root) / 2, abs=1e-12)


def repeat_agreement(prepared, store):
    """Share of the repeated held-out pairs that two trainings order alike, ties by half."""
    problem, specs, orders = prepared.problem(prepared.pool), prepared.specs(), []
    for stage in ("held-out pairs", "ceiling"):
        keys = [problem.key(spec) for spec in specs[stage][: len(specs["ceiling"])]]
        found = store.measurements(keys)
        accuracies = np.array([found[key].val_accuracy for key in keys]).reshape(-1, 2)
        orders.append(np.sign(accuracies[:, 0] - accuracies[:, 1]))
    return np.mean([0.5 if 0 in pair else float(pair[0] == pair[1]) for pair in zip(*orders, strict=True)])


def test_every_trial_of_the_searches_lies_where_its_setting_says():
    folder = RECORDS / "search" / "paper_mnist"
    plan = SearchPlan.from_bytes((folder / "plan.json").read_bytes())
    attempts = read_search(plan, file_url(str(folder / "optuna.db"))).attempts()
    placed = [one for one in attempts if one.folders]
    assert len(placed) == 54
    for one in placed:
        expected = tuple(prepare(plan.config(one.fields, seed), NOWHERE).folder for seed in plan.seeds)
        assert one.folders == expected


def test_the_recorded_search_says_again_what_stands_beside_it():
    folder = RECORDS / "search" / "paper_mnist"
    plan = SearchPlan.from_bytes((folder / "plan.json").read_bytes())
    attempts = read_search(plan, file_url(str(folder / "optuna.db"))).attempts()
    assert len(settings_of(attempts)) == 40
    assert "F(23, 46) = .70, p = .822" in noise_text(plan, attempts)
    assert importances_csv(importances(plan, attempts)) == (folder / "importances.csv").read_bytes()


@pytest.mark.parametrize("plan", [*RECORDED_STUDIES, RECORDS / "search/lambda_ot/plan.json"], ids=str)
def test_every_trial_of_the_studies_lies_where_its_cell_says(plan):
    study = StudyPlan.from_bytes(plan.read_bytes())
    for cell, seed, config in study.grid.trials():
        assert study.folders[cell.name, seed] == prepare(config, NOWHERE).folder
    assert StudyPlan.from_bytes(study.to_bytes()) == study


def kept_keys(table, home=TABLE4):
    """All keys of a table of a home's store."""
    store = Store(Home(home), compact=False)
    kept = {"measurements": store._measurements, "ot": store._ot}[table]
    kept.lookup([], [])
    return set(kept._index)
