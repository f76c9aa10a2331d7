"""f for use, read back."""

import numpy as np
import pytest
import torch

from rambo.data.dataset import Normalisation
from rambo.errors import InvalidInput
from rambo.labelling.classifier import Ready, predictions_csv, read_classifier
from rambo.training.classifiers import build_classifier


def test_pixels_are_normalised_as_in_training():
    model = build_classifier("smallnet", (1, 8, 8), 3, torch.Generator().manual_seed(0)).eval()
    normalisation = Normalisation((0.4,), (0.2,))
    pixels = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (5, 1, 8, 8), dtype=np.uint8))
    with torch.no_grad():
        expected = model(normalisation.apply(pixels)).softmax(1)
        found = Ready(model, normalisation, (1, 8, 8))(pixels)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)


def test_predictions_name_the_likeliest_class_and_how_sure_it_is():
    probabilities = np.array([[0.2, 0.7, 0.1], [0.5, 0.1, 0.4]], dtype=np.float32)
    content = predictions_csv([(["a.png", "b, c.png"], probabilities)], ("x", "y", "z")).decode()
    assert content.splitlines() == [
        "file,label,probability,margin",
        "a.png,y,0.7000,0.5000",
        '"b, c.png",x,0.5000,0.1000',
    ]


def test_weights_of_another_network_are_refused(tmp_path):
    (tmp_path / "classifier.json").write_text(
        '{"input_shape": [1, 8, 8], "class_names": ["a", "b"], "classifier": "smallnet", "mean": [0.5], "std": [0.5], '
        '"resize": false}'
    )
    (tmp_path / "classifier.safetensors").write_bytes(b"nothing")
    with pytest.raises(InvalidInput, match=r"must hold the weights of its network, got others; train again"):
        read_classifier(tmp_path)
