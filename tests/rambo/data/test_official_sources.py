"""The downloadable data sets, read from files in their published formats that the tests write themselves.

The official files are large, so small ones of the same format stand in for them. Torchvision compares CIFAR-10's and
SVHN's files (and every download) with the published MD5 sums, which no other file can have: the tests put the sums of
the small files into torchvision's tables, everything else of it runs as it is.
"""

import functools
import gzip
import hashlib
import http.server
import pickle
import re
import shutil
import socket
import struct
import tarfile
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from torchvision import datasets

from rambo.data import sources
from rambo.data.dataset import load_dataset
from rambo.errors import InvalidInput

OFFICIAL = ("mnist", "fashion_mnist", "cifar10", "svhn")
ABSENT = {
    "mnist": r"put train-images-idx3-ubyte.gz, train-labels-.*, t10k-images-.*, t10k-labels-.* into .*/MNIST/raw\.",
    "fashion_mnist": r"put train-images-idx3-ubyte.gz, .*, t10k-labels-idx1-ubyte.gz into .*/FashionMNIST/raw\.",
    "cifar10": r"put cifar-10-python.tar.gz into .*/data\.",
    "svhn": r"put train_32x32.mat, test_32x32.mat into .*/data\.",
}


@dataclass(frozen=True)
class Parts:
    """Training and test part as a test wants them back: images (n, C, H, W), labels (n,)."""

    train: tuple[np.ndarray, np.ndarray]
    test: tuple[np.ndarray, np.ndarray]

    @property
    def images(self) -> np.ndarray:
        return np.concatenate([self.train[0], self.test[0]])

    @property
    def labels(self) -> np.ndarray:
        return np.concatenate([self.train[1], self.test[1]])


def make_parts(channels: int, side: int) -> Parts:
    generator = np.random.default_rng(0)

    def part(size: int) -> tuple[np.ndarray, np.ndarray]:
        images = generator.integers(0, 256, size=(size, channels, side, side), dtype=np.uint8)
        return images, generator.permutation(size) % 10

    return Parts(part(20), part(10))


# --- writers of the published formats --------------------------------------------------------------------------------


def idx(values: np.ndarray) -> bytes:
    """The idx format: two zero bytes, type 8 (uint8), number of axes, big-endian axis lengths, values."""
    header = struct.pack(f">HBB{values.ndim}I", 0, 8, values.ndim, *values.shape)
    return header + values.astype(np.uint8).tobytes()


def write_idx(folder: Path, parts: Parts, *, packed: bool = False) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for prefix, (images, labels) in (("train", parts.train), ("t10k", parts.test)):
        for name, values in ((f"{prefix}-images-idx3-ubyte", images[:, 0]), (f"{prefix}-labels-idx1-ubyte", labels)):
            content = idx(values)
            path = folder / (f"{name}.gz" if packed else name)
            path.write_bytes(gzip.compress(content) if packed else content)


def write_cifar10(root: Path, parts: Parts) -> None:
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    fifths = [np.array_split(array, 5) for array in parts.train]
    batches = {f"data_batch_{i + 1}": (fifths[0][i], fifths[1][i]) for i in range(5)} | {"test_batch": parts.test}
    for name, (images, labels) in batches.items():
        batch = {"data": images.reshape(len(images), -1), "labels": labels.tolist()}
        (folder / name).write_bytes(pickle.dumps(batch))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": [f"name {i}" for i in range(10)]}))


def write_svhn(root: Path, parts: Parts) -> None:
    """MATLAB 5 files: X (H, W, C, n), y (n, 1) in 1..10, where 10 stands for the digit 0."""
    root.mkdir(parents=True, exist_ok=True)
    for prefix, (images, labels) in (("train", parts.train), ("test", parts.test)):
        y = np.where(labels == 0, 10, labels).astype(np.uint8)[:, None]
        scipy.io.savemat(root / f"{prefix}_32x32.mat", {"X": images.transpose(2, 3, 1, 0), "y": y})


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()


def accept_cifar10(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = root / "cifar-10-batches-py"
    for table in ("train_list", "test_list"):
        names = [name for name, _ in getattr(datasets.CIFAR10, table)]
        monkeypatch.setattr(datasets.CIFAR10, table, [[name, md5(folder / name)] for name in names])
    meta = datasets.CIFAR10.meta | {"md5": md5(folder / "batches.meta")}
    monkeypatch.setattr(datasets.CIFAR10, "meta", meta)


def accept_svhn(root: Path, monkeypatch: pytest.MonkeyPatch, url: str = "http://unused/") -> None:
    files = {part: f"{part}_32x32.mat" for part in ("train", "test")}
    table = {part: [url + name, name, md5(root / name)] for part, name in files.items()}
    monkeypatch.setattr(datasets.SVHN, "split_list", table)


def accept_idx(folder: Path, name: str, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    cls = {"mnist": datasets.MNIST, "fashion_mnist": datasets.FashionMNIST}[name]
    monkeypatch.setattr(cls, "resources", [(file, md5(folder / file)) for file, _ in cls.resources])
    monkeypatch.setattr(cls, "mirrors", [url])


def write(name: str, root: Path, monkeypatch: pytest.MonkeyPatch) -> Parts:
    """Files of the data set `name` under `root`, and their sums in torchvision's tables."""
    if name == "cifar10":
        parts = make_parts(3, 32)
        write_cifar10(root, parts)
        accept_cifar10(root, monkeypatch)
    elif name == "svhn":
        parts = make_parts(3, 32)
        write_svhn(root, parts)
        accept_svhn(root, monkeypatch)
    else:
        parts = make_parts(1, 28)
        write_idx(root / {"mnist": "MNIST", "fashion_mnist": "FashionMNIST"}[name] / "raw", parts)
    return parts


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """No network; the list grows by every address asked for."""
    asked: list[str] = []

    def refuse(request: urllib.request.Request, *args: object, **kwargs: object) -> None:
        asked.append(request.full_url)
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    return asked


# --- reading what is there -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", OFFICIAL)
def test_images_and_labels_come_back_exactly(
    name: str, data_dir: Path, offline: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = write(name, data_dir, monkeypatch)

    dataset = load_dataset(name, data_dir)

    assert np.array_equal(dataset.images, parts.images)
    assert np.array_equal(dataset.labels, parts.labels)
    assert dataset.images.flags.c_contiguous
    assert dataset.test_candidates.tolist() == list(range(20, 30))
    assert (dataset.name, dataset.num_classes) == (name, 10)
    assert offline == []


def test_svhn_calls_the_digit_zero_class_zero(
    data_dir: Path, offline: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write("svhn", data_dir, monkeypatch)
    on_disk = scipy.io.loadmat(data_dir / "train_32x32.mat")["y"].ravel()

    dataset = load_dataset("svhn", data_dir)

    assert sorted(set(on_disk.tolist())) == list(range(1, 11))
    assert np.array_equal(dataset.labels[:20] == 0, on_disk == 10)
    assert dataset.class_names[0] == "0"


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_packed_idx_files_put_by_hand_are_enough(
    name: str, data_dir: Path, offline: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = make_parts(1, 28)
    folder = data_dir / {"mnist": "MNIST", "fashion_mnist": "FashionMNIST"}[name] / "raw"
    write_idx(folder, parts, packed=True)
    accept_idx(folder, name, monkeypatch, "http://unused/")

    assert np.array_equal(load_dataset(name, data_dir).images, parts.images)
    assert offline == []


def test_a_packed_cifar10_put_by_hand_is_enough(
    data_dir: Path, tmp_path: Path, offline: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = pack_cifar10(tmp_path / "source", data_dir, monkeypatch)

    assert np.array_equal(load_dataset("cifar10", data_dir).labels, parts.labels)
    assert offline == []


def test_class_names_are_the_published_ones(
    data_dir: Path, offline: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write("fashion_mnist", data_dir, monkeypatch)
    write("cifar10", data_dir, monkeypatch)

    assert list(load_dataset("fashion_mnist", data_dir).class_names) == datasets.FashionMNIST.classes
    assert load_dataset("cifar10", data_dir).class_names[::9] == ("airplane", "truck")


def pack_cifar10(source: Path, target: Path, monkeypatch: pytest.MonkeyPatch) -> Parts:
    """The archive that is published, in `target`."""
    parts = write("cifar10", source, monkeypatch)
    target.mkdir(parents=True, exist_ok=True)
    archive = target / "cifar-10-python.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(source / "cifar-10-batches-py", "cifar-10-batches-py")
    monkeypatch.setattr(datasets.CIFAR10, "tgz_md5", md5(archive))
    return parts


# --- downloading -----------------------------------------------------------------------------------------------------


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, Path]]:
    """The address of a local HTTP server, and the folder it serves."""
    folder = tmp_path / "served"
    folder.mkdir()
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(http.server.SimpleHTTPRequestHandler, "log_message", lambda *args: None)
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}/", folder
        running.shutdown()


def serve(name: str, server: tuple[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Parts:
    url, folder = server
    if name == "cifar10":
        parts = pack_cifar10(tmp_path / "source", folder, monkeypatch)
        monkeypatch.setattr(datasets.CIFAR10, "url", f"{url}cifar-10-python.tar.gz")
    elif name == "svhn":
        parts = make_parts(3, 32)
        write_svhn(folder, parts)
        accept_svhn(folder, monkeypatch, url)
    else:
        parts = make_parts(1, 28)
        write_idx(folder, parts, packed=True)
        accept_idx(folder, name, monkeypatch, url)
    return parts


@pytest.mark.parametrize("name", OFFICIAL)
def test_first_use_downloads_and_the_second_does_not(
    name: str, server: tuple[str, Path], data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = serve(name, server, tmp_path, monkeypatch)

    first = load_dataset(name, data_dir)
    shutil.rmtree(server[1])
    second = load_dataset(name, data_dir)

    assert np.array_equal(first.images, parts.images)
    assert first.fingerprint == second.fingerprint


def test_a_broken_download_says_what_to_replace(
    server: tuple[str, Path], data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve("cifar10", server, tmp_path, monkeypatch)
    archive = server[1] / "cifar-10-python.tar.gz"
    archive.write_bytes(archive.read_bytes()[:-100])

    with pytest.raises(
        InvalidInput, match=r"must be the undamaged official ones, got damaged ones .*; delete cifar-10-python.tar.gz"
    ):
        load_dataset("cifar10", data_dir)


@pytest.mark.parametrize("name", OFFICIAL)
def test_absent_and_offline_names_the_files_and_their_place(name: str, data_dir: Path, offline: list[str]) -> None:
    with pytest.raises(InvalidInput, match=ABSENT[name]) as caught:
        load_dataset(name, data_dir)

    assert f"{name} must be on disk or downloadable, got <urlopen error Name or service not known>;" in str(
        caught.value
    )
    assert "\n" not in str(caught.value)
    assert 1 <= len(offline) <= 4  # the mirrors of the first file at most, by https and by http; no second round


def test_a_silent_server_is_given_up(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "DOWNLOAD_TIMEOUT_SECONDS", 0.2)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setattr(datasets.CIFAR10, "url", f"http://127.0.0.1:{silent.getsockname()[1]}/")
        with pytest.raises(InvalidInput, match=r"got .*timed out; put cifar-10-python.tar.gz into"):
            load_dataset("cifar10", data_dir)

    assert socket.getdefaulttimeout() is None


def test_a_data_dir_that_is_a_file_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")

    with pytest.raises(InvalidInput, match=r"mnist must be on disk or downloadable, got .*(exists|Not a directory)"):
        load_dataset("mnist", tmp_path / "data")


# --- damaged files ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("mnist", "MNIST/raw/train-images-idx3-ubyte"),
        ("fashion_mnist", "FashionMNIST/raw/t10k-labels-idx1-ubyte"),
        ("cifar10", "cifar-10-batches-py/data_batch_3"),
        ("cifar10", "cifar-10-batches-py/batches.meta"),
        ("svhn", "test_32x32.mat"),
    ],
)
@pytest.mark.parametrize("damage", ["cut", "empty", "noise"])
def test_a_damaged_file_is_one_sentence(
    name: str, file: str, damage: str, data_dir: Path, offline: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write(name, data_dir, monkeypatch)
    content = (data_dir / file).read_bytes()
    (data_dir / file).write_bytes({"cut": content[:-5], "empty": b"", "noise": b"\x07" * 3000}[damage])

    with pytest.raises(InvalidInput, match=f"The files of {name} in .* must be the undamaged official ones") as caught:
        load_dataset(name, data_dir)

    assert re.search(r"; delete .* and run again to download them, or replace them\.$", str(caught.value))
    assert "\n" not in str(caught.value)


def test_labels_that_do_not_belong_to_the_images_are_noticed(data_dir: Path) -> None:
    parts = make_parts(1, 28)
    write_idx(data_dir / "MNIST/raw", parts)
    (data_dir / "MNIST/raw/train-labels-idx1-ubyte").write_bytes(idx(parts.train[1][:-1]))

    with pytest.raises(InvalidInput, match=r"got damaged ones \(20 images with 19 labels\); delete"):
        load_dataset("mnist", data_dir)


def test_a_label_beyond_nine_is_noticed(data_dir: Path) -> None:
    parts = make_parts(1, 28)
    write_idx(data_dir / "MNIST/raw", Parts((parts.train[0], parts.train[1] + 1), parts.test))

    with pytest.raises(
        InvalidInput, match=r"Labels of mnist must hold each of its 10 classes, 0\.\.9, got \[0, .*10\]"
    ):
        load_dataset("mnist", data_dir)
