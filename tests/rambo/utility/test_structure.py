import numpy as np
import pytest

from rambo.utility import structure
from rambo.utility.structure import class_margins, draw_structured_pairs


@pytest.fixture
def blobs():
    """Three classes of ten points on a line, at 0, 10 and 20, each within ±.9 of its centre."""
    labels = np.repeat(np.arange(3), 10)
    offsets = np.tile(np.linspace(-0.9, 0.9, 10), 3)
    return (10.0 * labels + offsets)[:, None].astype(np.float32), labels


def test_pairs_are_equally_large_and_differ(blobs):
    members = draw_structured_pairs(*blobs, 50, np.random.default_rng(0), num_classes=3)
    sizes = members.sum(axis=2)
    assert members.shape == (50, 2, 30)
    assert (sizes[:, 0] == sizes[:, 1]).all()
    assert sizes.min() >= 6
    assert sizes.max() <= 29
    assert len(set(sizes[:, 0])) > 5
    assert not any(np.array_equal(*pair) for pair in members)


def test_margins_are_those_of_leave_one_out_means_by_hand(blobs):
    features, labels = blobs
    margins = class_margins(features, labels)
    for place in range(30):
        others = [features[(labels == label) & (np.arange(30) != place)].mean(dtype=np.float64) for label in range(3)]
        distance = np.abs(features[place, 0] - np.array(others))
        own = distance[labels[place]]
        assert margins[place] == pytest.approx(np.delete(distance, labels[place]).min() - own, rel=1e-5)


def test_an_image_alone_in_its_class_is_the_hardest(blobs):
    features, labels = blobs
    alone = labels.copy()
    alone[0] = 3
    assert class_margins(features, alone)[0] == -np.inf


def test_each_law_keeps_its_promise(blobs):
    features, labels = blobs
    generator = np.random.default_rng(1)
    for size in (6, 9, 12):
        counts = np.bincount(labels[structure._balanced_law(labels)(size, generator)], minlength=3)
        assert counts.max() - counts.min() <= 1
        near = structure._clustered_law(features)(size, generator)
        spread = features[near].max() - features[near].min()
        assert spread <= (2 if size <= 10 else 12), "a cluster stays in its class while that has images left"
        margins = class_margins(features, labels)
        hard = structure._margin_law(margins)(size, generator)
        assert margins[hard].max() <= np.sort(margins)[2 * size - 1]


@pytest.mark.parametrize("size", [2, 6, 10, 15, 20, 25, 28])
def test_sets_by_margin_are_harder_than_uniform_ones_at_every_size(size):
    margins, generator = np.random.default_rng(0).normal(size=30), np.random.default_rng(1)
    law, ranks = structure._margin_law(margins), np.argsort(np.argsort(margins))
    drawn = [law(size, generator) for _ in range(200)]
    assert len({frozenset(images.tolist()) for images in drawn}) > 1, "they differ"
    assert np.mean([ranks[images].mean() for images in drawn]) < 14.5 - (30 - size) / 5


def test_laws_stay_lawful_where_almost_everything_is_taken(blobs):
    features, labels = blobs
    laws = (
        structure._margin_law(class_margins(features, labels)),
        structure._balanced_law(labels),
        structure._clustered_law(features),
    )
    for law in laws:
        assert len(set(law(29, np.random.default_rng(2)).tolist())) == 29


def test_the_same_generator_gives_the_same_pairs(blobs):
    first, second = (draw_structured_pairs(*blobs, 5, np.random.default_rng(3), num_classes=3) for _ in range(2))
    assert np.array_equal(first, second)
