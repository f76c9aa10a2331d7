from dataclasses import replace

import numpy as np
import ot
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.covariance import ledoit_wolf

from rambo.data.features import l2_normalise, plain_features
from rambo.home import Home
from rambo.progress import Progress
from rambo.store import Store
from rambo.utility.ot_distance import (
    OTProblem,
    class_distances,
    exact_distance,
    measure_ot,
    squared_distances,
    typical_cost,
)

points = st.lists(st.floats(-5, 5, width=32), min_size=1, max_size=12)


def line_cost(first, second):
    return squared_distances(np.array(first, dtype=np.float32)[:, None], np.array(second, dtype=np.float32)[:, None])


@given(points)
def test_a_set_is_at_distance_zero_from_itself(values):
    assert exact_distance(line_cost(values, values)) == pytest.approx(0, abs=1e-9)


@given(points, points)
@settings(max_examples=50)
def test_symmetric(first, second):
    assert exact_distance(line_cost(first, second)) == pytest.approx(exact_distance(line_cost(second, first)), abs=1e-9)


@given(st.integers(1, 20), st.integers(0, 1000))
@settings(max_examples=50)
def test_on_a_line_it_is_the_sorted_matching(size, seed):
    first, second = np.random.default_rng(seed).normal(size=(2, size)).astype(np.float32)
    sorted_cost = ((np.sort(first).astype(float) - np.sort(second).astype(float)) ** 2).mean()
    assert exact_distance(line_cost(first, second)) == pytest.approx(sorted_cost, rel=1e-5)


@pytest.mark.parametrize("dimensions", [6, 120])
def test_class_distances_agree_with_an_independent_library(dimensions):
    """Few dimensions, and more than both classes have images: the latter takes the way over a basis."""
    generator = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], [50, 30, 20])
    noise = generator.normal(size=(100, dimensions)) * (1 + labels[:, None])
    features = (noise + labels[:, None]).astype(np.float32)
    found = class_distances(features, labels, 3)
    groups = [features[labels == c].astype(float) for c in range(3)]
    moments = [(group.mean(0), ledoit_wolf(group)[0]) for group in groups]
    for i, (first_mean, first) in enumerate(moments):
        for j, (second_mean, second) in enumerate(moments):
            expected = ot.gaussian.bures_wasserstein_distance(first_mean, second_mean, first, second) ** 2
            assert found[i, j] == pytest.approx(expected, rel=1e-4, abs=1e-4)


@pytest.fixture
def problem(prepared):
    split = prepared.split
    seen = {name: getattr(split, name)[: 40 if name == "seed_set" else 60] for name in ("seed_set", "validation")}
    features = {name: l2_normalise(plain_features(prepared.dataset.images[chosen])) for name, chosen in seen.items()}
    return OTProblem(
        fingerprint="f",
        feature_id="pixels",
        seed_set=seen["seed_set"],
        seed_labels=split.labels[seen["seed_set"]],
        seed_features=features["seed_set"],
        validation=seen["validation"],
        validation_labels=split.labels[seen["validation"]],
        validation_features=features["validation"],
    )


def test_a_set_agrees_with_a_direct_call_on_the_full_cost(problem):
    members = np.zeros(40, dtype=bool)
    members[5:25] = True
    feature_cost = ot.dist(problem.seed_features.astype(float), problem.validation_features.astype(float))
    features = np.concatenate([problem.seed_features, problem.validation_features])
    labels = np.concatenate([problem.seed_labels, problem.validation_labels])
    between = class_distances(features, labels, 10)[problem.seed_labels][:, problem.validation_labels]
    full = (feature_cost + between) / (2 * np.median(feature_cost))
    weights = members / members.sum()
    expected = ot.emd2(weights, np.full(60, 1 / 60), full)
    assert problem.distance(members) == pytest.approx(expected, rel=1e-9)


def test_values_are_kept_and_read_back(problem, tmp_path, monkeypatch):
    members = np.random.default_rng(0).random((4, 40)) < 0.5
    first = measure_ot(problem, members, Store(Home(tmp_path)), Progress(quiet=True))
    monkeypatch.setattr("rambo.utility.ot_distance.exact_distance", lambda cost: pytest.fail("computed again"))
    again = measure_ot(problem, members, Store(Home(tmp_path)), Progress(quiet=True))
    assert first.tolist() == again.tolist()


def test_a_wider_set_is_nearer_to_validation(problem):
    one_class = problem.seed_labels == problem.seed_labels[0]
    assert problem.distance(np.ones(40, dtype=bool)) < problem.distance(one_class)


COPIED = {"black": 0.0, "still": 1.0}


def with_copies(problem, value, share):
    """`problem` with one image in place of `share` of its images; of value 0 a black one."""
    generator = np.random.default_rng(0)

    def copied(features):
        hit = generator.random(len(features)) < share
        return np.where(hit[:, None], value * problem.seed_features[2], features)

    return replace(
        problem,
        seed_features=copied(problem.seed_features),
        validation_features=copied(problem.validation_features),
    )


@pytest.mark.parametrize("share", [0.75, 0.85, 1.0])
@pytest.mark.parametrize("value", COPIED.values(), ids=COPIED)
def test_copies_of_one_image_leave_distances_in_a_unit_that_says_something(problem, value, share):
    members = np.zeros((2, 40), dtype=bool)
    members[0, :20], members[1, 10:] = True, True
    seen = with_copies(problem, value, share)
    found = [seen.distance(row) for row in members]
    assert np.isfinite(found).all()
    assert max(found) < 2
    assert share < 1 or found == pytest.approx([0, 0], abs=1e-12)


def test_keys_take_nothing_of_pixels_that_the_fingerprint_does_not_say(problem):
    members = np.ones(40, dtype=bool)
    assert problem.key(members) == with_copies(problem, 0.0, 0.85).key(members)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.5])
def test_the_unit_is_the_median_while_less_than_half_of_the_pairs_are_copies(problem, share):
    seen = with_copies(problem, 1.0, share)
    costs = squared_distances(seen.seed_features, seen.validation_features)
    assert typical_cost(costs) == np.median(costs)


def test_a_class_of_one_image_copied_has_a_distance(problem):
    features = np.repeat(problem.seed_features[[3, 7]], 10, axis=0)
    labels = np.repeat([0, 1], 10)
    apart = ((features[0].astype(float) - features[-1]) ** 2).sum()
    assert class_distances(features, labels, 2)[0, 1] == pytest.approx(apart, rel=1e-5)
