"""Successive halving over seeds."""

from hypothesis import given
from hypothesis import strategies as st

from tune.halving import LEAST, goes_on

VALUES = st.lists(st.integers(0, 10).map(lambda n: n / 10), min_size=1, max_size=30)


@given(VALUES)
def test_the_best_goes_on_and_so_does_half(values):
    survivors = [value for i, value in enumerate(values) if goes_on(value, values[:i] + values[i + 1 :])]
    assert max(values) in survivors
    assert len(survivors) >= len(values) / 2
    stopped = [value for value in values if value not in survivors]
    assert not stopped or max(stopped) < min(survivors)
    assert len(values) >= LEAST or not stopped


def test_ties_go_on():
    assert all(goes_on(0.5, [0.5] * n) for n in range(20))


def test_a_late_trial_is_held_to_all_that_were_there():
    assert not goes_on(0.4, [0.1, 0.5, 0.6, 0.7])
    assert goes_on(0.4, [0.1, 0.2, 0.6, 0.7])
