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


def said_of(dataset, data, seed=0):
    """The sentence with which a split is refused, and the remedies that it names."""
    with pytest.raises(InvalidInput, match="The seed set must hold every class, got") as caught:
        make_split(dataset, data, seed)
    said = str(caught.value)
    return said, said.split("; ")[1].removesuffix(".").split(" or ")


def follow(remedy, data, seed):
    """What a remedy says, done."""
    words, number = remedy.rsplit(" ", 1)
    return {
        "raise data.num_seed_labels to": lambda: (replace(data, num_seed_labels=int(number)), seed),
        "set": lambda: (replace(data, stratified=True), seed),
        "take seed": lambda: (data, int(number)),
        "lower data.num_test to": lambda: (replace(data, num_test=int(number)), seed),
    }[words]()


def test_every_remedy_for_a_class_that_the_seed_set_lacks_works():
    """Among them a class whose only image outside the test set is one of many, and one whose only image is tested."""
    told = set()
    for rare, seed in ((1, 0), (1, 3), (3, 0), (12, 1)):
        labels = np.concatenate([np.arange(300 - rare) % 3, np.full(rare, 3)])
        for shift in range(0, 300, 37):
            dataset = replace(make_dataset(), labels=np.roll(labels, shift))
            for size in (3, 20, 40):
                data = make_data(num_seed_labels=size)
                try:
                    make_split(dataset, data, seed)
                except InvalidInput:
                    said, remedies = said_of(dataset, data, seed)
                    if "no other size" in said:
                        continue
                    for remedy in remedies:
                        make_split(dataset, *follow(remedy, data, seed))
                        told.add(remedy.rsplit(" ", 1)[0])
    assert told == {"raise data.num_seed_labels to", "set", "take seed", "lower data.num_test to"}


def one_image(official=60):
    """The only image of the last class is a test image of the source's own."""
    labels = np.concatenate([np.arange(299) % 3, [3]])
    return replace(make_dataset(official=official), labels=labels)


def test_where_nothing_can_help_but_other_data_that_is_said_with_the_file():
    files = tuple(f"{label}/{index}.png" for index, label in enumerate(one_image().labels))
    dataset = replace(one_image(), files=files)
    said, _ = said_of(dataset, make_data())
    assert said.split("; ")[1] == (
        "no other size, stratification or seed of the next 30 helps, since of the images of class d, 1 (3/299.png), "
        "none is outside the test set: add some or leave that class out."
    )
    left_out = dataset.labels < 3
    rest = replace(
        dataset,
        images=dataset.images[left_out],
        labels=dataset.labels[left_out],
        class_names=dataset.class_names[:3],
        test_candidates=dataset.test_candidates[:-1],
        files=dataset.files[:-1],
    )
    make_split(rest, make_data(num_test=59), 0)
    added = replace(
        one_image(official=0),
        images=np.concatenate([dataset.images, dataset.images[:60]]),
        labels=np.concatenate([dataset.labels, np.full(60, 3)]),
        test_candidates=np.arange(360),
    )
    make_split(added, make_data(), 0)


def test_too_few_images_to_hold_any_out_is_said():
    with pytest.raises(InvalidInput, match="made must have more images than its 4 classes, got 4; add images"):
        make_split(make_dataset(num_images=4), make_data(num_test=1), 0)


def refusal(dataset, data, seed):
    with pytest.raises(InvalidInput) as caught:
        make_split(dataset, data, seed)
    return str(caught.value)


def test_sizes_that_are_advised_fit():
    dataset, data = make_dataset(), make_data(num_seed_labels=200)
    most = int(re.search(r"let their sum be at most (\d+)\.", refusal(dataset, data, 0))[1])
    make_split(dataset, replace(data, num_seed_labels=most - data.num_validation), 0)
    assert "at most" in refusal(dataset, replace(data, num_seed_labels=most - data.num_validation + 1), 0)
