from itertools import combinations
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from rambo.experiment import Lab, run
from rambo.fields import override
from rambo.home import Home
from rambo.preparation import prepare
from rambo.progress import Progress
from rambo.strategies import uncertainty_herding
from rambo.strategies.facts import FACTS
from rambo.strategies.request import Request
from rambo.strategies.temperature import NUM_FOLDS, cross_validated_temperature
from rambo.strategies.uncertainty_herding import (
    Coverage,
    pick_by_gain,
    select_by_herding,
    smallest_distance,
    uncertainties,
)


def generator(seed=0):
    return np.random.default_rng(seed)


def directions(num, seed=0, d=3):
    """(num, d) of length 1."""
    rows = generator(seed).normal(size=(num, d))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def kernel(first, second, radius):
    differences = first[:, None].astype(np.float64) - second[None].astype(np.float64)
    return np.exp(-(differences**2).sum(axis=2) / radius**2)


class Case:
    """n images with weights and k labelled ones."""

    def __init__(self, num=40, num_labelled=4, radius=0.5, seed=0):
        self.features, self.labelled = directions(num, seed), directions(num_labelled, seed + 100)
        self.weights, self.radius = generator(seed + 200).uniform(size=num).astype(np.float32), radius

    def coverage(self, sample=None):
        sample = np.arange(len(self.features)) if sample is None else np.array(sample)
        arrays = map(torch.from_numpy, (self.features, self.weights, self.labelled, sample))
        return Coverage(*arrays, radius=self.radius)

    def value(self, picks):
        """Σ_x u(x) max_{l ∈ L} k(x, l), from scratch."""
        chosen = np.concatenate([self.labelled, self.features[list(picks)]])
        return float(self.weights @ kernel(self.features, chosen, self.radius).max(axis=1))

    def greedily(self, budget):
        picks = []
        for _ in range(budget):
            left = [one for one in range(len(self.features)) if one not in picks]
            values = [self.value([*picks, one]) for one in left]
            picks.append(left[int(np.argmax(values))])
        return picks


def everyone(coverage):
    return torch.arange(len(coverage))


@pytest.mark.parametrize("radius", [0.05, 0.5, 3.0])
@pytest.mark.parametrize("seed", range(3))
def test_picks_are_those_of_the_objective_worked_out_from_scratch(radius, seed):
    case = Case(radius=radius, seed=seed)
    assert pick_by_gain(case.coverage(), 15).tolist() == case.greedily(15)


def test_gains_are_what_the_objective_rises_by():
    case, coverage = Case(), None
    coverage = case.coverage()
    for step in range(6):
        picks = list(range(0, 3 * step, 3))
        rises = [case.value([*picks, one]) - case.value(picks) for one in range(40)]
        assert np.allclose(coverage.gains(everyone(coverage)), rises, atol=1e-5)
        coverage.add(3 * step)


def test_coverage_never_falls_and_ends_at_one():
    case = Case()
    coverage = case.coverage()
    for place in pick_by_gain(case.coverage(), 40):
        before = coverage.of_sample
        coverage.add(int(place))
        assert (coverage.of_sample >= before).all()
    assert torch.allclose(coverage.of_sample, torch.ones(40))
    assert torch.allclose(coverage.gains(everyone(coverage)), torch.zeros(40), atol=1e-6)


def test_over_all_samples_gains_are_right_on_average():
    case = Case(num=7, num_labelled=2)
    samples = list(combinations(range(7), 3))
    told = []
    for sample in samples:
        coverage = case.coverage(sample)
        coverage.add(5)
        told.append(coverage.gains(everyone(coverage)).numpy())
    exact = [case.value([5, one]) - case.value([5]) for one in range(7)]
    assert np.allclose(np.mean(told, axis=0), exact, atol=1e-5)
    assert np.std(told, axis=0).max() > 0.01, "a sample tells less than all"


def test_a_candidate_counts_for_itself_whether_or_not_it_is_in_the_sample():
    """With a tiny σ each image covers itself alone: the order is that of the weights, as with all images."""
    case = Case(radius=1e-3)
    by_weight = np.argsort(-case.weights)
    assert pick_by_gain(case.coverage(sample=[3, 4, 5]), 40).tolist() == by_weight.tolist()


@pytest.mark.parametrize("sample", [None, [1, 2, 3, 20, 30]])
def test_gains_that_are_not_worked_out_could_not_have_been_the_largest(sample, monkeypatch):
    case = Case()
    greedy, expected = case.coverage(sample), []
    for _ in range(20):
        gains = greedy.gains(everyone(greedy))
        gains[expected] = -1
        expected.append(int(gains.argmax()))
        greedy.add(expected[-1])
    assert pick_by_gain(case.coverage(sample), 20).tolist() == expected
    monkeypatch.setattr(uncertainty_herding, "FIRST_LOOK", 1)
    monkeypatch.setattr(uncertainty_herding, "ELEMENTS", 1)
    assert pick_by_gain(case.coverage(sample), 20).tolist() == expected


def test_most_gains_are_not_worked_out_again():
    case = Case(num=2000, radius=0.05)
    coverage, looked_at = case.coverage(), []
    gains = coverage.gains
    coverage.gains = lambda candidates: looked_at.append(len(candidates)) or gains(candidates)
    pick_by_gain(coverage, 50)
    assert sum(looked_at) < 2000 + 50 * 400


def test_a_first_pick_walks_the_pool_once():
    """Bounds that say nothing yet are not sorted again for each few candidates, which is quadratic in the pool."""
    coverage, looked_at = Case(num=400).coverage(), []
    coverage.most_at_once, gains = 10, coverage.gains
    coverage.gains = lambda candidates: looked_at.append(len(candidates)) or gains(candidates)
    pick_by_gain(coverage, 1)
    assert looked_at[:40] == [10] * 40
    assert len(looked_at) <= 42


def test_equal_images_are_picked_once_each():
    case = Case(num=12)
    case.features[:] = case.features[0]
    assert sorted(pick_by_gain(case.coverage(), 12)) == list(range(12))
    case.weights[:] = 0
    assert pick_by_gain(case.coverage(), 12).tolist() == list(range(12)), "no gain at all: the first come first"


def test_distances_near_the_errors_of_single_precision_count():
    """Two images are 2e-4 apart, which σ = 1e-4 tells apart though their squared distance is 4e-8."""
    case = Case(num=2, num_labelled=1, radius=1e-4)
    case.features = np.array([[1, 0, 0], [np.cos(2e-4), np.sin(2e-4), 0]], dtype=np.float32)
    coverage = case.coverage()
    coverage.add(0)
    assert coverage.of_sample.tolist() == pytest.approx([1.0, float(np.exp(-4))], rel=1e-2)


def test_sigma_is_the_smallest_distance_between_different_images(monkeypatch):
    rows = directions(30)
    expected = min(float(np.linalg.norm(one - other)) for one, other in combinations(rows.astype(np.float64), 2))
    twice = torch.from_numpy(np.concatenate([rows, rows[:5], rows[:1] + np.float32(1e-7)]))
    assert smallest_distance(torch.from_numpy(rows)) == pytest.approx(expected, rel=1e-6)
    assert smallest_distance(twice) == pytest.approx(expected, rel=1e-5)
    monkeypatch.setattr(uncertainty_herding, "ELEMENTS", 50)
    assert smallest_distance(torch.from_numpy(rows)) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("num", [1, 4])
def test_where_no_two_images_differ_sigma_is_one(num):
    assert smallest_distance(torch.from_numpy(np.repeat(directions(1), num, axis=0))) == 1.0


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_uncertainty_is_one_minus_the_margin_of_the_tempered_softmax(temperature):
    logits = generator().normal(size=(30, 5)).astype(np.float32)
    odds = np.exp(logits.astype(np.float64) / temperature)
    ordered = np.sort(odds / odds.sum(axis=1, keepdims=True), axis=1)
    expected = 1 - (ordered[:, -1] - ordered[:, -2])
    assert np.allclose(uncertainties(logits, temperature), expected / expected.max())


def test_who_is_sure_of_everything_is_surer_of_some():
    told = uncertainties(np.array([[500, 0, 0], [501, 0, 0], [1e6, 0, 0]], dtype=np.float32), 0.5)
    assert told.tolist() == pytest.approx([1, np.exp(-2), 0])


class Table:
    """An f whose features and logits of image i are row i of a table; it is its own training on anything."""

    device = torch.device("cpu")

    def __init__(self, num):
        self._features = directions(num) * generator(7).uniform(0.1, 10, (num, 1)).astype(np.float32)
        self._logits = generator(8).normal(size=(num, 4)).astype(np.float32) * 3

    def features(self, indices):
        return self._features[indices]

    def logits(self, indices):
        return self._logits[indices]


def test_what_is_asked_of_f_and_of_the_labels():
    labels = generator(9).integers(0, 4, 60)
    pool = SimpleNamespace(labelled=np.arange(0, 60, 5), unlabelled=np.setdiff1d(np.arange(60), np.arange(0, 60, 5)))
    pool.labels = np.where(np.isin(np.arange(60), pool.labelled), labels, -1)
    f = Table(60)
    granted = {"training": lambda indices, labels, repeat: f}
    request = Request(pool=pool, scout=f, budget=10, batch_size=5, num_candidates=10, granted=granted)
    picks = select_by_herding(request, generator(3)).indices
    known = labels[pool.labelled]
    temperature = cross_validated_temperature(request.train, pool.labelled, known, generator(3))
    case, unit = Case(), f._features / np.linalg.norm(f._features, axis=1, keepdims=True)
    case.features, case.labelled = unit[pool.unlabelled], unit[pool.labelled]
    case.weights = uncertainties(f.logits(pool.unlabelled), temperature)
    pairs = combinations(case.labelled.astype(np.float64), 2)
    case.radius = min(float(np.linalg.norm(one - other)) for one, other in pairs)
    assert picks.tolist() == pool.unlabelled[case.greedily(10)].tolist()
    whole = Request(pool=pool, scout=f, budget=48, batch_size=1, num_candidates=10, granted=granted)
    assert sorted(select_by_herding(whole, generator(3)).indices) == pool.unlabelled.tolist()


def test_its_trainings_are_those_of_the_plan(tiny, tmp_path):
    assert FACTS["uncertainty_herding"].num_trainings == NUM_FOLDS
    prepared = prepare(override(tiny, {"strategy": "uncertainty_herding"}), Path("unused"))
    result = run(prepared, Lab(Home(tmp_path), tmp_path, progress=Progress(quiet=True)))
    problem = prepared.problem(prepared.pool)
    ahead = {problem.key(spec) for specs in prepared.specs().values() for spec in specs}
    assert result.trainings == len(ahead) + prepared.num_later_trainings
