"""Shares with their intervals."""

import numpy as np
import pytest
from scipy.stats import binomtest

from rambo.labelling.selecting import Share, accuracy_now


@pytest.mark.parametrize(("right", "judged"), [(0, 7), (7, 7), (33, 40), (900, 1000)])
def test_the_interval_is_wilsons(right, judged):
    found = binomtest(right, judged).proportion_ci(0.95, method="wilson")
    assert Share(right, judged).interval == pytest.approx((found.low, found.high), abs=1e-12)


def test_a_share_is_said_with_what_so_few_images_tell():
    assert Share(33, 40).text() == "82.5 % of 40 validation images right (95 % interval 68 to 91 %)"


def test_bits_beyond_the_images_do_not_count():
    assert accuracy_now(np.packbits([1, 0, 1]).tobytes(), 3) == Share(2, 3)
