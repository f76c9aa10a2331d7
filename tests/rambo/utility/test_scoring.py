import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rambo.utility.scoring import RunningMeans

FEATURES = np.random.default_rng(0).normal(size=(60, 5)).astype(np.float32)
LABELLED, REACHABLE = np.arange(10), np.arange(59, 19, -1)
"""Reachable images stand in no order of theirs."""


def score_pooled(pooled):
    """Something that is not linear, so that only the right mean gives the right score."""
    return np.sin(3 * pooled).sum(axis=1) + pooled[:, 0] * pooled[:, 1]


def started():
    return RunningMeans(LABELLED, REACHABLE, image_features=FEATURES.__getitem__, score_pooled=score_pooled)


def from_scratch(images):
    return score_pooled(FEATURES[images].astype(np.float64).mean(axis=0, keepdims=True))[0]


@given(seed=st.integers(0, 1000), size=st.integers(1, 6))
@settings(max_examples=25, deadline=None)
def test_scores_are_those_of_the_whole_sets_after_any_number_of_batches(seed, size):
    order = np.random.default_rng(seed).permutation(REACHABLE)
    scorer, labelled = started(), LABELLED
    for start in range(0, 3 * size, size):
        batches = order[start:][: len(order[start:]) // size * size].reshape(-1, size)
        expected = [from_scratch(np.concatenate([labelled, batch])) for batch in batches]
        np.testing.assert_allclose(scorer.scores(batches), expected, atol=1e-4)
        scorer.add(batches[0])
        labelled = np.concatenate([labelled, batches[0]])


def test_asking_changes_nothing_and_the_order_in_a_batch_does_not_matter():
    scorer, batches = started(), REACHABLE[:6].reshape(2, 3)
    first = scorer.scores(batches)
    np.testing.assert_allclose(scorer.scores(batches[:, ::-1]), first, rtol=1e-6)
    assert np.array_equal(scorer.scores(batches), first)
    assert first.dtype == np.float64


def test_features_are_worked_out_once_for_each_image():
    asked = []
    scorer = RunningMeans(
        LABELLED,
        REACHABLE,
        image_features=lambda indices: asked.append(indices) or FEATURES[indices],
        score_pooled=score_pooled,
    )
    for start in (0, 4, 8):
        scorer.scores(REACHABLE[start : start + 4].reshape(2, 2))
        scorer.add(REACHABLE[start : start + 2])
    assert [images.tolist() for images in asked] == [LABELLED.tolist(), REACHABLE.tolist()]


def test_an_image_that_was_not_declared_reachable_has_no_score():
    with pytest.raises(KeyError):
        started().scores(np.array([[15, 20]]))
