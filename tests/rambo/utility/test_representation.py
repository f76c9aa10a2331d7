from pathlib import Path

import numpy as np
import pytest
import torch
from reach import reachable

from rambo.data.dataset import Dataset, NormalisedImages
from rambo.data.features import l2_normalise, plain_features, resnet18_features
from rambo.data.pool import Split
from rambo.sections import UtilityModel
from rambo.utility.representation import Representation

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def made():
    """Thirty small images of three classes."""
    generator = np.random.default_rng(0)
    return Dataset(
        name="made",
        images=generator.integers(0, 256, (30, 1, 8, 8), dtype=np.uint8),
        labels=np.arange(30) % 3,
        class_names=("a", "b", "c"),
        test_candidates=np.arange(30),
    )


@pytest.fixture(scope="module")
def split(made):
    parts = np.random.default_rng(1).permutation(30)
    test, validation, seed_set, pool = (np.sort(part) for part in np.split(parts, [5, 12, 22]))
    return Split(test, validation, seed_set, pool, made.labels)


def seen(made, folder, **settings):
    images = NormalisedImages(made.images, made.fixed(5).normalisation, CPU)
    return Representation(made, images, UtilityModel(**settings), folder, CPU)


def test_pixels_are_normalised_for_the_model_and_of_length_one_for_the_distance(made, split):
    pixels = seen(made, Path("unused"))
    some = np.array([7, 3, 3])
    expected = made.fixed(5).normalisation.apply(torch.from_numpy(made.images[some]))
    assert torch.equal(pixels.inputs(some), expected)
    problem = pixels.ot_problem(split, "f")
    assert np.array_equal(problem.seed_features, l2_normalise(plain_features(made.images[split.seed_set])))
    np.testing.assert_allclose(np.linalg.norm(problem.validation_features, axis=1), 1, rtol=1e-5)


def test_frozen_features_are_those_of_the_network_for_both(made, split, tmp_path):
    frozen = seen(made, tmp_path, extractor="resnet18", weights="random")
    some = np.array([7, 3, 3])
    expected = resnet18_features(made.images[some], "random", CPU)
    assert frozen.inputs(some).shape == (3, 512)
    np.testing.assert_allclose(frozen.inputs(some).numpy(), expected, atol=1e-4, rtol=1e-4)
    problem = frozen.ot_problem(split, "f")
    expected = l2_normalise(resnet18_features(made.images[split.validation], "random", CPU))
    np.testing.assert_allclose(problem.validation_features, expected, atol=1e-4, rtol=1e-4)
    kept = list((tmp_path / "features").iterdir())
    again = seen(made, tmp_path, extractor="resnet18", weights="random")
    assert torch.equal(again.inputs(some), frozen.inputs(some))
    assert list((tmp_path / "features").iterdir()) == kept != []


def test_a_distance_is_named_by_data_features_sets_and_their_labels(made, split, tmp_path):
    pixels, frozen = seen(made, tmp_path), seen(made, tmp_path, extractor="resnet18", weights="random")
    problem, members = pixels.ot_problem(split, "f"), np.arange(10) < 4
    assert problem.seed_labels.tolist() == made.labels[split.seed_set].tolist()
    assert problem.validation_labels.tolist() == made.labels[split.validation].tolist()
    others = [frozen.ot_problem(split, "f"), pixels.ot_problem(split, "another"), pixels.ot_problem(fewer(split), "f")]
    assert len({one.key(members) for one in (problem, *others)}) == 4
    assert seen(made, tmp_path).ot_problem(split, "f").key(members) == problem.key(members)


def fewer(split):
    return Split(split.test, split.validation[1:], split.seed_set, split.pool, split.labels)


@pytest.mark.parametrize("extractor", ["conv", "resnet18"])
def test_no_label_is_within_reach(made, tmp_path, extractor):
    """û is handed this at acquisition, beside images whose labels nobody has paid for."""
    one = seen(made, tmp_path, extractor=extractor, weights="random")
    found = list(reachable(one))
    assert not any(isinstance(thing, (Dataset, Split)) for thing in found)
    arrays = [np.asarray(thing) for thing in found if isinstance(thing, (np.ndarray, torch.Tensor))]
    assert arrays
    assert not any(array.shape == made.labels.shape for array in arrays)


def test_embeddings_are_normalised_for_the_model_and_of_length_one_for_the_distance(split):
    rows = np.random.default_rng(0).standard_normal((30, 5)).astype(np.float32) * 7 + 3
    made = Dataset("made", rows, np.arange(30) % 3, ("a", "b", "c"), np.arange(30))
    embeddings = seen(made, Path("unused"), extractor="features")
    some = np.array([7, 3, 3])
    normalisation = made.fixed(5).normalisation
    expected = (rows[some] - np.array(normalisation.mean)) / np.array(normalisation.std)
    np.testing.assert_allclose(embeddings.inputs(some), expected, rtol=1e-5)
    assert embeddings.described == {"mean": list(normalisation.mean), "std": list(normalisation.std)}
    problem = embeddings.ot_problem(split, "f")
    lengths = np.linalg.norm(rows[split.seed_set], axis=1, keepdims=True)
    np.testing.assert_allclose(problem.seed_features, rows[split.seed_set] / lengths, rtol=1e-5)
    assert problem.feature_id == "embeddings"
