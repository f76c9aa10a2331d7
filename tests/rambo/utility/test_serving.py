"""û as others call it: raw pixels where their normalisation is known."""

from pathlib import Path

import numpy as np
import torch

from rambo.data.dataset import Normalisation
from rambo.sections import Switches, UtilityModel
from rambo.utility.deep_sets import SetUtilityModel
from rambo.utility.serving import FromEmbeddings, FromPixels, Served

DESCRIBED = {"input_shape": [3, 8, 8]}

KNOWN = {"mean": [0.25, 0.5, 0.75], "std": [0.5, 0.25, 0.125]}


def made(shape):
    return SetUtilityModel(shape, UtilityModel(), Switches(), 0).eval()


def test_pixels_are_normalised_as_the_experiment_does():
    model = made((3, 8, 8))
    pixels = torch.from_numpy(Served.of(model, {**DESCRIBED, "inputs": KNOWN}).example(5))
    normalisation = Normalisation(tuple(KNOWN["mean"]), tuple(KNOWN["std"]))
    with torch.no_grad():
        assert torch.equal(FromPixels(model, **KNOWN)(pixels), model(normalisation.apply(pixels)))


def test_embeddings_are_normalised_as_the_experiment_does():
    model = made((3,))
    served = Served.of(model, {"input_shape": [3], "inputs": KNOWN})
    rows = torch.from_numpy(served.example(5))
    normalisation = Normalisation(tuple(KNOWN["mean"]), tuple(KNOWN["std"]))
    assert isinstance(served.module, FromEmbeddings)
    assert "the 3 numbers of each embedding as the source gives them" in served.about
    with torch.no_grad():
        assert torch.equal(served.module(rows), model(normalisation.apply(rows)))


def test_what_it_takes_follows_from_what_the_trial_has_kept():
    whole = Served.of(made((3, 8, 8)), {**DESCRIBED, "inputs": KNOWN})
    assert whole.example(2).dtype == np.uint8
    assert whole.metadata["mean"] == KNOWN["mean"]
    older = Served.of(made((3, 8, 8)), DESCRIBED)
    assert older.example(2).dtype == np.float32
    assert "which this trial has not kept" in older.about
    features = Served.of(made((512,)), {"input_shape": [512], "inputs": {"features": "resnet18-imagenet"}})
    assert features.example(2).shape == (2, 512)
    assert "512 features of each image (resnet18-imagenet)" in features.about


def test_a_trial_keeps_what_its_images_are_normalised_with(prepared):
    seen = prepared.representation(Path("unused"), torch.device("cpu"))
    known = prepared.dataset.fixed(prepared.config.data.num_test).normalisation
    assert seen.described == {"mean": list(known.mean), "std": list(known.std)}
