"""Frozen features: against torchvision's own network, from files the tests write, kept and found again."""

import hashlib
import shutil
import urllib.error
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torchvision.models import ResNet18_Weights, resnet18
from torchvision.transforms import v2

from rambo.data import features
from rambo.data.dataset import Dataset
from rambo.data.features import cached_features, l2_normalise, plain_features, resnet18_features, weights_id
from rambo.errors import InvalidInput

State = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def network() -> torch.nn.Module:
    """A torchvision ResNet-18 with batch statistics that are not the initial ones."""
    generator = torch.Generator().manual_seed(1)
    model = resnet18(weights=None)
    for name, tensor in model.state_dict().items():
        if name.endswith("running_mean"):
            tensor.copy_(torch.randn(tensor.shape, generator=generator) * 0.3)
        elif name.endswith("running_var"):
            tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
    return model.eval()


@pytest.fixture
def state(network: torch.nn.Module) -> State:
    return dict(network.state_dict())


@pytest.fixture
def write(tmp_path: Path) -> Callable[[object, str], str]:
    """Writes weights to a file with the given ending and returns its path as a configuration holds it."""

    def save(content: object, suffix: str = ".pth") -> str:
        path = tmp_path / f"weights{suffix}"
        if suffix == ".safetensors":
            save_file(content, path)  # type: ignore[arg-type]
        else:
            torch.save(content, path)
        return str(path)

    return save


def make_images(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, size=shape, dtype=np.uint8)


def make_dataset(num_images: int = 6) -> Dataset:
    images = make_images(num_images, 3, 32, 32)
    return Dataset("made", images, np.arange(num_images) % 2, ("a", "b"), np.arange(num_images))


# --- simple features -------------------------------------------------------------------------------------------------


def test_plain_features_are_rows_of_pixels_from_zero_to_one() -> None:
    images = make_images(4, 2, 3, 5)

    found = plain_features(images)

    assert found.dtype == np.float32
    np.testing.assert_allclose(found, images.reshape(4, 30) / 255, rtol=1e-6)


def test_normalised_rows_have_length_one_and_zeros_stay() -> None:
    rows = np.random.default_rng(0).normal(size=(5, 7)).astype(np.float32)
    rows[2] = 0

    found = l2_normalise(rows)

    assert found.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), [1, 1, 0, 1, 1], rtol=1e-6)
    np.testing.assert_allclose(found * np.linalg.norm(rows, axis=1, keepdims=True), rows, rtol=1e-5)


# --- ResNet-18 -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "size"),
    [((3, 32, 32), (64, 64)), ((1, 28, 28), (64, 64)), ((3, 40, 20), (128, 64)), ((3, 70, 80), (70, 80))],
)
def test_features_are_those_of_torchvisions_network(
    network: torch.nn.Module,
    state: State,
    write: Callable[..., str],
    shape: tuple[int, int, int],
    size: tuple[int, int],
) -> None:
    images = make_images(3, *shape)
    expected = penultimate(network, images, v2.Resize(list(size), antialias=False))

    found = resnet18_features(images, write(state), "cpu")

    assert found.shape == (3, 512)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)


def test_large_images_are_reduced_with_antialiasing(
    network: torch.nn.Module, state: State, write: Callable[..., str]
) -> None:
    images = make_images(1, 3, 448, 672)
    expected = penultimate(network, images, v2.Resize([224, 336], antialias=True))

    np.testing.assert_allclose(resnet18_features(images, write(state), "cpu"), expected, rtol=1e-3, atol=1e-4)


def penultimate(network: torch.nn.Module, images: np.ndarray, resize: v2.Transform) -> np.ndarray:
    """(n, 512) by torchvision's transforms and a hook on its network: another way to the same numbers."""
    seen: list[torch.Tensor] = []
    hook = network.avgpool.register_forward_hook(lambda module, inputs, output: seen.append(output))  # type: ignore[operator,union-attr]
    published = ResNet18_Weights.IMAGENET1K_V1.transforms()
    prepare = v2.Compose(
        [v2.ToDtype(torch.float32, scale=True), resize, v2.Normalize(list(published.mean), list(published.std))]
    )
    coloured = np.repeat(images, 3 // images.shape[1], axis=1)
    with torch.no_grad():
        network(prepare(torch.from_numpy(coloured)))
    hook.remove()
    found = seen[0].flatten(1).numpy()
    assert found.std() > 0.1  # a dead network would agree with any other dead one
    return found


def test_a_grey_image_equals_its_colour_copy(state: State, write: Callable[..., str]) -> None:
    grey, weights = make_images(2, 1, 28, 28), write(state)

    assert np.array_equal(
        resnet18_features(grey, weights, "cpu"), resnet18_features(np.repeat(grey, 3, axis=1), weights, "cpu")
    )


def test_random_weights_are_always_the_same_and_leave_global_randomness_alone() -> None:
    images = make_images(2, 3, 32, 32)
    torch.manual_seed(5)
    expected_next = torch.rand(3)
    torch.manual_seed(5)
    first = resnet18_features(images, "random", "cpu")
    next_global = torch.rand(3)
    torch.manual_seed(6)

    assert np.array_equal(first, resnet18_features(images, "random", torch.device("cpu")))
    assert torch.equal(next_global, expected_next)
    assert first.std() > 0.01
    assert not np.array_equal(first[0], first[1])


def test_random_weights_follow_torchvisions_initialisation() -> None:
    reference, found = resnet18(weights=None).state_dict(), features._load_state("random", None)

    for name, tensor in found.items():
        (scale, mean), (found_scale, found_mean) = moments(reference[name]), moments(tensor)
        assert found_scale == pytest.approx(scale, rel=0.1)
        assert abs(found_mean - mean) <= scale / 10


def moments(tensor: torch.Tensor) -> tuple[float, float]:
    return tensor.float().std(correction=0).item(), tensor.float().mean().item()


def test_batches_do_not_show_and_progress_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    images = make_images(5, 3, 32, 32)
    whole = resnet18_features(images, "random", "cpu")
    monkeypatch.setattr(features, "_BATCH", 2)
    told: list[tuple[int, int]] = []

    parts = resnet18_features(images, "random", "cpu", on_progress=lambda done, total: told.append((done, total)))

    np.testing.assert_allclose(parts, whole, rtol=1e-4, atol=1e-5)
    assert told == [(2, 5), (4, 5), (5, 5)]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_agrees_with_the_cpu() -> None:
    images = make_images(4, 3, 32, 32)

    np.testing.assert_allclose(
        resnet18_features(images, "random", "cuda"), resnet18_features(images, "random", "cpu"), rtol=1e-3, atol=1e-4
    )


@pytest.mark.parametrize("images", [make_images(2, 2, 8, 8), make_images(2, 8, 8), np.zeros((2, 3, 8, 8), np.float32)])
def test_images_of_another_form_are_refused(images: np.ndarray) -> None:
    with pytest.raises(InvalidInput, match=r"must be uint8 \(n, 1 or 3, H, W\), got .*; use pixel features"):
        # around the check of types, which would refuse floats first under test
        getattr(resnet18_features, "__wrapped__", resnet18_features)(images, "random", "cpu")


# --- files of weights ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".pt"])
def test_all_file_formats_give_the_same(state: State, write: Callable[..., str], suffix: str) -> None:
    images = make_images(2, 3, 32, 32)

    found = resnet18_features(images, write(state, suffix), "cpu")

    assert np.array_equal(found, resnet18_features(images, write(state), "cpu"))


@pytest.mark.parametrize(
    "drop", ["fc.", "num_batches_tracked"], ids=["no last layer", "no batch counters, as in old files"]
)
def test_keys_that_are_not_used_may_be_absent(state: State, write: Callable[..., str], drop: str) -> None:
    images = make_images(1, 3, 32, 32)
    fewer = {name: tensor for name, tensor in state.items() if drop not in name}

    assert np.array_equal(
        resnet18_features(images, write(fewer, ".pt"), "cpu"), resnet18_features(images, write(state), "cpu")
    )


def test_a_last_layer_of_other_classes_does_not_matter(state: State, write: Callable[..., str]) -> None:
    state["fc.weight"] = torch.zeros(7, 512)

    assert resnet18_features(make_images(1, 3, 32, 32), write(state), "cpu").shape == (1, 512)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda s: s.pop("conv1.weight"), r"resnet18, got no conv1\.weight; save model\.state_dict\(\)"),
        (lambda s: s.update(extra=torch.zeros(1)), r"got an unknown extra;"),
        (lambda s: s.update({"conv1.weight": torch.zeros(64, 1, 7, 7)}), r"conv1\.weight of shape \(64, 1, 7, 7\) for"),
        (lambda s: [s.pop(name) for name in list(s) if "layer4" in name], r"got no layer4.* and \d+ more;"),
        (lambda s: s.update(epoch=3), r"must hold a state dict \(names to tensors\), got a dict of conv1\.weight, "),
    ],
)
def test_a_state_of_another_network_is_one_sentence(
    state: State, write: Callable[..., str], spoil: Callable[[State], object], said: str
) -> None:
    spoil(state)

    with pytest.raises(InvalidInput, match=said):
        resnet18_features(make_images(1, 3, 32, 32), write(state), "cpu")


def test_a_file_that_holds_no_state_is_one_sentence(write: Callable[..., str]) -> None:
    with pytest.raises(InvalidInput, match=r"must hold a state dict \(names to tensors\), got Tensor;"):
        resnet18_features(make_images(1, 3, 32, 32), write(torch.zeros(3)), "cpu")


@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".pt"])
@pytest.mark.parametrize("content", [b"", b"not weights at all", None], ids=["empty", "text", "cut"])
def test_a_damaged_file_is_one_sentence(
    state: State, write: Callable[..., str], suffix: str, content: bytes | None
) -> None:
    path = Path(write(state, suffix))
    path.write_bytes(path.read_bytes()[:100_000] if content is None else content)

    with pytest.raises(InvalidInput, match=r"must be an undamaged file of weights, got \w+; save it again\."):
        resnet18_features(make_images(1, 3, 32, 32), str(path), "cpu")


class Trap:
    """Would create a file if it were unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (self.path,))


def test_code_in_a_file_is_not_executed(tmp_path: Path, write: Callable[..., str]) -> None:
    with pytest.raises(InvalidInput, match="must be an undamaged file of weights"):
        resnet18_features(make_images(1, 3, 32, 32), write({"conv1.weight": Trap(tmp_path / "sprung")}), "cpu")

    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("weights", ["imagnet", "none.pth", "", "."])
def test_weights_that_are_nothing_known_are_one_sentence(weights: str) -> None:
    for use in (weights_id, lambda weights: resnet18_features(make_images(1, 3, 32, 32), weights, "cpu")):
        with pytest.raises(InvalidInput, match=r"must be imagenet, random or the path of a .*, got ") as caught:
            use(weights)
        assert repr(weights) in str(caught.value)


def test_a_file_with_another_ending_is_refused(tmp_path: Path) -> None:
    (tmp_path / "weights.onnx").write_bytes(b"")

    with pytest.raises(InvalidInput, match=r"the path of a \.safetensors, \.pth or \.pt file, got"):
        weights_id(str(tmp_path / "weights.onnx"))


def test_weights_that_give_no_numbers_are_refused(state: State, write: Callable[..., str]) -> None:
    state["conv1.weight"] = torch.full_like(state["conv1.weight"], float("nan"))

    with pytest.raises(InvalidInput, match=r"utility_model\.weights must give finite features, got NaN or infinity"):
        resnet18_features(make_images(1, 3, 32, 32), write(state), "cpu")


def test_weights_id_names_bytes_not_paths(tmp_path: Path) -> None:
    for name, content in (("a.pth", b"one"), ("b.pt", b"one"), ("c.pth", b"two")):
        (tmp_path / name).write_bytes(content)
    ids = [weights_id(str(tmp_path / name)) for name in ("a.pth", "b.pt", "c.pth")]

    assert [weights_id("imagenet"), weights_id("random")] == ["imagenet", "random"]
    assert ids[0] == ids[1] == hashlib.sha256(b"one").hexdigest()[:16]
    assert ids[2] != ids[0]


# --- ImageNet weights ------------------------------------------------------------------------------------------------


@pytest.fixture
def published(state: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that torchvision's entry points to instead of the real one, which cannot be shipped with tests."""
    source = tmp_path / "published.pth"
    torch.save(state, source)
    digest = hashlib.sha256(source.read_bytes()).hexdigest()[:8]
    path = source.rename(tmp_path / f"resnet18-{digest}.pth")
    monkeypatch.setattr(ResNet18_Weights.IMAGENET1K_V1.value, "url", path.as_uri())
    return path


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setattr(torch.hub, "urlopen", refuse)


def test_imagenet_weights_are_downloaded_once(published: Path, tmp_path: Path, state: State) -> None:
    images, cache = make_images(1, 3, 32, 32), tmp_path / "cache"
    expected = resnet18_features(images, str(published), "cpu")

    first = resnet18_features(images, "imagenet", "cpu", cache)
    published.unlink()
    second = resnet18_features(images, "imagenet", "cpu", cache)

    assert np.array_equal(first, expected)
    assert np.array_equal(second, expected)
    assert [path.name for path in cache.iterdir()] == [published.name]


def test_without_a_folder_torchs_own_is_used(
    published: Path, tmp_path: Path, offline: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    folder = tmp_path / "torch" / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    shutil.copy(published, folder)

    assert resnet18_features(make_images(1, 3, 32, 32), "imagenet", "cpu").shape == (1, 512)


def test_absent_and_offline_says_what_to_put_where(tmp_path: Path, offline: None) -> None:
    with pytest.raises(InvalidInput) as caught:
        resnet18_features(make_images(1, 3, 32, 32), "imagenet", "cpu", tmp_path / "cache")

    assert str(caught.value) == (
        "utility_model.weights imagenet must be on disk or downloadable, got <urlopen error Name or service not known>;"
        f" put resnet18-f37072fd.pth into {tmp_path}/cache, or give the path of a file or random."
    )
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_file_that_is_not_the_published_one_is_refused(tmp_path: Path) -> None:
    (tmp_path / "resnet18-f37072fd.pth").write_bytes(b"something else")

    with pytest.raises(InvalidInput, match=r"must be the file published at https://.*, got one whose SHA-256 starts"):
        resnet18_features(make_images(1, 3, 32, 32), "imagenet", "cpu", tmp_path)


# --- kept features ---------------------------------------------------------------------------------------------------


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of images of each computation."""
    sizes: list[int] = []
    compute = resnet18_features

    def counting(images: np.ndarray, *args: object, **kwargs: object) -> np.ndarray:
        sizes.append(len(images))
        return compute(images, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(features, "resnet18_features", counting)
    return sizes


def test_a_second_request_computes_nothing(tmp_path: Path, computed: list[int]) -> None:
    dataset, told = make_dataset(), []

    first = cached_features(
        dataset, "random", "cpu", tmp_path / "kept", on_progress=lambda done, total: told.append((done, total))
    )
    second = cached_features(dataset, "random", "cpu", tmp_path / "kept")

    assert computed == [6]
    assert told == [(6, 6)]
    assert np.array_equal(first, second)
    assert np.array_equal(first, resnet18_features(dataset.images, "random", "cpu"))
    assert [path.name for path in (tmp_path / "kept").iterdir()] == [
        f"resnet18-v1-random-{dataset.fingerprint[:16]}.npy"
    ]


def test_other_data_and_other_weights_have_files_of_their_own(
    tmp_path: Path, state: State, write: Callable[..., str], computed: list[int]
) -> None:
    folder, weights = tmp_path / "kept", write(state)

    for dataset in (make_dataset(6), make_dataset(4)):
        for kind in ("random", weights):
            cached_features(dataset, kind, "cpu", folder)

    assert computed == [6, 6, 4, 4]
    assert len(list(folder.iterdir())) == 4


@pytest.mark.parametrize("damage", ["empty", "text", "cut", "shape", "dtype", "NaN", "pickle", "npz"])
def test_a_file_that_is_damaged_is_computed_anew(tmp_path: Path, computed: list[int], damage: str) -> None:
    dataset = make_dataset()
    expected = cached_features(dataset, "random", "cpu", tmp_path)
    (path,) = tmp_path.iterdir()
    content = path.read_bytes()
    if damage in ("empty", "text", "cut"):
        path.write_bytes({"empty": b"", "text": b"hello", "cut": content[:-7]}[damage])
    else:
        with path.open("wb") as file:
            spoil(damage, expected, file)

    again = cached_features(dataset, "random", "cpu", tmp_path)

    assert computed == [6, 6]
    assert np.array_equal(again, expected)
    assert path.read_bytes() == content


def spoil(damage: str, kept: np.ndarray, file: object) -> None:
    if damage == "npz":
        np.savez(file, kept)  # type: ignore[arg-type]
        return
    wrong = {
        "shape": kept[:5],
        "dtype": kept.astype(np.float64),
        "NaN": np.full_like(kept, np.nan),
        "pickle": kept.astype(object),
    }[damage]
    np.save(file, wrong, allow_pickle=True)  # type: ignore[call-overload]


def test_a_computation_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cached_features(make_dataset(), "random", "cpu", tmp_path, on_progress=stop)

    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_noticed_before_the_work(tmp_path: Path, computed: list[int]) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(InvalidInput, match=r"must be .*(writable|written), got"):
        cached_features(make_dataset(), "random", "cpu", tmp_path / "file")

    assert computed == []
