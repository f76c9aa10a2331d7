"""What every acquisition strategy promises; a new one is added to SELECT and passes."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rambo.acquisition import Request, Selection
from rambo.config import STRATEGIES
from rambo.pool import HIDDEN
from rambo.preparation import Prepared
from rambo.strategies import SELECT
from rambo.training import FittedClassifier


class PixelScorer:
    """A û that any pool can use: features are pixels, and brighter sets are better."""

    def __init__(self, images):
        self._images = images

    def image_features(self, indices):
        return self._images[indices].reshape(len(indices), -1).astype(np.float32)

    def score_pooled(self, pooled):
        return pooled.mean(axis=1)


def make_request(prepared: Prepared, classifier: FittedClassifier, budget=40, size=20, candidates=60) -> Request:
    return Request(prepared.pool, classifier, budget, size, candidates, PixelScorer(prepared.pool.images))


def select(name, request, seed=0) -> Selection:
    return SELECT[name](request, np.random.default_rng(seed))


def test_every_strategy_of_the_configuration_is_there():
    assert set(SELECT) == set(STRATEGIES)


@pytest.mark.parametrize("name", SELECT)
class TestContract:
    @given(data=st.data())
    @settings(max_examples=15, deadline=None)
    def test_picks_are_different_unlabelled_and_exactly_the_budget(self, name, prepared, classifier, data):
        size = data.draw(st.sampled_from([1, 5, 20]))
        budget = size * data.draw(st.integers(2, 4))
        candidates = size * data.draw(st.integers(1, 5))
        picks = select(name, make_request(prepared, classifier, budget, size, candidates), data.draw(st.integers(0, 9)))
        assert len(picks.indices) == len(set(picks.indices.tolist())) == budget
        assert set(picks.indices) <= set(prepared.pool.unlabelled)
        assert len(picks.iterations) == len(picks.scores) == budget

    def test_the_whole_pool_can_be_bought(self, name, prepared, classifier):
        few = prepared.pool.unlabelled[:40]
        pool = replace(prepared.pool, members=np.sort(np.concatenate([prepared.pool.labelled, few])))
        request = replace(make_request(prepared, classifier), pool=pool)
        assert set(select(name, request).indices) == set(few)

    def test_the_same_generator_gives_the_same_picks(self, name, prepared, classifier):
        request = make_request(prepared, classifier)
        assert select(name, request, 3).indices.tolist() == select(name, request, 3).indices.tolist()

    def test_no_hidden_label_is_within_reach(self, name, prepared, classifier):
        request = make_request(prepared, classifier)
        assert (request.pool.labels[request.pool.unlabelled] == HIDDEN).all()
        assert (request.pool.labels[prepared.split.test] == HIDDEN).all()
        arrays = [value for holder in (request, request.pool, classifier) for value in vars(holder).values()]
        truth = prepared.split.labels
        assert not any(isinstance(value, np.ndarray) and np.array_equal(value, truth) for value in arrays)

    def test_a_request_is_left_as_it_was(self, name, prepared, classifier):
        request = make_request(prepared, classifier)
        before = [request.pool.labels.copy(), request.pool.rounds.copy(), request.pool.members.copy()]
        select(name, request)
        after = [request.pool.labels, request.pool.rounds, request.pool.members]
        assert all(np.array_equal(old, new) for old, new in zip(before, after, strict=True))


@pytest.mark.parametrize("name", ["rambo", "filtered_random"])
def test_one_candidate_batch_reproduces_margin_exactly(name, prepared, classifier):
    request = make_request(prepared, classifier, candidates=20)
    assert select(name, request).indices.tolist() == select("margin", request).indices.tolist()


def test_random_budgets_are_nested(prepared, classifier):
    small = select("random", make_request(prepared, classifier, 20))
    large = select("random", make_request(prepared, classifier, 60))
    assert large.indices[:20].tolist() == small.indices.tolist()


def test_rambo_picks_the_batch_that_scores_best_from_scratch(prepared, classifier):
    """Running sums against û of the whole set, recomputed for every candidate batch of every iteration."""
    request = make_request(prepared, classifier, budget=60, size=20, candidates=100)
    picks = select("rambo", request, 5)
    generator, labelled = np.random.default_rng(5), prepared.pool.labelled
    left = select("margin", replace(request, budget=140)).indices
    for iteration in range(3):
        batches = generator.permutation(left[:100]).reshape(-1, 20)
        whole = [np.concatenate([labelled, batch]) for batch in batches]
        scores = [PixelScorer(prepared.pool.images).image_features(images).mean() for images in whole]
        chosen = picks.indices[picks.iterations == iteration]
        assert set(chosen) == set(batches[int(np.argmax(scores))])
        assert picks.scores[picks.iterations == iteration][0] == pytest.approx(max(scores), rel=1e-5)
        labelled, left = np.concatenate([labelled, chosen]), left[~np.isin(left, chosen)]


def test_candidates_are_the_smallest_margins(prepared, classifier):
    request = make_request(prepared, classifier, candidates=60)
    margins = dict(zip(request.pool.unlabelled, classifier.margins(request.pool.unlabelled), strict=True))
    allowed = sorted(margins.values())[: 60 + 20]
    for name in ("rambo", "filtered_random"):
        assert max(margins[index] for index in select(name, request).indices) <= allowed[-1]
