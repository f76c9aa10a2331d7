"""What a data set fixes by itself: identity, test images, normalisation; and the scenarios of §5.5."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rambo.data import dataset as data
from rambo.data import embeddings
from rambo.data.dataset import (
    Dataset,
    Normalisation,
    flip_labels,
    load_dataset,
    normalisation,
    random_classes,
    thin_classes,
)
from rambo.errors import InvalidInput

UNHURRIED = settings(deadline=None)
"""No time limit for a single example: other work on the machine may slow any of them down."""


def make_dataset(
    num_images: int = 60, num_classes: int = 3, *, num_official_test: int = 0, channels: int = 2
) -> Dataset:
    generator = np.random.default_rng(0)
    first = num_images - num_official_test if num_official_test else 0
    return Dataset(
        name="made",
        images=generator.integers(0, 256, size=(num_images, channels, 4, 5), dtype=np.uint8),
        labels=np.arange(num_images) % num_classes,
        class_names=tuple(f"class {label}" for label in range(num_classes)),
        test_candidates=np.arange(first, num_images),
    )


def changed(values: np.ndarray, index: tuple[int, ...] | int, value: int) -> np.ndarray:
    copy = values.copy()
    copy[index] = value
    return copy


# --- Dataset ---------------------------------------------------------------------------------------------------------


def test_importing_data_imports_no_slow_library() -> None:
    slow = ("torch", "torchvision", "sklearn", "scipy", "PIL")
    program = f"import sys, rambo.data.dataset; print([name for name in {slow} if name in sys.modules])"

    assert subprocess.check_output([sys.executable, "-c", program], text=True).strip() == "[]"


def test_images_are_made_contiguous() -> None:
    made = make_dataset()
    turned = replace(made, images=np.asfortranarray(made.images))

    assert turned.images.flags.c_contiguous
    assert turned.fingerprint == made.fingerprint


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"images": np.zeros((60, 4, 5), np.uint8)}, r"must be uint8 \(N, C, H, W\), .* uint8 of shape \(60, 4, 5\)"),
        ({"labels": np.arange(59) % 3}, r"must be one an image, 60, got shape \(59,\)"),
        ({"class_names": ("only",), "labels": np.zeros(60, int)}, "must have at least 2 classes, got 1;"),
        ({"labels": np.arange(60) % 2}, r"must hold each of its 3 classes, 0\.\.2, got \[0, 1\]"),
        ({"labels": np.arange(60) % 3 - 1}, r"got \[0, 1\]"),
        ({"labels": np.arange(60) % 4}, r"got \[0, 1, 2, 3\]"),
    ],
)
def test_a_data_set_that_contradicts_itself_is_refused(change: dict[str, object], said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        replace(make_dataset(), **change)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("My Data (v2)", "my-data-v2"),
        ("../../etc", "etc"),
        ("ÄÖ", "data"),
        ("a_b.c", "a_b.c"),
        ("x" * 99, "x" * 40),
        (".hidden", "hidden"),
    ],
)
def test_names_are_safe_as_folders(tmp_path: Path, name: str, expected: str) -> None:
    assert data._folder_name(name) == expected


# --- fingerprint -----------------------------------------------------------------------------------------------------


def test_fingerprint_is_sha256_in_hex_and_part_of_the_slug() -> None:
    made = make_dataset()

    assert len(made.fingerprint) == 64
    assert int(made.fingerprint, 16) >= 0
    assert made.slug == f"made-{made.fingerprint[:12]}"


@pytest.mark.parametrize(
    "change",
    [
        {"images": changed(make_dataset().images, (59, 1, 3, 4), make_dataset().images[59, 1, 3, 4] ^ 1)},
        {"images": make_dataset().images.reshape(60, 2, 5, 4)},
        {"labels": changed(make_dataset().labels, 0, 1)},
        {"class_names": ("a", "b", "c", "d"), "labels": changed(make_dataset().labels, 0, 3)},
        {"test_candidates": np.arange(1, 60)},
    ],
    ids=["one pixel", "shape", "one label", "classes", "test candidates"],
)
def test_fingerprint_tells_data_apart(change: dict[str, object]) -> None:
    made = make_dataset()

    assert replace(made, **change).fingerprint != made.fingerprint


def test_fingerprint_ignores_names() -> None:
    made = make_dataset()

    assert replace(made, name="other", class_names=("a", "b", "c")).fingerprint == made.fingerprint


def test_fingerprint_and_test_images_are_the_same_in_another_process(tmp_path: Path) -> None:
    made = make_dataset(channels=3)
    np.savez(tmp_path / "made.npz", x=made.images, y=made.labels)
    source = f"npz:{tmp_path}/made.npz"
    program = (
        "from pathlib import Path; from rambo.data.dataset import load_dataset, test_indices;"
        f"found = load_dataset({source!r}, Path('unused')); print(found.fingerprint, test_indices(found, 20).tolist())"
    )

    there = subprocess.check_output([sys.executable, "-c", program], text=True)

    here = load_dataset(source, Path("unused"))
    assert there.strip() == f"{here.fingerprint} {data.test_indices(here, 20).tolist()}"


# --- test images -----------------------------------------------------------------------------------------------------


@given(num_test=st.integers(1, 57), official=st.sampled_from([0, 57, 59]))
@UNHURRIED
def test_test_images_are_sorted_different_candidates(num_test: int, official: int) -> None:
    made = make_dataset(num_official_test=official)

    chosen = data.test_indices(made, num_test)

    assert chosen.dtype == np.int64
    assert len(chosen) == num_test
    assert (np.diff(chosen) > 0).all()
    assert np.isin(chosen, made.test_candidates).all()
    assert np.array_equal(chosen, data.test_indices(replace(made), num_test))


@given(sizes=st.tuples(st.integers(1, 57), st.integers(1, 57)).map(sorted))
@UNHURRIED
def test_a_larger_test_set_holds_the_smaller(sizes: list[int]) -> None:
    small, large = (data.test_indices(make_dataset(), size) for size in sizes)

    assert np.isin(small, large).all()


def test_test_images_depend_on_the_data() -> None:
    made = make_dataset()
    other = replace(made, images=255 - made.images)

    assert not np.array_equal(data.test_indices(made, 20), data.test_indices(other, 20))


@pytest.mark.parametrize(("official", "num_test", "most"), [(0, 58, 57), (0, 0, 57), (10, 11, 10), (10, -1, 10)])
def test_a_test_set_that_leaves_too_few_is_refused(official: int, num_test: int, most: int) -> None:
    with pytest.raises(InvalidInput, match=rf"data.num_test must lie in 1\.\.{most} for made .*, got {num_test};"):
        data.test_indices(make_dataset(num_official_test=official), num_test)


# --- normalisation ---------------------------------------------------------------------------------------------------


@given(chunk_values=st.sampled_from([1, 100, 2**22]), num_test=st.integers(1, 57))
@UNHURRIED
def test_moments_are_exact_over_all_but_the_test_images(chunk_values: int, num_test: int) -> None:
    made = make_dataset()
    test = data.test_indices(made, num_test)
    rest = np.delete(made.images, test, axis=0).astype(np.float64) / 255
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(embeddings, "CHUNK_VALUES", chunk_values)
        found = normalisation(made, test)

    np.testing.assert_allclose(found.mean, rest.mean(axis=(0, 2, 3)), rtol=1e-7)
    np.testing.assert_allclose(found.std, rest.std(axis=(0, 2, 3)), rtol=1e-7)
    assert all(value == np.float32(value) for value in found.mean + found.std)


def test_test_images_do_not_enter_the_moments() -> None:
    made = make_dataset()
    test = data.test_indices(made, 20)

    assert normalisation(replace(made, images=changed(made.images, test, 0)), test) == normalisation(made, test)


def test_a_constant_channel_counts_as_deviating_by_one() -> None:
    made = make_dataset()
    flat = replace(made, images=changed(made.images, np.s_[:, 1], 51))

    found = normalisation(flat, np.array([0]))

    assert (found.mean[1], found.std[1]) == (float(np.float32(0.2)), 1.0)
    assert found.apply(torch.from_numpy(flat.images))[:, 1].abs().max() < 1e-6


def test_sums_beyond_64_bits_stay_exact() -> None:
    counts = np.zeros(256, dtype=np.int64)
    counts[[100, 101]] = 10**15  # squares sum to 2e19, their product with the number to 4e34

    mean, std = data._mean_and_std(counts)

    assert (mean, std) == (float(np.float32(100.5 / 255)), float(np.float32(0.5 / 255)))


def test_apply_is_the_formula_in_float32() -> None:
    made = make_dataset()
    images = torch.from_numpy(made.images)
    found = Normalisation(mean=(0.5, 0.25), std=(0.5, 2.0))

    applied = found.apply(images)

    expected = (made.images / 255 - np.array([0.5, 0.25])[:, None, None]) / np.array([0.5, 2.0])[:, None, None]
    assert applied.dtype == torch.float32
    np.testing.assert_allclose(applied.numpy(), expected, atol=1e-6)
    assert images.dtype == torch.uint8


def test_applied_to_what_it_was_measured_on_it_gives_zero_and_one() -> None:
    made = make_dataset(num_official_test=1)
    applied = normalisation(made, np.array([59])).apply(torch.from_numpy(made.images[:59]))

    assert applied.mean(dim=(0, 2, 3)).abs().max() < 1e-6
    assert (applied.std(dim=(0, 2, 3), correction=0) - 1).abs().max() < 1e-6


@pytest.mark.parametrize(
    "images",
    [torch.zeros(1, 2, 4, 5), torch.zeros(1, 3, 4, 5, dtype=torch.uint8), torch.zeros(2, 4, 5, dtype=torch.uint8)],
)
def test_apply_refuses_images_of_another_form(images: torch.Tensor) -> None:
    with pytest.raises(InvalidInput, match=r"must be uint8 \(n, 2, H, W\), or embeddings float32 \(n, 2\), got"):
        Normalisation(mean=(0.5, 0.25), std=(0.5, 2.0)).apply(images)


def test_normalisation_needs_images() -> None:
    with pytest.raises(InvalidInput, match=r"must have images outside the test set, got none; lower data\.num_test"):
        normalisation(make_dataset(), np.arange(60))


# --- scenarios -------------------------------------------------------------------------------------------------------

SHARES = st.floats(0, 1) | st.sampled_from([0.0, 0.2, 0.3, 1.0])
SCENES = st.tuples(st.integers(2, 6), st.integers(0, 40), st.integers(0, 2**32 - 1))
"""Number of classes, of candidates, and a seed."""


def scene(classes: int, size: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels (50,) and `size` different candidates among them, in no order."""
    generator = np.random.default_rng(seed)
    return generator.integers(0, classes, size=50), generator.permutation(50)[:size]


@given(SCENES, SHARES)
@UNHURRIED
def test_flips_hit_the_right_number_of_candidates_and_always_change_the_class(
    made: tuple[int, int, int], fraction: float
) -> None:
    labels, candidates = scene(*made)
    before = labels.copy()

    flipped = flip_labels(labels, candidates, fraction, made[0], np.random.default_rng(made[2]))

    touched = np.flatnonzero(flipped != labels)
    assert len(touched) == round(fraction * len(candidates))
    assert np.isin(touched, candidates).all()
    assert ((flipped >= 0) & (flipped < made[0])).all()
    assert np.array_equal(labels, before)


@given(SCENES, st.tuples(SHARES, SHARES).map(sorted))
@UNHURRIED
def test_a_larger_noise_flips_what_a_smaller_flips(made: tuple[int, int, int], fractions: list[float]) -> None:
    labels, candidates = scene(*made)
    few, many = (
        flip_labels(labels, candidates, fraction, made[0], np.random.default_rng(made[2])) for fraction in fractions
    )

    assert np.array_equal(many[few != labels], few[few != labels])


def test_flipped_labels_are_uniform_over_the_other_classes() -> None:
    labels = np.full(30_000, 2)

    flipped = flip_labels(labels, np.arange(30_000), 1.0, 4, np.random.default_rng(0))

    counts = np.bincount(flipped, minlength=4)
    assert counts[2] == 0
    assert np.abs(counts[[0, 1, 3]] - 10_000).max() < 500  # six standard deviations


@given(SCENES, st.tuples(SHARES, SHARES).map(sorted))
@UNHURRIED
def test_flips_of_some_classes_are_as_many_and_as_they_are_among_all(
    made: tuple[int, int, int], shares: list[float]
) -> None:
    labels, candidates = scene(*made)
    few, many = (random_classes(made[0], share, np.random.default_rng(7)) for share in shares)
    assert set(few) <= set(many)
    assert len(many) == round(shares[1] * made[0])
    fraction = np.isin(labels[candidates], few).mean() if len(candidates) else 0.0
    noisy, everywhere = (
        flip_labels(labels, candidates, fraction, made[0], np.random.default_rng(made[2]), classes=classes)
        for classes in (few, None)
    )

    wrong = noisy != labels
    assert wrong.sum() == round(fraction * len(candidates))
    assert np.isin(labels[wrong], few).all()
    both = wrong & (everywhere != labels)
    assert np.array_equal(noisy[both], everywhere[both])


def test_more_wrong_labels_than_the_classes_hold_are_refused() -> None:
    labels = np.arange(40) % 4
    with pytest.raises(InvalidInput, match=r"it falls on have, 10 of 40, got 0\.3; lower it or raise"):
        flip_labels(labels, np.arange(40), 0.3, 4, np.random.default_rng(0), classes=np.array([2]))


@given(SCENES, SHARES, SHARES)
@UNHURRIED
def test_thinning_removes_the_right_number_from_the_right_number_of_classes(
    made: tuple[int, int, int], class_share: float, fraction: float
) -> None:
    labels, candidates = scene(*made)

    kept = thin_classes(labels, candidates, made[0], class_share, fraction, np.random.default_rng(made[2]))

    before = np.bincount(labels[candidates], minlength=made[0])
    lost = before - np.bincount(labels[kept], minlength=made[0])
    expected = np.array([round(fraction * count) for count in before.tolist()])
    assert ((lost == 0) | (lost == expected)).all()
    assert (lost > 0).sum() <= round(class_share * made[0])
    assert (lost[expected > 0] > 0).sum() >= round(class_share * made[0]) - (expected == 0).sum()
    assert kept.tolist() == [index for index in candidates.tolist() if index in set(kept.tolist())]


@given(SCENES, st.tuples(SHARES, SHARES).map(sorted), st.tuples(SHARES, SHARES).map(sorted))
@UNHURRIED
def test_a_stronger_imbalance_removes_what_a_weaker_removes(
    made: tuple[int, int, int], class_shares: list[float], fractions: list[float]
) -> None:
    labels, candidates = scene(*made)
    many, few = (
        thin_classes(labels, candidates, made[0], class_share, fraction, np.random.default_rng(made[2]))
        for class_share, fraction in zip(class_shares, fractions, strict=True)
    )

    assert np.isin(few, many).all()


def test_every_class_can_be_thinned() -> None:
    labels = np.arange(100) % 10
    hit = {
        label
        for seed in range(40)
        for label in set(range(10))
        - set(labels[thin_classes(labels, np.arange(100), 10, 0.3, 1.0, np.random.default_rng(seed))].tolist())
    }

    assert hit == set(range(10))


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_shares_outside_zero_to_one_are_refused(share: float) -> None:
    labels, candidates, generator = np.arange(4) % 2, np.arange(4), np.random.default_rng(0)

    with pytest.raises(InvalidInput, match=r"data.label_noise must lie in \[0, 1\], got"):
        flip_labels(labels, candidates, share, 2, generator)
    with pytest.raises(InvalidInput, match=r"data.imbalance_classes must lie in \[0, 1\], got"):
        thin_classes(labels, candidates, 2, share, 0.5, generator)
    with pytest.raises(InvalidInput, match=r"data.imbalance_fraction must lie in \[0, 1\], got"):
        thin_classes(labels, candidates, 2, 0.5, share, generator)


def test_repeated_candidates_are_refused() -> None:
    with pytest.raises(InvalidInput, match="must differ from each other, got 1 repeated;"):
        flip_labels(np.arange(4) % 2, np.array([0, 1, 1]), 0.5, 2, np.random.default_rng(0))
