"""Image features that never change: what the ground cost of OT is measured in (Definition 3), and what A.2's û reads.

Pixels for small grey images, embeddings where the data are such; for CIFAR-10 and SVHN the 512 penultimate activations
of a frozen ResNet-18. The latter depend on the images and the weights alone, so they are computed once for each data
set and kept.
"""

import io
import pickle
from collections.abc import Callable, Mapping
from http.client import HTTPException
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from rambo import fields
from rambo.arrays import Features, Images, Inputs
from rambo.data.dataset import Dataset
from rambo.data.source_images import one_line
from rambo.data.sources import impatient_downloads
from rambo.errors import InvalidInput, require
from rambo.formats import path_of
from rambo.home import Home
from rambo.randomness import torch_generator

Progress = Callable[[int, int], None]
State = dict[str, Tensor]

FEATURES_VERSION = 1
"""Raise by hand when `resnet18_features` changes what it computes; part of every kept file's name."""

NUM_FEATURES = 512
"""Width of ResNet-18's penultimate layer."""

SMALLEST_SIDE, LARGEST_SIDE = 64, 224
"""Range, in pixels, that the shorter side of an image is brought into before ResNet-18 sees it."""

_BATCH = 128
_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def plain_features(images: Inputs) -> Features:
    """(n, C·H·W) pixels of `images` (n, C, H, W) on the scale 0..1; embeddings (n, d) as they are."""
    if images.ndim == 2:
        return images
    return images.reshape(len(images), -1).astype(np.float32) / np.float32(255)


def l2_normalise(features: Features) -> Features:
    """Rows of (n, d) scaled to length 1; a row of zeros stays one.

    >>> l2_normalise(np.array([[0, 2], [0, 0]], dtype=np.float32)).tolist()
    [[0.0, 1.0], [0.0, 0.0]]
    """
    lengths: Features = np.linalg.norm(features, axis=1, keepdims=True)
    lengths[lengths == 0] = 1
    return np.divide(features, lengths)


def cached_features(
    dataset: Dataset,
    weights: str,
    device: torch.device | str,
    folder: Path,
    *,
    cache_dir: Path | None = None,
    on_progress: Progress = lambda done, total: None,
) -> Features:
    """`resnet18_features` of all N images, kept in `folder` under the data's fingerprint and `weights_id`.

    A file that is damaged or of the wrong shape is computed anew. Neither the data set's name nor the device is part of
    the file's name: what was computed first counts.
    """
    name = f"resnet18-v{FEATURES_VERSION}-{weights_id(weights)}-{dataset.fingerprint[:16]}.npy"
    home = Home(folder)
    kept = _read_features(home, name, len(dataset.images))
    if kept is not None:
        return kept
    home.check_writable(lasting=False)
    with home.in_turn(name):
        kept = _read_features(home, name, len(dataset.images))
        if kept is not None:
            return kept
        features = resnet18_features(dataset.images, weights, device, cache_dir, on_progress=on_progress)
        _write_features(home, name, features)
    return features


def resnet18_features(
    images: Images,
    weights: str,
    device: torch.device | str,
    cache_dir: Path | None = None,
    *,
    on_progress: Progress = lambda done, total: None,
) -> Features:
    """(n, 512) penultimate activations of a frozen ResNet-18 for `images` (n, C, H, W), C = 1 or 3.

    `weights` is imagenet (torchvision's IMAGENET1K_V1, downloaded into `cache_dir`, by default torch's hub folder),
    random, or the path of a state dict. A grey channel is repeated; images are resized (bilinear, aspect kept) only as
    far as their shorter side leaves 64..224 pixels: ResNet-18 halves five times, so 32 pixels would end as a single
    position, 64 end as 2x2 for a twelfth of the cost of 224. `on_progress` is told the images done and in all.
    """
    require(
        images.dtype == np.uint8 and images.ndim == 4 and images.shape[1] in (1, 3),
        f"Images for ResNet-18 must be uint8 (n, 1 or 3, H, W), got {images.dtype} of shape {images.shape}; "
        "use pixel features instead.",
    )
    network = _network(_load_state(weights, cache_dir)).to(device)
    features = np.empty((len(images), NUM_FEATURES), dtype=np.float32)
    for start in range(0, len(images), _BATCH):
        batch = torch.from_numpy(images[start : start + _BATCH])
        features[start : start + len(batch)] = _activations(network, batch.to(device))
        on_progress(start + len(batch), len(images))
    require(
        bool(np.isfinite(features).all()),
        f"utility_model.weights must give finite features, got NaN or infinity from {weights}; use another file.",
    )
    return features


def weights_id(weights: str) -> str:
    """`imagenet`, `random`, or 16 hex digits of SHA-256 over the bytes of the file, as in a configuration's id."""
    if weights not in ("imagenet", "random"):
        _weights_path(weights)
    return fields.weights_id(weights)


@torch.inference_mode()
def _activations(network: nn.Module, images: Tensor) -> Features:
    """(n, 512) for uint8 images (n, C, H, W) on the network's device."""
    # TF32 would give a GPU's features three digits; in float32 they agree with a CPU's to about six
    with torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
        activations: Features = network(_prepare(images)).cpu().numpy()
    return activations


def _prepare(images: Tensor) -> Tensor:
    """Float32 (n, 3, H', W') as ImageNet's networks expect them."""
    scaled = images.to(torch.float32).expand(-1, 3, -1, -1) / 255
    height, width = images.shape[2:]
    side = min(height, width)
    factor = min(max(side, SMALLEST_SIDE), LARGEST_SIDE) / side
    if factor != 1:
        size = [max(1, round(height * factor)), max(1, round(width * factor))]
        scaled = nn.functional.interpolate(scaled, size=size, mode="bilinear", antialias=factor < 1)
    mean, std = torch.tensor((_IMAGENET_MEAN, _IMAGENET_STD), dtype=torch.float32, device=images.device)
    normalised: Tensor = (scaled - mean.view(-1, 1, 1)) / std.view(-1, 1, 1)
    return normalised


def _network(state: Mapping[str, Tensor]) -> nn.Module:
    network = _empty_network()
    network.load_state_dict(state)
    return network.eval()


def _empty_network() -> nn.Module:
    """ResNet-18 without its last layer; weights are whatever the memory held."""
    from torchvision.models import resnet18

    with torch.device("meta"):  # torchvision initialises from the global generator; here that draws nothing
        network: nn.Module = resnet18(weights=None)
    network.fc = nn.Identity()
    return network.to_empty(device="cpu")


def _load_state(weights: str, cache_dir: Path | None) -> State:
    """A complete state for `_empty_network`."""
    expected = _empty_network().state_dict()
    if weights == "random":
        return _random_state(expected)
    path = _imagenet_path(cache_dir) if weights == "imagenet" else _weights_path(weights)
    return _fitting(_read_state(path), expected, path)


def _random_state(expected: Mapping[str, Tensor]) -> State:
    """The initialisation that torchvision uses (He et al., fan-out), each tensor from a generator of its own name."""
    state = {}
    for name, tensor in expected.items():
        if tensor.ndim == 4:
            fan_out = tensor.shape[0] * tensor.shape[2] * tensor.shape[3]
            normal = torch.randn(tensor.shape, generator=torch_generator(0, "resnet18", name))
            state[name] = normal * (2 / fan_out) ** 0.5
        else:
            fill = torch.ones_like if name.endswith(("weight", "running_var")) else torch.zeros_like
            state[name] = fill(tensor)
    return state


def _fitting(given: State, expected: Mapping[str, Tensor], path: Path) -> State:
    """`given` as a state of the network; raises `InvalidInput` where keys or shapes are not those of ResNet-18.

    The last layer is not used, whatever its classes. Batch counters are not either, and old files lack them.
    """
    counters = {name: torch.zeros_like(t) for name, t in expected.items() if name.endswith("num_batches_tracked")}
    used = {name: t for name, t in given.items() if not name.startswith("fc.") and name not in counters}
    needed = expected.keys() - counters.keys()
    wrong = [
        *(f"no {name}" for name in sorted(needed - used.keys())),
        *(f"an unknown {name}" for name in sorted(used.keys() - needed)),
        *(
            f"{name} of shape {tuple(used[name].shape)} for {tuple(expected[name].shape)}"
            for name in sorted(needed & used.keys())
            if used[name].shape != expected[name].shape
        ),
    ]
    more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
    require(
        not wrong,
        f"{path} must hold the state dict of torchvision's resnet18, got {', '.join(wrong[:3])}{more}; "
        "save model.state_dict() of that network.",
    )
    return used | counters


def _read_state(path: Path) -> State:
    """The tensors of a .safetensors, .pth or .pt file; nothing in the file is executed."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        if path.suffix == ".safetensors":
            state = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, ValueError, EOFError, KeyError, pickle.UnpicklingError, SafetensorError) as error:
        raise InvalidInput(
            f"{path} must be an undamaged file of weights, got {type(error).__name__}; save it again."
        ) from error
    require(
        isinstance(state, dict) and all(isinstance(tensor, Tensor) for tensor in state.values()),
        f"{path} must hold a state dict (names to tensors), got {_described(state)}; save model.state_dict().",
    )
    return dict(state)


def _described(content: object) -> str:
    return (
        f"a dict of {', '.join(map(str, list(content)[:3]))}" if isinstance(content, dict) else type(content).__name__
    )


def _weights_path(weights: str) -> Path:
    path = path_of(weights, "utility_model.weights")
    require(
        path.is_file() and path.suffix in (".safetensors", ".pth", ".pt"),
        f"utility_model.weights must be imagenet, random or the path of a .safetensors, .pth or .pt file, "
        f"got {weights!r}; check it.",
    )
    return path


def _imagenet_path(cache_dir: Path | None) -> Path:
    """The file of torchvision's ImageNet weights, downloaded where it is absent, checked against its published hash."""
    from torchvision.models import ResNet18_Weights

    url = str(ResNet18_Weights.IMAGENET1K_V1.url)
    folder = path_of(cache_dir, "--data-dir") if cache_dir else Path(str(torch.hub.get_dir()), "checkpoints")
    path = folder / url.rsplit("/", 1)[-1]
    digest = path.stem.rsplit("-", 1)[-1]  # published in the file's name
    if not path.exists():
        _download(url, path, digest)
    found = weights_id(str(path))
    require(
        found.startswith(digest),
        f"{path} must be the file published at {url}, got one whose SHA-256 starts with {found}; delete or replace it.",
    )
    return path


def _download(url: str, path: Path, digest: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with impatient_downloads():
            torch.hub.download_url_to_file(url, str(path), digest, progress=False)
    except (OSError, RuntimeError, HTTPException) as error:
        raise InvalidInput(
            f"utility_model.weights imagenet must be on disk or downloadable, got {one_line(error)}; put "
            f"{path.name} into {path.parent}, or give the path of a file or random."
        ) from error


def _read_features(home: Home, name: str, num_images: int) -> Features | None:
    """What is kept as `name`, or None where that is nothing usable."""
    try:
        features = np.load(io.BytesIO(home.read(name) or b""), allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    usable = isinstance(features, np.ndarray) and features.dtype == np.float32
    if not usable or features.shape != (num_images, NUM_FEATURES) or not np.isfinite(features).all():
        return None
    return np.asarray(features)


def _write_features(home: Home, name: str, features: Features) -> None:
    buffer = io.BytesIO()
    np.save(buffer, features)
    home.write(name, buffer.getvalue())
