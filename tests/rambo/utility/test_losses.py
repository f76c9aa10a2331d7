import math

import jaxtyping
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rambo.errors import InvalidInput
from rambo.sections import Switches, UtilityModel
from rambo.utility.losses import ot_loss, ranknet_loss, regression_loss, total_loss

numbers = st.floats(-10, 10, width=32)
pairs = st.lists(st.tuples(numbers, numbers, st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=8)


def columns(rows):
    return torch.tensor(rows, dtype=torch.float64).unbind(1)


@given(st.lists(st.tuples(numbers, st.floats(0, 1), st.floats(0, 1)), min_size=1))
def test_equal_scores_cost_log_two(rows):
    score, first, second = columns(rows)
    assert ranknet_loss(score, score, first, second).item() == pytest.approx(math.log(2))


@given(pairs, numbers)
def test_a_shift_of_all_scores_changes_nothing(rows, shift):
    first, second, u1, u2 = columns(rows)
    shifted = ranknet_loss(first + shift, second + shift, u1, u2)
    torch.testing.assert_close(ranknet_loss(first, second, u1, u2), shifted)


@given(pairs)
def test_the_order_of_a_pair_carries_no_information(rows):
    first, second, u1, u2 = columns(rows)
    torch.testing.assert_close(ranknet_loss(first, second, u1, u2), ranknet_loss(second, first, u2, u1))
    torch.testing.assert_close(regression_loss(first, second, u1, u2), regression_loss(second, first, u2, u1))


@pytest.mark.parametrize(("utilities", "sign"), [((0.9, 0.1), -1), ((0.1, 0.9), 1), ((0.5, 0.5), 0)])
def test_the_gradient_raises_the_score_of_the_better_set(utilities, sign):
    first, second = (torch.zeros(1, requires_grad=True) for _ in range(2))
    ranknet_loss(first, second, *(torch.tensor([u]) for u in utilities)).backward()
    assert torch.sign(first.grad).item() == sign == -torch.sign(second.grad).item()


def test_close_utilities_are_told_apart_in_their_own_precision():
    u1, u2 = (torch.tensor([u], dtype=torch.float64) for u in (0.5, 0.5 + 1e-12))
    assert ranknet_loss(torch.tensor([5.0]), torch.tensor([0.0]), u1, u2).item() == pytest.approx(5, abs=0.01)


def test_shapes_that_would_broadcast_are_refused():
    column, row = torch.zeros(3, 1), torch.zeros(3)
    with pytest.raises(jaxtyping.TypeCheckError):
        ranknet_loss(column, row, row, row)


def test_the_ot_loss_by_hand():
    """λ1 (2−1)² + λ2 (−1−3)² + λ3 · 1 for one pair; nothing for a perfect one: their mean."""
    predicted = torch.tensor([2.0, 5.0]), torch.tensor([-1.0, 7.0])
    true = torch.tensor([1.0, 5.0]), torch.tensor([3.0, 7.0])
    assert ot_loss(*predicted, *true, lambdas=(0.5, 0.25, 3.0)).item() == pytest.approx((0.5 + 4 + 3) / 2)


def test_the_total_is_the_sum_that_equation_3_names():
    score, utility = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.2, 0.8]])
    predicted, true = torch.tensor([[1.5, 1.0]]), torch.tensor([[1.0, 1.0]])
    settings = UtilityModel(lambda_ot=2.0)
    total = total_loss(score, utility, predicted, true, settings=settings, switches=Switches())
    assert total.item() == pytest.approx(math.log(1 + math.e) + 2 * 0.5 * 0.25)
    off = total_loss(score, utility, None, None, settings=settings, switches=Switches(ranknet=False))
    assert off.item() == pytest.approx((0.8**2 + 0.8**2) / 2)
    shifted = total_loss(score + 7, utility - 2, None, None, settings=settings, switches=Switches(ranknet=False))
    assert shifted.item() == pytest.approx(off.item()), "the level of the scores is free"
    with pytest.raises(InvalidInput, match="must have OT distances"):
        total_loss(score, utility, predicted, None, settings=settings, switches=Switches())
