import re
from collections import Counter
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch

from rambo import preparation
from rambo.data import dataset as data
from rambo.data.pool import HIDDEN, Pool, Split, reveal
from rambo.errors import InvalidInput
from rambo.experiment import Lab, run
from rambo.fields import override
from rambo.home import Home
from rambo.preparation import NEIGHBOURS, Prepared, planned_distances, prepare
from rambo.progress import Progress
from rambo.utility.samples import SamplePlan, train_seed

UNUSED, CPU = Path("unused"), torch.device("cpu")


def cell(tiny, changes=None):
    """The tiny experiment with `changes`."""
    return prepare(override(tiny, changes or {}), UNUSED)


def known(prepared):
    """The keys of all trainings and of all OT distances that are known before the first training."""
    problem = prepared.problem(prepared.pool)
    trainings = {problem.key(spec) for specs in prepared.specs().values() for spec in specs}
    distances = planned_distances(prepared, UNUSED, CPU)
    return trainings, {asked.key(row) for asked, members in distances for row in members}


@pytest.mark.parametrize("changes", [{}, {"acquisition.batch_size": 40}, {"strategy": "random"}], ids=str)
def test_of_a_budget_that_is_too_large_the_largest_that_fits_is_named_and_fits(tiny, changes):
    with pytest.raises(InvalidInput) as refused:
        cell(tiny, {**changes, "acquisition.budget": 2000})
    largest = int(re.search(r"the largest B that fits is (\d+)", str(refused.value))[1])
    assert cell(tiny, {**changes, "acquisition.budget": largest}).config.acquisition.budget == largest
    step = 1 if "strategy" in changes else changes.get("acquisition.batch_size", tiny.acquisition.batch_size)
    with pytest.raises(InvalidInput, match=r"\(B\) must be at most"):
        cell(tiny, {**changes, "acquisition.budget": largest + step})


@pytest.fixture
def sources(tmp_path):
    """Three data sets, each as `data.source`."""
    generator = np.random.default_rng(0)
    for number in range(3):
        images = generator.integers(0, 256, (500, 8, 8), dtype=np.uint8)
        np.savez(tmp_path / f"set{number}.npz", x=images, y=np.arange(500) % 4)
    return [f"npz:{tmp_path}/set{number}.npz" for number in range(3)]


# --- worked out once -------------------------------------------------------------------------------------------------


def test_three_data_sets_of_one_study_are_each_loaded_once(tiny, sources, monkeypatch):
    """Though their cells come by turns, as a study lists them."""
    loaded, load = Counter(), preparation.load_dataset
    monkeypatch.setattr(
        preparation,
        "load_dataset",
        lambda source, *rest, **size: loaded.update([source]) or load(source, *rest, **size),
    )
    cells = [
        cell(tiny, {"data.source": source, "seed": seed, "strategy": strategy})
        for seed in range(3)
        for strategy in ("rambo", "random")
        for source in sources
    ]
    assert loaded == dict.fromkeys(sources, 1)
    assert len({one.dataset.fingerprint for one in cells}) == 3
    assert len({id(one.dataset) for one in cells}) == 3


def test_a_data_set_s_normalisation_is_worked_out_once_for_many_cells(tiny, sources, monkeypatch):
    worked_out, work_out = [], data.normalisation
    monkeypatch.setattr(data, "normalisation", lambda *given: worked_out.append(given) or work_out(*given))
    cells = [
        cell(tiny, {"data.source": sources[0], "seed": seed, "strategy": strategy})
        for seed in range(4)
        for strategy in ("rambo", "random", "margin")
    ]
    moments = {id(one.problem(one.pool).normalisation) for one in cells}
    assert (len(worked_out), len(moments)) == (1, 1)
    cell(tiny, {"data.source": sources[0], "data.num_test": 50})
    assert len(worked_out) == 2, "other images are left for the moments"


def test_cells_of_one_seed_share_splits_pools_and_sets(tiny):
    first = cell(tiny)
    others = [
        cell(tiny, {"strategy": "random"}),
        cell(tiny, {"utility_model.lambda_ot": 0.5}),
        cell(tiny, {"switches.bilevel": False}),
    ]
    assert all(one.split is first.split and one.pool is first.pool for one in others)
    assert others[0].plan is None
    assert all(one.plan is first.plan for one in others[1:])
    for different in (cell(tiny, {"seed": 1}), cell(tiny, {"data.num_validation": 90})):
        assert different.split is not first.split
        assert not np.array_equal(different.split.validation, first.split.validation)


def test_what_is_shared_is_drawn_again_where_too_many_came_between(tiny):
    first = cell(tiny)
    split, plan = first.split, first.plan
    for seed in range(1, NEIGHBOURS + 2):
        cell(tiny, {"seed": seed})
    assert first.split is not split
    for name in ("test", "validation", "seed_set", "pool", "labels"):
        assert np.array_equal(getattr(first.split, name), getattr(split, name))
    assert np.array_equal(first.plan.all_pairs(), plan.all_pairs())


def test_no_experiment_holds_what_experiments_share(tiny):
    """So that thousands of cells weigh no more than their configurations."""
    one = cell(tiny)
    assert one.pool.labelled.tolist() == one.split.seed_set.tolist()
    assert set(vars(one)) == {field.name for field in fields(Prepared)}
    assert not any(isinstance(value, (Split, Pool, SamplePlan, np.ndarray)) for value in vars(one).values())


# --- what is known in advance ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        {"utility_model.lambda_ot": 0.5},
        {"utility_model.lambda_3": 2.0},
        {"utility_model.ot_unit": "raw"},
        {"switches.bilevel": False},
        {"switches.ranknet": False},
        {"utility_model.num_outer_steps": 5},
        {"utility_model.hypergradient": "cg"},
        {"acquisition.budget": 60},
        {"acquisition.candidate_batches": 2},
    ],
)
def test_experiments_that_know_the_same_have_one_known_id(tiny, changes):
    first, second = cell(tiny), cell(tiny, changes)
    assert known(first) == known(second)
    assert first.known_id == second.known_id
    assert first.config_id != second.config_id


@pytest.mark.parametrize(
    "changes",
    [
        {"strategy": "random"},
        {"switches.ot": False},
        {"utility_model.lambda_ot": 0.0},
        {"acquisition.batch_size": 40, "acquisition.budget": 80},
        {"seed": 1},
        {"data.label_noise": 0.1},
        {"training.max_epochs": 4},
        {"classifier.name": "mnistnet"},
        {"offline.num_pairs": 7},
        {"pretraining.num_pairs": 7},
        {"utility.num_audited": 2},
        {"utility.label": "trained"},
        {"utility.size_law": "binomial"},
        {"evaluation.repeats": 3},
        {"evaluation.first_repeat": 0},
        {"evaluation.num_held_out_pairs": 6},
        {"evaluation.num_ceiling_pairs": 2},
    ],
)
def test_experiments_that_know_other_things_have_other_known_ids(tiny, changes):
    first, second = cell(tiny), cell(tiny, changes)
    assert known(first) != known(second)
    assert first.known_id != second.known_id


def test_without_ot_the_trainings_are_the_same_and_the_distances_none(tiny):
    trainings, distances = known(cell(tiny))
    off, zero = cell(tiny, {"switches.ot": False}), cell(tiny, {"utility_model.lambda_ot": 0.0})
    assert off.known_id == zero.known_id
    assert known(off) == known(zero) == (trainings, set())
    assert len(distances) == len(np.unique(cell(tiny).plan.all_pairs(), axis=0))


def test_a_strategy_without_a_utility_model_knows_the_seed_set_alone(tiny):
    random = cell(tiny, {"strategy": "random"})
    assert [(stage, len(specs)) for stage, specs in random.specs().items()] == [("seed set", 2)]
    assert known(random)[0] < known(cell(tiny))[0]
    assert planned_distances(random, UNUSED, CPU) == []


def test_final_trainings_share_no_seed_with_what_the_choice_rests_on(tiny):
    """Repeat 0 is the scout's and that of û's utility samples; before the field, final trainings began there."""
    for changes, repeats in (({}, [1, 2]), ({"evaluation.first_repeat": 0}, [0, 1]), ({"evaluation.repeats": 1}, [1])):
        one = cell(tiny, changes)
        after = reveal(one.pool, one.split, one.pool.unlabelled[:5])
        assert [spec.train_seed for spec in one.repeats(after)] == [train_seed(0, repeat) for repeat in repeats]
        assert [spec.train_seed for spec in one.scouts(one.pool)] == [train_seed(0, 0)]
        utilities = (one.specs()[stage] for stage in ("offline pairs", "growing sets", "audited pairs"))
        assert {spec.train_seed for specs in utilities for spec in specs} == {train_seed(0, 0)}


def test_what_a_strategy_trains_itself_is_counted_for_each_of_its_choices(tiny):
    def later(strategy, **changes):
        changed = {f"acquisition.{name}": value for name, value in changes.items()}
        return cell(tiny, {"strategy": strategy, **changed}).num_later_trainings

    assert later("margin") == 2, "the final ones"
    assert later("uncertainty_herding") == 2 + 5
    for changes, choices in (({"rounds": 2}, 2), ({"refit": "imagined", "num_parts": 4}, 4)):
        assert later("uncertainty_herding", **changes) == later("margin", **changes) + 5 * choices


@pytest.mark.parametrize("batches", [1, 3])
def test_what_an_oracle_measures_is_counted_whole(tiny, tmp_path, batches):
    """A portfolio proposes a batch of each strategy at least, however few candidates are asked for."""
    asked = {
        "acquisition.candidate_batches": batches,
        "acquisition.oracle_repeats": 2,
        "acquisition.portfolio": "margin,random",
    }
    for strategy in ("oracle", "portfolio_oracle"):
        one = cell(tiny, {"strategy": strategy, **asked})
        result = run(one, Lab(Home(tmp_path / strategy), Path("unused"), progress=Progress(quiet=True)))
        ahead = {one.problem(one.pool).key(spec) for specs in one.specs().values() for spec in specs}
        assert result.trainings <= len(ahead) + one.num_later_trainings


def test_what_rounds_bring_to_a_utility_model_is_counted(tiny, tmp_path):
    """Two rounds: of the first one's batches each is a fit, with a growing set and audited pairs to measure."""
    one = cell(tiny, {"acquisition.rounds": 2, "utility.num_audited": 2, "acquisition.candidate_batches": 2})
    without = cell(tiny, {"acquisition.rounds": 2, "strategy": "margin"})
    assert (one.num_growth_fits, without.num_growth_fits) == (1, 0)
    assert one.num_growth_distances == 2 * tiny.pretraining.num_pairs
    assert cell(tiny).num_growth_fits == 0, "one round"
    assert one.num_later_trainings == without.num_later_trainings + 1 + 2 * 2
    result = run(one, Lab(Home(tmp_path), Path("unused"), progress=Progress(quiet=True)))
    problem = one.problem(one.pool)
    ahead = {problem.key(spec) for specs in one.specs().values() for spec in specs}
    assert result.trainings - len(ahead) == one.num_later_trainings - 1, "the growing set is what the scout learns from"


# --- one experiment --------------------------------------------------------------------------------------------------


def test_a_problem_shows_the_labels_that_were_paid_for_and_those_it_is_judged_by(prepared):
    split, labels = prepared.split, prepared.problem(prepared.pool).labels
    for shown in (split.seed_set, split.validation, split.test):
        assert np.array_equal(labels[shown], split.labels[shown])
    assert (labels[split.pool] == HIDDEN).all()
    assert (prepared.pool.labels[split.test] == HIDDEN).all(), "the pool is left as it was"


def test_candidates_are_counted_in_images_and_capped_at_the_pool(tiny):
    available = len(cell(tiny).pool.unlabelled)
    assert cell(tiny).num_candidates == 3 * 20
    every = cell(tiny, {"acquisition.candidate_batches": "all"})
    assert every.num_candidates == cell(tiny, {"acquisition.candidate_batches": 9999}).num_candidates == available
    assert every.config_id == cell(tiny, {"acquisition.candidate_batches": 9999}).config_id
    assert cell(tiny, {"strategy": "margin"}).num_candidates == 20


def test_a_folder_is_named_by_data_configuration_and_seed(tiny):
    one = cell(tiny, {"seed": 7})
    assert one.folder == f"trials/{one.dataset.slug}/{one.config_id}/7"
    assert cell(tiny, {"seed": 8}).config_id == one.config_id


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"acquisition.budget": 1600}, r"\(B\) must be at most the \d+ images of the pool, got 1600"),
        ({"acquisition.batch_size": 10, "acquisition.budget": 40}, r"at least 2 labels a class, .* >= 20, got k1 = 10"),
        ({"classifier.name": "lenet5"}, "lenet5 needs square images .* at least 12 pixels a side, got 1 x 8 x 8"),
        ({"data.num_validation": 5000}, "must leave a pool of the .* images outside the test set"),
        ({"data.num_test": 5000}, r"data.num_test must lie in 1\.\."),
    ],
)
def test_what_does_not_fit_is_one_sentence_before_anything_is_trained(tiny, changes, sentence):
    with pytest.raises(InvalidInput, match=sentence) as caught:
        cell(tiny, changes)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"classifier.name": "lenet5"}, "must be linear or mlp for embeddings, got lenet5, which takes images; set"),
        ({"utility_model.extractor": "conv"}, "extractor must be features for embeddings, got conv, which takes"),
        ({"utility_model.extractor": "resnet18"}, "must be features for embeddings, got resnet18, which takes images"),
        ({"strategy": "llal"}, "must have a hidden layer for strategy llal, .*, got linear; set classifier.name mlp"),
        ({"data.source": "digits"}, "extractor must be conv or resnet18 for images, got features, which takes embed"),
        ({"data.image_size": 8}, "data.image_size must be 0 for embeddings"),
    ],
)
def test_what_does_not_fit_embeddings_is_one_sentence_too(embedded, changes, sentence):
    with pytest.raises(InvalidInput, match=sentence) as caught:
        cell(embedded, changes)
    assert "\n" not in str(caught.value)


def test_a_classifier_without_chance_scores_the_pool_once(embedded):
    asked = {"strategy": "ensemble_margin", "acquisition.num_scouts": 4}
    one, several = cell(embedded, asked), cell(embedded, {**asked, "classifier.name": "mlp"})
    assert (len(one.scouts(one.pool)), len(several.scouts(several.pool))) == (1, 4)
    assert cell(embedded, {"strategy": "random"}).scouts(one.pool) == []
