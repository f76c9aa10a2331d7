import numpy as np
import pytest

from rambo.correctness import correct_share, correct_text
from rambo.measurement import Measurement


def measured(correct):
    bits = None if correct is None else np.packbits(correct).tobytes()
    return Measurement(0.5, 0.5, b"", 1, 1.0, "cpu", bits)


@pytest.mark.parametrize("num_images", [1, 8, 13, 1000])
def test_bits_come_back_from_text(num_images):
    right = np.random.default_rng(0).random((3, num_images)) < 0.7
    text = correct_text([measured(row) for row in right])
    assert len(text.split()) == 3
    assert np.array_equal(correct_share(text, num_images), right.mean(axis=0))


def test_one_training_without_bits_leaves_none_told():
    assert correct_text([measured(np.ones(4, dtype=bool)), measured(None)]) is None
    assert correct_text([measured(None)]) is None


@pytest.mark.parametrize("text", ["gA==", "gAA= gA==", "g", "", "gAA= ****"])
def test_bits_of_another_number_of_images_are_refused(text):
    with pytest.raises(ValueError):  # noqa: PT011  # Base64's own or ours
        correct_share(text, 9)
