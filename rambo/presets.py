"""Whole configurations by name; flags and files change single fields of them.

The `paper_*` presets hold B.7's values: k, b, n, B and the classifier of each data set.
"""

from collections.abc import Callable

from rambo.config import Config
from rambo.errors import require
from rambo.sections import (
    Acquisition,
    Classifier,
    Data,
    Evaluation,
    Offline,
    Pretraining,
    Training,
    UtilityModel,
)


def quickstart() -> Config:
    """Digits, 8x8 pixels, shipped with scikit-learn: the whole method in seconds a seed."""
    return Config(
        data=Data(source="digits", num_seed_labels=100, num_validation=300, num_test=300),
        classifier=Classifier(name="smallnet"),
        training=Training(learning_rate=3e-3, batch_size=32),
        offline=Offline(num_pairs=50),
        pretraining=Pretraining(num_pairs=20),
        acquisition=Acquisition(budget=100, batch_size=25, candidate_batches=10),
        evaluation=Evaluation(repeats=3),
    )


def paper_mnist() -> Config:
    """MNIST as in B.7: k = 200, B = 500, LeNet-5."""
    return _greyscale("mnist")


def paper_fashion_mnist() -> Config:
    """Fashion-MNIST as in B.7: k = 200, B = 500, LeNet-5."""
    return _greyscale("fashion_mnist")


def paper_cifar10() -> Config:
    """CIFAR-10 as in B.7: k = 2500, B = 5000, ResNet-18, frozen ImageNet features for û."""
    return _colour("cifar10")


def paper_svhn() -> Config:
    """SVHN as in B.7: k = 2500, B = 5000, ResNet-18, frozen ImageNet features for û."""
    return _colour("svhn")


def own_pool(image_shape: tuple[int, ...]) -> Config:
    """Where nothing is said of a pool of one's own: f for images of shape (C, H, W), or embeddings (d,)."""
    is_image = len(image_shape) > 1
    return Config(
        classifier=Classifier(name=("smallnet" if image_shape[-1] < 12 else "lenet5") if is_image else "linear"),
        utility_model=UtilityModel(extractor="conv" if is_image else "features"),
        offline=Offline(num_pairs=200),
        pretraining=Pretraining(num_pairs=30),
    )


def embeddings() -> Config:
    """Embeddings of your own (`--data.source npz:PATH`): logistic regression, û of embeddings; k = 200, B = 500."""
    return Config(
        data=Data(source="npz:embeddings.npz", num_seed_labels=200),
        classifier=Classifier(name="linear"),
        utility_model=UtilityModel(extractor="features"),
        acquisition=Acquisition(budget=500, batch_size=50),
    )


def _greyscale(source: str) -> Config:
    return Config(
        data=Data(source=source, num_seed_labels=200),
        classifier=Classifier(name="lenet5"),
        pretraining=Pretraining(num_pairs=50),
        acquisition=Acquisition(budget=500, batch_size=50),
    )


def _colour(source: str) -> Config:
    return Config(
        data=Data(source=source, num_seed_labels=2500),
        classifier=Classifier(name="resnet18"),
        pretraining=Pretraining(num_pairs=30),
        utility_model=UtilityModel(extractor="resnet18"),
        acquisition=Acquisition(budget=5000, batch_size=1000),
    )


PRESETS: dict[str, Callable[[], Config]] = {
    preset.__name__: preset
    for preset in (quickstart, paper_mnist, paper_fashion_mnist, paper_cifar10, paper_svhn, embeddings)
}


def preset(name: str) -> Config:
    """The configuration called `name`; raises `InvalidInput` with the names there are."""
    require(name in PRESETS, f"--preset must be one of {', '.join(PRESETS)}; got {name}.")
    return PRESETS[name]()
