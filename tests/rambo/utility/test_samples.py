import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rambo.config import Config
from rambo.fields import override
from rambo.utility.pairs import set_ids
from rambo.utility.samples import (
    interpolate,
    order_agreement,
    plan_growth,
    plan_samples,
    planned_specs,
)

accuracies = st.floats(0, 1)


@given(st.lists(st.tuples(st.floats(0, 1e3), st.floats(0, 1e3)), min_size=1), accuracies, accuracies)
def test_interpolated_labels_stay_between_the_two_accuracies(distances, first, second):
    to_current, to_next = np.array(distances).T
    labels = interpolate(to_current, to_next, (first, second))
    assert (labels >= min(first, second)).all()
    assert (labels <= max(first, second)).all()


def test_interpolation_at_its_ends_and_where_nothing_separates():
    labels = interpolate(np.array([0.0, 3.0, 1.0, 0.0]), np.array([2.0, 0.0, 3.0, 0.0]), (0.5, 0.9))
    np.testing.assert_allclose(labels, [0.5, 0.9, 0.75 * 0.5 + 0.25 * 0.9, 0.7])


def test_agreement_counts_ties_by_half():
    first = np.array([[1.0, 2.0], [2.0, 1.0], [1.0, 1.0], [1.0, 2.0]])
    second = np.array([[1.0, 3.0], [1.0, 2.0], [1.0, 2.0], [5.0, 5.0]])
    assert order_agreement(first, second) == pytest.approx((1 + 0 + 0.5 + 0.5) / 4)


def test_the_paper_schedule_of_mnist():
    config = override(Config(), {"data.num_seed_labels": 200, "acquisition.batch_size": 50})
    plan = plan_samples(config, num_classes=10)
    assert plan.chain.sum(axis=1).tolist() == [50, 100, 150, 200]
    assert (plan.chain[:-1] <= plan.chain[1:]).all()
    for members, labelled in zip(plan.pretraining, plan.chain, strict=False):
        assert not members[:, :, ~labelled].any()


def test_held_out_pairs_are_long_and_in_no_other_stage(tiny):
    plan = plan_samples(tiny, num_classes=10)
    seen = {identity for members in (plan.offline, *plan.pretraining) for identity in set_ids(members)}
    assert not seen & set(set_ids(plan.held_out))
    assert plan.held_out.sum(axis=2).min() >= (12 + 59) // 2


def test_the_size_law_is_of_what_is_learned_from_and_of_nothing_else(tiny):
    """The 60 images of S_0 make binomial sizes of 30 ± 3; uniform ones lie between 12 and 59."""
    uniform, binomial = (plan_samples(override(tiny, {"utility.size_law": law}), 10) for law in ("uniform", "binomial"))
    sizes = [plan.offline.sum(axis=2) for plan in (uniform, binomial)]
    assert np.ptp(sizes[0]) > 18 > np.ptp(sizes[1])
    assert abs(sizes[1] - 30).max() <= 9
    assert not np.array_equal(uniform.pretraining[1], binomial.pretraining[1])
    assert np.array_equal(uniform.chain, binomial.chain)
    assert np.array_equal(uniform.held_out, binomial.held_out), "so that both are judged on the same sets"
    growth = plan_growth(override(tiny, {"utility.size_law": "binomial"}), 10, 60, 80)
    assert abs(growth.pretraining[0].sum(axis=2) - 30).max() <= 9


def test_what_two_settings_share_is_measured_once(tiny):
    """Offline and held-out sets depend on k, C and the seed; never on b, n or any λ."""
    other = override(tiny, {"acquisition.batch_size": 10, "pretraining.num_pairs": 9, "utility_model.lambda_ot": 0.1})
    first, second = plan_samples(tiny, 4), plan_samples(other, 4)
    assert np.array_equal(first.offline, second.offline)
    assert np.array_equal(first.held_out, second.held_out)


def test_every_stage_is_planned_with_its_count(tiny):
    specs = planned_specs(plan_samples(tiny, 10), tiny, np.arange(60))
    counts = {stage: len(found) for stage, found in specs.items()}
    assert counts == {
        "offline pairs": 12,
        "growing sets": 3,
        "audited pairs": 12,
        "held-out pairs": 10,
        "ceiling": 6,
    }
    trained = override(tiny, {"utility.label": "trained"})
    assert len(planned_specs(plan_samples(trained, 10), trained, np.arange(60))["audited pairs"]) == 24


def test_growth_goes_on_in_chunks_from_what_was_labelled(tiny):
    """From 60 to 105 in steps of 20, what remains last; each step's pairs are of what was labelled before it."""
    growth = plan_growth(tiny, 10, 60, 105)
    assert growth.chain.sum(axis=1).tolist() == [60, 80, 100, 105]
    assert growth.chain.shape[1] == 105
    assert [pairs.shape for pairs in growth.pretraining] == [(6, 2, 105)] * 3
    for pairs, size in zip(growth.pretraining, (60, 80, 100), strict=True):
        assert pairs[:, :, :size].any(axis=2).all()
        assert not pairs[:, :, size:].any()


def test_structured_pairs_take_half_and_leave_the_rest_as_it_was(tiny):
    generator = np.random.default_rng(0)
    images = generator.random((60, 9)).astype(np.float32), np.arange(60) % 10
    plain = plan_samples(tiny, 10)
    mixed = plan_samples(override(tiny, {"offline.structured": True}), 10, images)
    assert len(mixed.offline) == len(plain.offline)
    half = len(plain.offline) // 2
    assert np.array_equal(mixed.offline[:half], plain.offline[:half])
    assert not np.array_equal(mixed.offline[half:], plain.offline[half:])
    assert not {*set_ids(mixed.offline)} & {*set_ids(mixed.held_out)}
