"""Images as û and the OT distance see them: learned from pixels (A.1), or through a frozen ResNet-18 (A.2).

Embeddings are frozen features already. û reads them normalised as f does, since its step sizes suit numbers of about 1;
the ground cost takes them as they are, scaled to length 1 like a ResNet's.
"""

from pathlib import Path

import torch
from torch import Tensor

from rambo.arrays import Features, Indices
from rambo.data.dataset import Dataset, NormalisedImages
from rambo.data.features import cached_features, l2_normalise, plain_features, weights_id
from rambo.data.pool import Split
from rambo.sections import UtilityModel
from rambo.utility.ot_distance import OTProblem


class Representation:
    """The inputs of û and the features of the ground cost, of images named by dataset indices; it holds no label."""

    def __init__(
        self, dataset: Dataset, images: NormalisedImages, settings: UtilityModel, data_dir: Path, device: torch.device
    ) -> None:
        self._images, self._device = images, device
        self._frozen: Features | None = None
        self._feature_id = "pixels" if dataset.has_pictures else "embeddings"
        if settings.extractor == "resnet18":
            self._feature_id = f"resnet18-{weights_id(settings.weights)}"
            folder = data_dir / "features"
            self._frozen = cached_features(dataset, settings.weights, device, folder, cache_dir=data_dir)

    def inputs(self, indices: Indices) -> Tensor:
        """(m, C, H, W) normalised images, (m, d) normalised embeddings, or (m, 512) frozen features."""
        if self._frozen is None:
            return self._images(indices)
        return torch.from_numpy(self._frozen[indices]).to(self._device)

    @property
    def described(self) -> dict[str, object]:
        """What `inputs` makes of images, for whoever has nothing but û; JSON can hold it."""
        if self._frozen is not None:
            return {"features": self._feature_id}
        normalisation = self._images.normalisation
        return {"mean": list(normalisation.mean), "std": list(normalisation.std)}

    def ot_problem(self, split: Split, fingerprint: str, labelled: Indices | None = None) -> OTProblem:
        """The OT distances between S_val and subsets of `labelled` (S_0 unless given), whose labels are bought."""
        drawn_from = split.seed_set if labelled is None else labelled
        return OTProblem(
            fingerprint=fingerprint,
            feature_id=self._feature_id,
            seed_set=drawn_from,
            seed_labels=split.labels[drawn_from],
            seed_features=self._ground_features(drawn_from),
            validation=split.validation,
            validation_labels=split.labels[split.validation],
            validation_features=self._ground_features(split.validation),
        )

    def _ground_features(self, indices: Indices) -> Features:
        frozen = self._frozen
        raw = plain_features(self._images.images[indices]) if frozen is None else frozen[indices]
        return l2_normalise(raw)
