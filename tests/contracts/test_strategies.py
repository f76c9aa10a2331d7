"""What every acquisition strategy promises, each run with what a real experiment hands it; a new one has its record."""

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reach import reachable
from stand_ins import Told
from tiny_experiment import TINY_FLAGS

from rambo import acquisition, config, sections
from rambo.data.dataset import Dataset
from rambo.data.pool import HIDDEN, Split
from rambo.errors import InvalidInput
from rambo.experiment import Lab, run
from rambo.fields import override
from rambo.home import Home
from rambo.measurement import Measurement
from rambo.preparation import prepare
from rambo.progress import Progress
from rambo.strategies.facts import FACTS, STRATEGIES
from rambo.strategies.measured import MeasuredScores
from rambo.strategies.request import NotGrantedError, Request, Selection, load_select
from rambo.training.measuring import Measurer
from rambo.training.trainer import Problem, Trainer

CPU = torch.device("cpu")

ARRAYS = (np.ndarray, torch.Tensor)


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """One store for all strategies: what they share is measured once."""
    root = tmp_path_factory.mktemp("strategies")
    return Lab(Home(root), root / "data", progress=Progress(quiet=True))


def request_of(name, tiny, lab) -> Request:
    """What the strategy is handed by an experiment, caught on its way."""
    caught = []

    def noting(facts):
        select = load_select(facts)
        return lambda request, generator: caught.append(request) or select(request, generator)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(acquisition, "load_select", noting)
        run(prepare(override(tiny, {"strategy": name}), lab.data_dir), lab)
    [request] = caught
    return request


@pytest.fixture(scope="module")
def asked(tiny, lab):
    """The request of each strategy."""
    return {name: request_of(name, tiny, lab) for name in STRATEGIES}


def changed(request, budget=40, size=20, candidates=60, **other) -> Request:
    """Another question to the same strategy; to measure candidates anew for each would take minutes."""
    measured = {name: made_up for name in request.granted if "measured" in name}
    granted = {**request.granted, **measured}
    return replace(request, budget=budget, batch_size=size, num_candidates=candidates, granted=granted, **other)


def made_up(labelled, reachable) -> MeasuredScores:
    return MeasuredScores(labelled, lambda sets: np.array([float(np.sin(images.sum())) for images in sets]))


def select(name, request, seed=0) -> Selection:
    return load_select(FACTS[name])(request, np.random.default_rng(seed))


def _array(one) -> np.ndarray:
    return np.asarray(one.detach() if isinstance(one, torch.Tensor) else one)


def legal(picks, request) -> bool:
    """Different unlabelled images, as many as were asked for."""
    chosen = picks.indices.tolist()
    return len(set(chosen)) == len(chosen) == request.budget and set(chosen) <= set(request.pool.unlabelled.tolist())


def answering(request, probabilities, features) -> Request:
    """`request` with a committee that answers so of every image, where the strategy has one."""
    return replace(request, scout=Told(probabilities, features) if request.scout else None)


def alike(request, probabilities, features):
    """Every image has the same probabilities and features."""
    return answering(request, np.full_like(probabilities, 0.1), np.ones_like(features))


def dead(request, probabilities, features):
    """The same of a network whose features are all 0, so that its bias alone predicts."""
    return answering(request, np.tile(probabilities[:1], (len(probabilities), 1)), np.zeros_like(features))


def sure(request, probabilities, features):
    """Every prediction is certain."""
    return answering(request, np.eye(probabilities.shape[1])[probabilities.argmax(axis=1)], features)


def sure_of_one_class(request, probabilities, features):
    """Every prediction is certain, and the same."""
    return answering(request, np.eye(probabilities.shape[1])[np.zeros(len(probabilities), dtype=int)], features)


def repeated(request, probabilities, features):
    """The pool holds three images, again and again."""
    original, unlabelled = np.arange(len(probabilities)), request.pool.unlabelled
    original[unlabelled] = unlabelled[np.arange(len(unlabelled)) % 3]
    pool = replace(request.pool, images=request.pool.images[original])
    return answering(replace(request, pool=pool), probabilities[original], features[original])


HARD = (alike, dead, sure, sure_of_one_class, repeated)


@pytest.mark.parametrize("name", STRATEGIES)
class TestContract:
    @given(data=st.data())
    @settings(max_examples=15, deadline=None)
    def test_picks_are_different_unlabelled_and_exactly_the_budget(self, name, prepared, asked, data):
        size = data.draw(st.sampled_from([1, 5, 20]))
        budget = size * data.draw(st.integers(2, 4))
        candidates = size * data.draw(st.integers(1, 5))
        picks = select(name, changed(asked[name], budget, size, candidates), data.draw(st.integers(0, 9)))
        assert len(picks.indices) == len(set(picks.indices.tolist())) == budget
        assert set(picks.indices) <= set(prepared.pool.unlabelled)
        assert len(picks.iterations) == len(picks.scores) == budget

    def test_the_whole_pool_can_be_bought(self, name, prepared, asked):
        few = prepared.pool.unlabelled[:40]
        pool = replace(asked[name].pool, members=np.sort(np.concatenate([prepared.pool.labelled, few])))
        request = changed(asked[name], pool=pool)
        assert set(select(name, request).indices) == set(few)

    def test_the_same_generator_gives_the_same_picks(self, name, asked):
        request = changed(asked[name])
        assert select(name, request, 3).indices.tolist() == select(name, request, 3).indices.tolist()

    @pytest.mark.parametrize("hard", HARD)
    def test_whatever_f_answers_picks_are_legal_and_follow_from_the_seed(self, name, prepared, asked, hard):
        committee, everyone = asked["margin"].classifier, np.arange(len(prepared.pool.labels))
        answers = committee.probabilities(everyone), committee.features(everyone)
        request = hard(changed(asked[name]), *answers)
        picks = select(name, request, 3)
        assert legal(picks, request)
        assert picks.indices.tolist() == select(name, request, 3).indices.tolist()

    def test_a_pool_of_one_class_is_a_pool(self, name, prepared, asked):
        pool, labels = asked[name].pool, prepared.split.labels
        members = np.concatenate([pool.labelled, pool.unlabelled[labels[pool.unlabelled] == 3]])
        request = changed(asked[name], pool=replace(pool, members=np.sort(members)))
        assert legal(select(name, request), request)

    def test_more_than_the_pool_holds_is_refused(self, name, asked):
        request = changed(asked[name], budget=len(asked[name].pool.unlabelled))
        with pytest.raises(InvalidInput, match="must lie between 1 and the"):
            replace(request, budget=request.budget + 1)

    def test_no_label_that_it_has_not_declared_is_within_reach(self, name, prepared, asked):
        request, split = asked[name], prepared.split
        hidden = [prepared.pool.unlabelled, split.test, split.validation]
        if "measured" in FACTS[name].grants:
            pytest.skip("an oracle knows every label, and its record says so")
        hidden = hidden[: 2 if "validation_labels" in FACTS[name].grants else 3]
        may_train = FACTS[name].grants & {"training", "marginally_measured"}
        held = hidden[:1] if may_train else hidden  # what trains f is judged by the others, inside what it may call
        for closures, kept in ((False, hidden), (True, held)):
            arrays = [_array(one) for one in reachable(request, closures=closures) if isinstance(one, ARRAYS)]
            for images in kept:
                truth = split.labels[images]
                assert not any(np.array_equal(array, truth) for array in arrays)
                assert not any((array[images] == truth).all() for array in arrays if array.shape == split.labels.shape)

    def test_nothing_that_trains_f_or_holds_a_label_is_within_reach_of_one_that_did_not_ask(self, name, asked):
        kinds = [Split, Measurement, Dataset, config.Config]
        kinds += [Problem, Trainer, Measurer, sections.Training]
        may_train = FACTS[name].grants & {"training", "measured", "marginally_measured"}
        near = reachable(asked[name], closures=not may_train)
        found = [type(one) for one in near if isinstance(one, tuple(kinds))]
        assert found == []

    def test_what_it_has_not_declared_raises_when_touched(self, name, asked):
        parts = {"utility": "utility", "validation_labels": "validation_labels"}
        parts |= {"learning_rate": "learning_rate", "training": "train", "predicted_loss": "predicted_loss"}
        if not any("measured" in grant for grant in FACTS[name].grants):
            parts["marginally_measured"] = "measured"
        for grant, attribute in parts.items():
            if grant in FACTS[name].grants:
                assert getattr(asked[name], attribute) is not None
            else:
                with pytest.raises(NotGrantedError, match=f"must declare what it uses, got {grant} without"):
                    getattr(asked[name], attribute)
        if not FACTS[name].scores_pool:
            with pytest.raises(NotGrantedError, match="must declare what it uses, got scores_pool without"):
                _ = asked[name].classifier

    def test_a_request_is_left_as_it_was(self, name, asked):
        request = changed(asked[name])
        before = [request.pool.labels.copy(), request.pool.rounds.copy(), request.pool.members.copy()]
        select(name, request)
        after = [request.pool.labels, request.pool.rounds, request.pool.members]
        assert all(np.array_equal(old, new) for old, new in zip(before, after, strict=True))


@pytest.mark.usefixtures("asked")
def test_another_process_picks_the_same(tiny, lab, tmp_path):
    """The command, with what all trials share at hand, and with another order of sets and dicts."""
    shutil.copytree(Path(lab.home.root, "store"), tmp_path / "home/store")
    flags = [*TINY_FLAGS, "--strategy", ",".join(STRATEGIES), "--home", "home"]
    environment = {**os.environ, "PYTHONHASHSEED": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
    subprocess.run([sys.executable, "-m", "rambo", *flags], cwd=tmp_path, env=environment, check=True)
    for name in STRATEGIES:
        file = f"{prepare(override(tiny, {'strategy': name}), lab.data_dir).folder}/selected.csv"
        assert (tmp_path / "home" / file).read_bytes() == lab.home.read(file), name


def test_what_a_record_declares_is_handed_over_and_works(tiny, lab, prepared, monkeypatch):
    """S_val's labels, f's learning rate and a way to train f, for a strategy that asks for them."""
    grants = frozenset({"validation_labels", "learning_rate", "training"})
    monkeypatch.setitem(FACTS, "margin", replace(FACTS["margin"], grants=grants))
    request = request_of("margin", override(tiny, {"seed": 7}), lab)
    mine = prepare(override(tiny, {"seed": 7}), Path("unused"))
    pool = request.pool
    assert (pool.labels[pool.validation] == HIDDEN).all()
    assert request.validation_labels.tolist() == mine.split.labels[mine.split.validation].tolist()
    assert request.learning_rate == tiny.training.learning_rate
    again = request.train(pool.labelled, pool.labels[pool.labelled], 0)
    assert np.array_equal(again.margins(pool.unlabelled), request.classifier.margins(pool.unlabelled))
    more = np.concatenate([pool.labelled, pool.validation])
    scout = request.train(more, np.concatenate([pool.labels[pool.labelled], request.validation_labels]), 0)
    assert not np.array_equal(scout.margins(pool.unlabelled), request.classifier.margins(pool.unlabelled))


@pytest.mark.parametrize("name", ["rambo", "filtered_random"])
def test_one_candidate_batch_reproduces_margin_exactly(name, asked):
    picks = select(name, changed(asked[name], candidates=20))
    assert picks.indices.tolist() == select("margin", changed(asked["margin"])).indices.tolist()


def test_random_budgets_are_nested(asked):
    small = select("random", changed(asked["random"], 20))
    large = select("random", changed(asked["random"], 60))
    assert large.indices[:20].tolist() == small.indices.tolist()


def test_rambo_picks_the_batch_that_scores_best_from_scratch(prepared, asked):
    """Running sums against the learned û of the whole set, recomputed for every candidate batch of every iteration."""
    request = changed(asked["rambo"], budget=60, size=20, candidates=100)
    score = from_scratch(request)
    picks = select("rambo", request, 5)
    generator, labelled = np.random.default_rng(5), prepared.pool.labelled
    left = select("margin", changed(asked["margin"], budget=140)).indices
    for iteration in range(3):
        batches = generator.permutation(left[:100]).reshape(-1, 20)
        scores = [score(np.concatenate([labelled, batch])) for batch in batches]
        chosen = picks.indices[picks.iterations == iteration]
        assert set(chosen) == set(batches[int(np.argmax(scores))])
        assert picks.scores[picks.iterations == iteration][0] == pytest.approx(max(scores), rel=1e-4)
        labelled, left = np.concatenate([labelled, chosen]), left[~np.isin(left, chosen)]


def test_dulo_picks_the_block_that_scores_best_from_scratch(prepared, asked):
    """As above, among the random blocks of the whole pool that stochastic greedy search looks at."""
    request = changed(asked["dulo"], budget=60, size=20, block_epsilon=0.8)
    score = from_scratch(request)
    picks = select("dulo", request, 5)
    generator, labelled, left = np.random.default_rng(5), prepared.pool.labelled, prepared.pool.unlabelled
    num_blocks = int(np.ceil(len(left) / 60 * np.log(1 / 0.8)))
    assert num_blocks > 2
    for iteration in range(3):
        blocks = generator.permutation(left)[: num_blocks * 20].reshape(-1, 20)
        scores = [score(np.concatenate([labelled, block])) for block in blocks]
        chosen = picks.indices[picks.iterations == iteration]
        assert set(chosen) == set(blocks[int(np.argmax(scores))])
        assert picks.scores[picks.iterations == iteration][0] == pytest.approx(max(scores), rel=1e-4)
        labelled, left = np.concatenate([labelled, chosen]), left[~np.isin(left, chosen)]


def from_scratch(request):
    """û of one set, by the model's own forward pass over its images."""
    scorer = request.granted["utility"]
    model, [load] = scorer.func.__self__, scorer.args

    @torch.no_grad()
    def score(images):
        return float(model(load(np.sort(images))))

    return score


def test_candidates_are_the_smallest_margins(asked):
    for name in ("rambo", "filtered_random"):
        request = changed(asked[name], candidates=60)
        margins = dict(zip(request.pool.unlabelled, request.classifier.margins(request.pool.unlabelled), strict=True))
        allowed = sorted(margins.values())[: 60 + 20]
        assert max(margins[index] for index in select(name, request).indices) <= allowed[-1]


EMBEDDED = ("rambo", "glister", "badge", "typiclust", "uncertainty_herding", "llal")
"""Strategies that learn û, look at features, or train f."""


@pytest.mark.parametrize("name", EMBEDDED)
def test_embeddings_are_chosen_from_like_images(name, embedded, lab):
    request = request_of(name, override(embedded, {"classifier.name": "mlp"} if name == "llal" else {}), lab)
    picks = select(name, changed(request), 3)
    assert legal(picks, changed(request))
    assert picks.indices.tolist() == select(name, changed(request), 3).indices.tolist()


def test_coreset_of_a_linear_f_is_farthest_in_the_normalised_embeddings(embedded, lab):
    request, one = request_of("coreset", embedded, lab), prepare(embedded, lab.data_dir)
    rows = one.dataset.images.astype(np.float64)
    rest = np.setdiff1d(np.arange(len(rows)), one.split.test)
    spread = rows[rest].std(axis=0)
    rows = (rows - rows[rest].mean(axis=0)) / np.where(spread > 0, spread, 1)
    covered, expected = list(request.pool.labelled), []
    for _ in range(3):
        distances = [np.linalg.norm(rows[covered] - rows[index], axis=1).min() for index in request.pool.unlabelled]
        expected.append(int(request.pool.unlabelled[np.argmax(distances)]))
        covered.append(expected[-1])
    assert select("coreset", changed(request, 3)).indices.tolist() == expected
