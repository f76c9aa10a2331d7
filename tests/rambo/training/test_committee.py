import numpy as np
import pytest
import torch

from rambo.errors import InvalidInput
from rambo.training.committee import Committee
from rambo.training.trainer import SetSpec, Trainer, margins_of


@pytest.fixture(scope="module")
def members(prepared):
    trainer = Trainer(prepared.problem(prepared.pool), torch.device("cpu"))
    return tuple(trainer.fit(SetSpec(prepared.split.seed_set, seed)).predictor for seed in (1, 2, 3))


def test_one_member_is_that_classifier_to_the_bit(members, prepared):
    alone, some = Committee(members[:1]), prepared.pool.unlabelled[:30]
    for name in ("probabilities", "logits", "features", "margins"):
        told = getattr(alone, name)(some)
        expected = margins_of(members[0].probabilities(some)) if name == "margins" else getattr(members[0], name)(some)
        assert np.array_equal(told, expected)


def test_probabilities_of_several_are_means(members, prepared):
    some = prepared.pool.unlabelled[:30]
    told = Committee(members).probabilities(some)
    assert np.allclose(told, np.mean([member.probabilities(some) for member in members], axis=0), atol=1e-6)
    assert np.allclose(told.sum(axis=1), 1, atol=1e-5)


def test_logits_give_the_probabilities_back(members, prepared):
    some = prepared.pool.unlabelled[:30]
    for committee in (Committee(members[:1]), Committee(members)):
        softmax = torch.from_numpy(committee.logits(some)).softmax(dim=1).numpy()
        assert np.allclose(softmax, committee.probabilities(some), atol=1e-5)


def test_squared_distances_of_several_are_means_of_the_members(members, prepared):
    some = prepared.pool.unlabelled[:2]

    def squared(features):
        return float(((features[0] - features[1]) ** 2).sum())

    expected = np.mean([squared(member.features(some)) for member in members])
    assert squared(Committee(members).features(some)) == pytest.approx(expected, rel=1e-5)


def test_no_images_have_no_answers(members):
    nobody = np.zeros(0, dtype=np.int64)
    committee = Committee(members)
    assert committee.probabilities(nobody).shape == (0, 10)
    assert len(committee.margins(nobody)) == len(committee.features(nobody)) == 0


def test_a_committee_of_nobody_is_refused():
    with pytest.raises(InvalidInput, match="at least one member"):
        Committee(())


def test_labels_are_drawn_with_their_probabilities(members, prepared):
    """Of 4000 draws for one image the shares are its probabilities within five standard errors."""
    committee = Committee(members)
    image = prepared.pool.unlabelled[np.argmin(committee.margins(prepared.pool.unlabelled))]
    probabilities = committee.probabilities(np.array([image]))[0].astype(float)
    drawn = committee.draw(np.full(4000, image), np.random.default_rng(0))
    shares = np.bincount(drawn, minlength=10) / 4000
    assert (np.abs(shares - probabilities) <= 5 * np.sqrt(probabilities * (1 - probabilities) / 4000) + 1e-9).all()
    assert committee.likeliest(np.array([image]))[0] == probabilities.argmax()
