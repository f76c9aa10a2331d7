import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rambo.data.dataset import Dataset
from rambo.data.pool import HIDDEN, make_split, reveal, start_pool
from rambo.errors import InvalidInput
from rambo.sections import Data


def make_dataset(num_images=300, num_classes=4, official=0):
    generator = np.random.default_rng(0)
    candidates = np.arange(num_images - official, num_images) if official else np.arange(num_images)
    return Dataset(
        name="made",
        images=generator.integers(0, 256, (num_images, 1, 4, 4), dtype=np.uint8),
        labels=np.arange(num_images) % num_classes,
        class_names=tuple("abcd"[:num_classes]),
        test_candidates=candidates,
    )


def make_data(**changes):
    return Data(**{"num_seed_labels": 30, "num_validation": 50, "num_test": 60, **changes})


@given(
    st.integers(0, 20),
    st.integers(10, 60),
    st.booleans(),
    st.sampled_from([0.0, 0.2]),
    st.sampled_from([0, 100]),
)
@settings(max_examples=40, deadline=None)
def test_splits_are_disjoint_and_of_the_sizes_asked_for(seed, size, stratified, share, official):
    dataset = make_dataset(official=official)
    data = make_data(num_seed_labels=size, stratified=True, imbalance_classes=0.5, imbalance_fraction=share)
    split = make_split(dataset, replace(data, stratified=stratified or size < 30), seed)
    parts = [split.test, split.validation, split.seed_set, split.pool]
    together = np.concatenate(parts)
    assert len(np.unique(together)) == len(together)
    assert [len(part) for part in parts[:3]] == [60, 50, size]
    if official:
        assert set(split.test) <= set(dataset.test_candidates)
        assert not set(np.concatenate(parts[1:])) & set(dataset.test_candidates)
    elif share == 0:
        assert len(together) == len(dataset.labels)


def test_test_images_are_the_same_for_every_seed_and_the_rest_is_not():
    first, second = (make_split(make_dataset(), make_data(), seed) for seed in (0, 1))
    assert np.array_equal(first.test, second.test)
    assert not np.array_equal(first.validation, second.validation)
    assert not np.array_equal(first.seed_set, second.seed_set)


def test_a_larger_seed_set_holds_the_smaller():
    small, large = (make_split(make_dataset(), make_data(num_seed_labels=size), 0) for size in (20, 40))
    assert set(small.seed_set) < set(large.seed_set)
    assert np.array_equal(small.validation, large.validation)


def test_stratified_parts_hold_the_shares_of_the_data():
    split = make_split(make_dataset(), make_data(stratified=True, num_seed_labels=40), 0)
    for part in (split.seed_set, split.validation):
        counts = np.bincount(split.labels[part], minlength=4)
        assert counts.max() - counts.min() <= 2


def test_noise_reaches_seed_set_and_pool_but_neither_validation_nor_test():
    dataset = make_dataset()
    split = make_split(dataset, make_data(label_noise=0.2), 0)
    wrong = split.labels != dataset.labels
    assert wrong.sum() == round(0.2 * (300 - 60 - 50))
    assert not wrong[split.validation].any()
    assert not wrong[split.test].any()
    assert wrong[split.seed_set].any()
    assert wrong[split.pool].any()


def test_wrong_labels_fall_on_the_seed_s_classes_alone_and_move_no_other_draw():
    dataset = make_dataset()
    fell_on = set()
    for seed in range(20):
        everywhere, some = (
            make_split(dataset, make_data(label_noise=0.1, label_noise_classes=share, stratified=True), seed)
            for share in (1.0, 0.25)
        )
        wrong = some.labels != dataset.labels
        assert wrong.sum() == round(0.1 * (300 - 60 - 50))
        [label] = set(dataset.labels[wrong])
        fell_on.add(label)
        for name in ("test", "validation", "seed_set", "pool"):
            assert np.array_equal(getattr(some, name), getattr(everywhere, name))
    assert fell_on == {0, 1, 2, 3}, "other classes for other seeds"


def test_imbalance_thins_the_pool_alone():
    dataset = make_dataset()
    full = make_split(dataset, make_data(), 0)
    thin = make_split(dataset, make_data(imbalance_classes=0.5, imbalance_fraction=0.5), 0)
    assert np.array_equal(full.seed_set, thin.seed_set)
    before, after = (np.bincount(dataset.labels[split.pool]) for split in (full, thin))
    assert sorted(np.round(after / before, 1).tolist())[:2] == [0.5, 0.5]
    assert (after == before).sum() == 2


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"num_validation": 250}, "must leave a pool of the 240 images outside the test set, got 250"),
        ({"num_seed_labels": 190}, "must leave a pool"),
        ({"num_test": 300}, "num_test"),
        ({"num_seed_labels": 2}, "The seed set must hold every class, got 2 labels without"),
    ],
)
def test_sizes_that_do_not_fit_are_one_sentence(changes, sentence):
    with pytest.raises(InvalidInput, match=sentence):
        make_split(make_dataset(), make_data(**changes), 0)


def test_labels_show_only_where_they_were_revealed():
    split = make_split(make_dataset(), make_data(), 0)
    pool = start_pool(make_dataset(), split)
    assert (pool.labels[pool.unlabelled] == HIDDEN).all()
    assert (pool.labels[split.test] == HIDDEN).all()
    bought = pool.unlabelled[3:8]
    after = reveal(pool, split, bought)
    assert after.labels[bought].tolist() == split.labels[bought].tolist()
    assert after.rounds[bought].tolist() == [1] * 5
    assert set(after.labelled) == set(split.seed_set) | set(bought)
    assert (pool.labels[bought] == HIDDEN).all()


def test_nobody_labels_twice_or_outside_the_pool():
    split = make_split(make_dataset(), make_data(), 0)
    pool = start_pool(make_dataset(), split)
    for wrong in (split.seed_set[:2], split.test[:2], split.validation[:2], pool.unlabelled[[0, 0]]):
        with pytest.raises(InvalidInput, match="different, unlabelled pool images"):
            reveal(pool, split, wrong)


def with_rare(num_rare, *, tested):
    """A fifth class of so many images, the first `tested` of which are test images whatever the seed."""
    for shift in range(300):
        labels = np.roll(np.repeat([0, 1, 2, 3, 4], [75, 75, 75, 75 - num_rare, num_rare]), shift)
        dataset = replace(make_dataset(), labels=labels, class_names=tuple("abcde"))
        if (labels[dataset.fixed(60).test] == 4).sum() == tested:
            return dataset
    raise AssertionError("no such labels")


def refusal(dataset, data, seed):
    with pytest.raises(InvalidInput) as caught:
        make_split(dataset, data, seed)
    return str(caught.value)


def test_each_remedy_for_a_class_without_seed_image_works_alone():
    dataset, data = with_rare(2, tested=0), make_data(num_seed_labels=31)
    seed = next(one for one in range(50) if "stratified" in refused(dataset, data, one))
    said = refusal(dataset, data, seed)
    assert "labels without e; set data.stratified, or take another seed" in said
    make_split(dataset, replace(data, stratified=True), seed)
    make_split(dataset, data, int(re.search(r"such as (\d+)", said)[1]))
    enough = int(re.search(r"data\.num_seed_labels to (\d+) at least", said)[1])
    make_split(dataset, replace(data, num_seed_labels=enough), seed)
    assert "without e" in refusal(dataset, replace(data, num_seed_labels=enough - 1), seed), "no more than needed"


def refused(dataset, data, seed):
    try:
        make_split(dataset, data, seed)
    except InvalidInput as error:
        return str(error)
    return ""


def test_a_class_that_no_draw_can_give_an_image_is_not_sent_round_in_circles():
    """Its only image is a test image, so neither seed, size nor stratification helps; what is advised then does."""
    dataset, data = with_rare(1, tested=1), make_data()
    for seed, changes in ((0, {}), (7, {"num_seed_labels": 180}), (3, {"stratified": True})):
        said = refusal(dataset, replace(data, **changes), seed)
        assert "take another seed" not in said
        assert said.endswith("add images of it, or leave the class out.")
    kept = dataset.labels < 4
    left_out = {"images": dataset.images[kept], "labels": dataset.labels[kept], "class_names": tuple("abcd")}
    make_split(replace(dataset, **left_out, test_candidates=np.arange(kept.sum())), data, 0)
    make_split(replace(dataset, labels=np.where(np.arange(300) % 9 == 0, 4, dataset.labels)), data, 0)


def test_sizes_that_are_advised_fit():
    dataset, data = make_dataset(), make_data(num_seed_labels=200)
    most = int(re.search(r"let their sum be at most (\d+)\.", refusal(dataset, data, 0))[1])
    make_split(dataset, replace(data, num_seed_labels=most - data.num_validation), 0)
    assert "at most" in refusal(dataset, replace(data, num_seed_labels=most - data.num_validation + 1), 0)
