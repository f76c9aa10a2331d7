"""What a pool of one's own fixes by itself."""

import numpy as np
import pytest

from rambo.data.dataset import Dataset
from rambo.data.pool import make_split
from rambo.errors import InvalidInput
from rambo.labelling.own_pool import (
    STRATEGY,
    Sources,
    check_classes,
    configuration,
    name_of,
    num_validation,
    validation_of,
    with_validation,
)
from rambo.preparation import prepare_with


def pool(num_labelled=60, num=100, classes=3):
    labels = np.full(num, -1)
    labels[:num_labelled] = np.arange(num_labelled) % classes
    images = np.random.default_rng(0).integers(0, 256, (num, 1, 8, 8), dtype=np.uint8)
    names = tuple(f"c{number}" for number in range(classes))
    return Dataset("own", images, labels, names, np.empty(0, dtype=np.int64))


def test_a_source_is_a_folder_unless_it_says_otherwise(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert Sources("images", ()).source == f"images:{tmp_path}/images"
    assert Sources("images:images", ()).source == f"images:{tmp_path}/images"
    assert Sources("npz:own.npz", ()).source == f"npz:{tmp_path}/own.npz"
    assert Sources("a:b", ()).source == f"images:{tmp_path}/a:b"


def test_validation_is_a_share_or_a_number():
    assert num_validation(pool(), 0.2) == 12
    assert num_validation(pool(), 7) == 7
    for wrong in (0.0, -1, 58, 1.5, 0.001):
        with pytest.raises(InvalidInput, match="--validation must be a share"):
            num_validation(pool(), wrong)


def test_what_is_labelled_and_no_validation_is_learned_from_and_all_else_is_the_pool():
    dataset = pool()
    config = configuration(dataset, None, {"acquisition.budget": 10}, 12)
    assert (config.strategy, config.classifier.name) == (STRATEGY, "smallnet")
    split = prepare_with(dataset, config).split
    assert len(split.test) == 0
    assert (len(split.validation), len(split.seed_set)) == (12, 48)
    assert np.array_equal(split.pool, np.arange(60, 100))
    assert np.array_equal(np.sort([*split.validation, *split.seed_set]), np.arange(60))
    assert np.bincount(dataset.labels[split.validation]).tolist() == [4, 4, 4], "it has the shares of the classes"


def test_validation_stays_where_labels_are_added():
    first = pool()
    config = configuration(first, None, {"acquisition.budget": 10}, 12)
    validation = make_split(first, config.data, 0).validation
    labels = first.labels.copy()
    labels[60:80] = np.arange(20) % 3
    more = with_validation(Dataset("own", first.images, labels, first.class_names, first.test_candidates), validation)
    later = make_split(more, configuration(more, None, {"acquisition.budget": 10}, 12).data, 0)
    assert np.array_equal(later.validation, validation)
    assert len(later.seed_set) == 68


def test_labels_that_come_later_leave_what_was_measured_with_the_same_labels():
    first = pool()
    labels = first.labels.copy()
    labels[60:80] = np.arange(20) % 3
    more = Dataset("own", first.images, labels, first.class_names, first.test_candidates)
    assert first.measured_as(0) == more.measured_as(0)
    assert first.fingerprint != more.fingerprint


def test_b_fits_the_budget_unless_it_is_given():
    dataset = pool()
    of = {
        name: configuration(dataset, None, {"acquisition.budget": 24, "strategy": name}, 12)
        for name in ("rambo", "dulo")
    }
    for config in of.values():
        prepare_with(dataset, config)
    assert 24 % of["rambo"].acquisition.batch_size == 0
    given = {"acquisition.budget": 24, "strategy": "rambo", "acquisition.batch_size": 6}
    assert configuration(dataset, None, given, 12).acquisition.batch_size == 6


def test_a_class_with_a_single_label_is_named():
    check_classes(pool())
    labels = pool().labels.copy()
    labels[labels == 2] = [2, *[1] * 19]
    single = Dataset("own", pool().images, labels, ("a", "b", "c"), np.empty(0, dtype=np.int64))
    with pytest.raises(
        InvalidInput, match=r"Each class must have at least 2 labels, got 1 of c; label more images of it"
    ):
        check_classes(single)


def test_images_are_found_by_file_or_by_place():
    assert validation_of(pool(), ["7", "3"]).tolist() == [7, 3]
    assert name_of(pool(), 7) == "7"
