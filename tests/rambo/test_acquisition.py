"""What the acquisition stage hands to strategies, and how rounds and imagined rounds follow from the fields."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from rambo.acquisition import Acquisition, request_for
from rambo.data.pool import HIDDEN, reveal
from rambo.fields import override
from rambo.home import Home
from rambo.preparation import prepare
from rambo.progress import Progress
from rambo.store import Store
from rambo.strategies.facts import FACTS
from rambo.training.committee import Committee
from rambo.training.loss_prediction import JointTrainer
from rambo.training.measuring import Measurer
from rambo.training.trainer import SetSpec
from rambo.utility.samples import train_seed


@pytest.fixture(scope="module")
def measurer(tmp_path_factory):
    home = Home(tmp_path_factory.mktemp("acquisition"))
    return Measurer(Store(home), torch.device("cpu"), Progress(quiet=True))


def stage(tiny, measurer, tmp_path, changes) -> Acquisition:
    return Acquisition(prepare(override(tiny, changes), tmp_path), measurer)


def picks(acquisition, pool=None) -> list[int]:
    pool = acquisition.prepared.pool if pool is None else pool
    return acquisition.select(pool, None, np.random.default_rng(0)).indices.tolist()


def test_a_request_holds_what_the_record_declares_and_nothing_else(prepared, classifier):
    there = {"utility": "û", "learning_rate": 0.1, "training": "f"}
    for grants in (set(), {"utility"}, {"learning_rate", "training"}, set(there)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(FACTS, "rambo", replace(FACTS["rambo"], grants=frozenset(grants)))
            request = request_for(prepared, prepared.pool, Committee((classifier.predictor,)), there)
        assert request.granted == {name: there[name] for name in grants}
        assert (request.budget, request.batch_size, request.num_candidates) == (40, 20, 60)
        assert (request.pool.labels[request.pool.validation] == HIDDEN).all()
        assert request.portfolio == (), "its record does not read the field"


def test_the_scout_has_seen_what_the_field_says(tiny, measurer, tmp_path):
    """Margins of a classifier of S_0 and S_val are those of f trained on both by hand."""
    acquisition = stage(tiny, measurer, tmp_path, {"strategy": "margin", "acquisition.scout": "seed_and_validation"})
    pool, split = acquisition.prepared.pool, acquisition.prepared.split
    [spec] = acquisition.prepared.scouts(pool)
    assert spec.indices.tolist() == sorted([*split.seed_set, *split.validation])
    by_hand = measurer.fit(acquisition.prepared.problem(pool), spec).predictor
    order = np.argsort(Committee((by_hand,)).margins(pool.unlabelled), kind="stable")
    assert picks(acquisition) == pool.unlabelled[order][:40].tolist()


def test_scout_margin_is_margin_with_that_scout(tiny, measurer, tmp_path):
    by_field = {"strategy": "margin", "acquisition.scout": "seed_and_validation"}
    fixed = stage(tiny, measurer, tmp_path, {"strategy": "scout_margin"})
    assert picks(fixed) == picks(stage(tiny, measurer, tmp_path, by_field))
    assert picks(fixed) != picks(stage(tiny, measurer, tmp_path, {"strategy": "margin"}))
    assert fixed.prepared.config.sees_validation_labels


def test_several_scouts_decide_by_mean_probabilities(tiny, measurer, tmp_path):
    acquisition = stage(tiny, measurer, tmp_path, {"strategy": "margin", "acquisition.num_scouts": 3})
    pool = acquisition.prepared.pool
    committee = acquisition.committee(pool)
    assert len(committee.members) == 3
    mean = np.mean([member.probabilities(pool.unlabelled) for member in committee.members], axis=0)
    top = np.sort(mean, axis=1)
    margins = dict(zip(pool.unlabelled.tolist(), top[:, -1] - top[:, -2], strict=True))
    chosen = picks(acquisition)
    assert max(margins[index] for index in chosen) <= np.sort(list(margins.values()))[40] + 1e-6


def test_imagined_rounds_by_hand(tiny, measurer, tmp_path):
    """Two parts: the smallest margins; then those of f trained on S_0 and the first part as a scout labels it."""
    changes = {"strategy": "margin", "acquisition.refit": "imagined", "acquisition.num_parts": 2}
    acquisition = stage(tiny, measurer, tmp_path, changes)
    prepared, pool = acquisition.prepared, acquisition.prepared.pool
    first = picks(stage(tiny, measurer, tmp_path, {"strategy": "margin"}))[:20]
    scout = stage(tiny, measurer, tmp_path, {"strategy": "scout_margin"}).committee(pool)
    split = replace(prepared.split, labels=np.where(pool.labels == HIDDEN, -7, pool.labels))
    guessed = split.labels.copy()
    guessed[first] = scout.likeliest(np.array(first))
    imagined = reveal(pool, replace(split, labels=guessed), np.array(first))
    second = picks(stage(tiny, measurer, tmp_path, {"strategy": "margin"}), imagined)[:20]
    assert picks(acquisition) == first + second
    assert prepared.config.sees_validation_labels


@pytest.mark.parametrize("scout", ["seed", "seed_and_validation"])
def test_imagined_rounds_of_several_scouts_by_hand(tiny, measurer, tmp_path, scout):
    """Who guesses is the mean of as many trainings as score the pool, and so is who scores it after the first part."""
    margin = {"strategy": "margin", "acquisition.scout": scout, "acquisition.num_scouts": 3}
    acquisition = stage(
        tiny, measurer, tmp_path, {**margin, "acquisition.refit": "imagined", "acquisition.num_parts": 2}
    )
    plain = stage(tiny, measurer, tmp_path, margin)
    pool, split = acquisition.prepared.pool, acquisition.prepared.split
    first = np.array(picks(plain)[:20])
    both = np.concatenate([split.seed_set, split.validation])
    problem = acquisition.prepared.problem(pool)
    seen_all = [measurer.fit(problem, SetSpec(both, train_seed(tiny.seed, repeat))).predictor for repeat in range(3)]
    guessed = np.where(pool.labels == HIDDEN, -7, pool.labels)
    guessed[first] = np.mean([one.probabilities(first) for one in seen_all], axis=0).argmax(axis=1)
    second = picks(plain, reveal(pool, replace(split, labels=guessed), first))[:20]
    assert picks(acquisition) == [*first.tolist(), *second]


def test_rambo_s_candidates_in_imagined_rounds_are_those_of_the_refitted_f(tiny, measurer, tmp_path):
    """The same as for margin by hand, of the control that takes any batch of RAMBO's candidates."""
    filtered = {"strategy": "filtered_random", "acquisition.candidate_batches": 1}
    changes = {**filtered, "acquisition.refit": "imagined", "acquisition.num_parts": 2}
    margin = {"strategy": "margin", "acquisition.refit": "imagined", "acquisition.num_parts": 2}
    assert picks(stage(tiny, measurer, tmp_path, changes)) == picks(stage(tiny, measurer, tmp_path, margin))
    assert picks(stage(tiny, measurer, tmp_path, filtered)) == picks(
        stage(tiny, measurer, tmp_path, {"strategy": "margin"})
    )


def test_imagined_rounds_know_no_label_of_the_pool(tiny, measurer, tmp_path):
    """Whatever the true labels are, the picks are the same."""
    changes = {"strategy": "margin", "acquisition.refit": "imagined", "acquisition.num_parts": 2}
    acquisition = stage(tiny, measurer, tmp_path, changes)
    pool = acquisition.prepared.pool
    assert (pool.labels[pool.unlabelled] == HIDDEN).all()
    before = picks(acquisition)
    split = acquisition.prepared.split
    kept = split.labels.copy()
    try:
        split.labels[pool.unlabelled] = 0
        assert picks(acquisition) == before
    finally:
        split.labels[:] = kept


def test_the_marginal_oracle_draws_labels_and_the_true_one_knows_them(tiny, measurer, tmp_path):
    """By turning all true labels into zeros the true oracle changes its mind, the marginal one does not."""
    chosen = {}
    for name in ("oracle", "marginal_oracle"):
        changes = {"strategy": name, "acquisition.oracle_repeats": 1, "training.max_epochs": 30}
        acquisition = stage(tiny, measurer, tmp_path, changes)
        split, unlabelled = acquisition.prepared.split, acquisition.prepared.pool.unlabelled
        kept = split.labels.copy()
        chosen[name] = [picks(acquisition)]
        scores = acquisition.select(acquisition.prepared.pool, None, np.random.default_rng(0)).scores
        assert ((scores > 0) & (scores <= 1)).all(), "scores are measured accuracies"
        try:
            split.labels[unlabelled] = 0
            again = acquisition.select(acquisition.prepared.pool, None, np.random.default_rng(0))
            chosen[name].append(again.scores.tolist() == scores.tolist())
        finally:
            split.labels[:] = kept
    assert chosen["marginal_oracle"][1] is True
    assert chosen["oracle"][1] is False
    assert FACTS["oracle"].for_study


def test_a_module_learns_f_s_losses_once_for_all_that_go_by_them(tiny, measurer, tmp_path):
    """Another budget finds it in the store; the largest losses come first, so that a larger budget picks more."""
    few, more = (
        stage(tiny, measurer, tmp_path, {"strategy": "llal", "acquisition.budget": budget}) for budget in (40, 60)
    )
    before = measurer.num_trainings
    assert picks(more)[:40] == picks(few)
    assert measurer.num_trainings == before + 1
    assert few.committee(few.prepared.pool) is None, "no other f is trained for it"


@pytest.mark.parametrize("scout", ["seed", "seed_and_validation"])
def test_the_module_has_seen_what_a_scout_would_have(tiny, measurer, tmp_path, scout):
    acquisition = stage(tiny, measurer, tmp_path, {"strategy": "llal", "acquisition.scout": scout})
    prepared, pool = acquisition.prepared, acquisition.prepared.pool
    seen = [*prepared.split.seed_set, *(prepared.split.validation if scout == "seed_and_validation" else [])]
    spec = SetSpec(np.array(seen), train_seed(tiny.seed))
    by_hand = JointTrainer(prepared.problem(pool), torch.device("cpu")).fit(spec)(pool.unlabelled)
    assert picks(acquisition) == pool.unlabelled[np.argsort(-by_hand, kind="stable")][:40].tolist()
    assert prepared.config.sees_validation_labels == (scout == "seed_and_validation")


def test_the_module_learns_anew_in_each_round(tiny, measurer, tmp_path):
    acquisition = stage(tiny, measurer, tmp_path, {"strategy": "llal", "acquisition.rounds": 2})
    prepared, pool = acquisition.prepared, acquisition.prepared.pool
    first = picks(acquisition)
    assert len(first) == 20
    after = reveal(pool, prepared.split, np.array(first))
    before = measurer.num_trainings
    assert not set(picks(acquisition, after)) & set(first)
    assert measurer.num_trainings == before + 1
    assert prepared.num_later_trainings == tiny.evaluation.repeats + 2
