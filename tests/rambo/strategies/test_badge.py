from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import chisquare
from stand_ins import Told

from rambo.strategies.badge import GradientEmbeddings, draw, pick_spread, select_badge


def predictions(count, *, classes=4, width=5, seed=0):
    """Probabilities and features in float64."""
    generator = np.random.default_rng(seed)
    return generator.dirichlet(np.ones(classes), count), generator.standard_normal((count, width))


def explicit(probabilities, features):
    """(n, C·d) embeddings one by one: the gradient of the loss by the last layer's weights, by autograd."""
    rows = []
    for p, h in zip(probabilities, features, strict=True):
        weights = torch.zeros(len(p), len(h), dtype=torch.float64, requires_grad=True)
        # logits that give p at these weights: the layer's own output is 0 there, the rest is its bias
        logits = weights @ torch.from_numpy(h) + torch.from_numpy(np.log(p))
        loss = torch.nn.functional.cross_entropy(logits[None], torch.tensor([int(p.argmax())]))
        rows.append(torch.autograd.grad(loss, weights)[0].flatten().numpy())
    return np.stack(rows)


def embeddings(probabilities, features):
    return GradientEmbeddings.of(torch.from_numpy(probabilities), torch.from_numpy(features))


def picked(probabilities, features, num_picks, seed=0):
    return pick_spread(embeddings(probabilities, features), num_picks, np.random.default_rng(seed)).tolist()


def test_distances_are_those_of_the_explicit_matrix():
    probabilities, features = predictions(30)
    rows, factored = explicit(probabilities, features), embeddings(probabilities, features)
    assert np.abs(factored.squared_norms.numpy() - (rows**2).sum(axis=1)).max() < 1e-6
    for centre in range(30):
        expected = ((rows - rows[centre]) ** 2).sum(axis=1)
        assert np.abs(factored.squared_distances(centre).numpy() - expected).max() < 1e-6


def test_distances_are_never_negative_once_rounded():
    probabilities, features = predictions(200, width=84)
    repeated = embeddings(np.repeat(probabilities, 5, axis=0), 1e4 * np.repeat(features, 5, axis=0))
    assert min(float(repeated.squared_distances(centre).min()) for centre in range(0, 1000, 50)) == 0


def test_the_first_is_the_largest_norm():
    probabilities, features = predictions(30)
    largest = int((explicit(probabilities, features) ** 2).sum(axis=1).argmax())
    assert {picked(probabilities, features, 1, seed)[0] for seed in range(20)} == {largest}


def test_the_second_is_drawn_by_the_squared_distance_to_the_first_alone():
    """Not to the origin, which is no centre, and not to what is labelled."""
    probabilities, features = predictions(6)
    rows = explicit(probabilities, features)
    first = int((rows**2).sum(axis=1).argmax())
    expected = ((rows - rows[first]) ** 2).sum(axis=1)
    counts = np.bincount([picked(probabilities, features, 2, seed)[1] for seed in range(1000)], minlength=6)
    assert counts[first] == 0
    others = np.arange(6) != first
    assert chisquare(counts[others], 1000 * expected[others] / expected.sum()).pvalue > 1e-3


def test_the_third_is_drawn_by_the_squared_distance_to_the_nearer_of_two():
    probabilities, features = predictions(6, seed=1)
    rows = explicit(probabilities, features)
    squared = ((rows[:, None] - rows[None]) ** 2).sum(axis=-1)
    triples = [picked(probabilities, features, 3, seed) for seed in range(1500)]
    first, second = triples[0][0], np.bincount([triple[1] for triple in triples]).argmax()
    counts = np.bincount([triple[2] for triple in triples if triple[1] == second], minlength=6)
    expected = np.minimum(squared[first], squared[second])
    others = expected > 0
    assert counts[~others].sum() == 0
    assert chisquare(counts[others], counts.sum() * expected[others] / expected.sum()).pvalue > 1e-3


def test_copies_are_not_picked_while_others_are_left():
    probabilities, features = predictions(4)
    for seed in range(20):
        picks = picked(np.repeat(probabilities, 30, axis=0), np.repeat(features, 30, axis=0), 120, seed)
        assert {pick // 30 for pick in picks[:4]} == {0, 1, 2, 3}
        assert len(set(picks)) == 120


def test_a_pick_that_rounding_puts_apart_from_itself_is_not_picked_again():
    class Rounded:
        squared_norms = torch.ones(6, dtype=torch.float64)

        def squared_distances(self, centre):
            return torch.eye(6, dtype=torch.float64)[centre] * 1e-16

    for seed in range(20):
        assert sorted(pick_spread(Rounded(), 6, np.random.default_rng(seed)).tolist()) == list(range(6))


@pytest.mark.parametrize("nothing", ["certain", "no features"])
def test_embeddings_of_zero_are_drawn_uniformly_without_repeats(nothing):
    probabilities, features = predictions(5)
    if nothing == "certain":
        probabilities = np.eye(4)[probabilities.argmax(axis=1)]
    else:
        features = np.zeros_like(features)
    drawn = [picked(probabilities, features, 3, seed) for seed in range(600)]
    assert all(len(set(picks)) == 3 for picks in drawn)
    for place in range(3):
        assert chisquare(np.bincount([picks[place] for picks in drawn], minlength=5)).pvalue > 1e-3
    assert sorted(picked(probabilities, features, 5)) == [0, 1, 2, 3, 4]


def test_what_lies_apart_comes_before_what_f_is_sure_of():
    """Of a thousand images f is unsure of three; the rest have no gradient, and are one point, the origin."""
    probabilities = np.tile(np.eye(3)[0], (1000, 1))
    probabilities[[5, 50, 500]] = [[0.4, 0.3, 0.3], [0.3, 0.4, 0.3], [0.3, 0.3, 0.4]]
    picks = picked(probabilities, np.ones((1000, 2)), 1000)
    assert len({5, 50, 500} & set(picks[:4])) == 3
    assert sorted(picks) == list(range(1000))


def test_a_draw_never_hits_a_weight_of_zero():
    class Edge:
        """Draws the ends of the interval."""

        def __init__(self, value):
            self.value = value

        def random(self):
            return self.value

    for weights in ([0, 0, 0.3, 0, 0.7, 0, 0], [0, 1e-300, 0], [0, 3.0, 1.5, 0]):
        left = np.ones(len(weights), dtype=bool)
        positive = np.flatnonzero(weights)
        assert draw(np.array(weights), left, Edge(0.0)) == positive[0]
        assert draw(np.array(weights), left, Edge(1 - 2**-53)) == positive[-1]


def test_a_request_is_answered_from_probabilities_and_features(request_for_forty):
    pool = request_for_forty.pool
    probabilities, features = predictions(len(pool.labels), classes=10)
    told = Told(probabilities, features)
    picks = select_badge(replace(request_for_forty, scout=told), np.random.default_rng(4))
    rows = explicit(np.float64(np.float32(probabilities)), np.float64(np.float32(features)))[pool.unlabelled]
    assert picks.indices[0] == pool.unlabelled[(rows**2).sum(axis=1).argmax()]
    generator, centres = np.random.default_rng(4), []
    generator.random()  # the first, of which there is one
    nearest = np.full(len(rows), np.inf)
    for index in picks.indices:
        if centres:
            share = np.cumsum(nearest) / nearest.sum()
            assert index == pool.unlabelled[int((share <= generator.random()).sum())]
        centres.append(int(np.flatnonzero(pool.unlabelled == index)[0]))
        nearest = np.minimum(nearest, ((rows - rows[centres[-1]]) ** 2).sum(axis=1))
