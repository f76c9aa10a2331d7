"""Images as û and the OT distance see them: learned from pixels (A.1), or through a frozen ResNet-18 (A.2)."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rambo.acquisition import Floats
from rambo.config import UtilityModel
from rambo.data import Dataset
from rambo.features import cached_features, l2_normalise, pixel_features, weights_id
from rambo.ot_distance import OTProblem
from rambo.pool import Indices, Split
from rambo.preparation import Prepared
from rambo.training import Problem, single_thread
from rambo.utility_model import SetUtilityModel

LoadInputs = Callable[[Indices], Tensor]


class Representation:
    """The inputs of û and the features of the ground cost, of images named by dataset indices."""

    def __init__(
        self, dataset: Dataset, problem: Problem, settings: UtilityModel, data_dir: Path, device: torch.device
    ) -> None:
        self._dataset, self._problem, self._device = dataset, problem, device
        self._frozen: NDArray[np.float32] | None = None
        self.feature_id = "pixels"
        if settings.extractor == "resnet18":
            self.feature_id = f"resnet18-{weights_id(settings.weights)}"
            folder = data_dir / "features"
            self._frozen = cached_features(dataset, settings.weights, device, folder, cache_dir=data_dir)

    def inputs(self, indices: Indices) -> Tensor:
        """(m, C, H, W) normalised images, or (m, 512) frozen features."""
        if self._frozen is None:
            return self._problem.tensor(indices, self._device)
        return torch.from_numpy(self._frozen[indices]).to(self._device)

    def ot_problem(self, split: Split) -> OTProblem:
        """The OT distances between subsets of S_0 and S_val."""
        return OTProblem(
            fingerprint=self._dataset.fingerprint,
            feature_id=self.feature_id,
            seed_set=split.seed_set,
            seed_labels=split.labels[split.seed_set],
            seed_features=self._ground_features(split.seed_set),
            validation=split.validation,
            validation_labels=split.labels[split.validation],
            validation_features=self._ground_features(split.validation),
        )

    def _ground_features(self, indices: Indices) -> NDArray[np.float32]:
        frozen = self._frozen
        raw = pixel_features(self._dataset.images[indices]) if frozen is None else frozen[indices]
        return l2_normalise(raw)


def planned_distances(
    prepared: Prepared, data_dir: Path, device: torch.device
) -> list[tuple[OTProblem, NDArray[np.bool_]]]:
    """The OT distances that an experiment will ask for, as rows of members; none where the component is off."""
    if prepared.plan is None or not prepared.config.uses_ot:
        return []
    problem, settings = prepared.problem(prepared.pool), prepared.config.utility_model
    seen = Representation(prepared.dataset, problem, settings, data_dir, device)
    return [(seen.ot_problem(prepared.split), prepared.plan.all_pairs())]


class ImageScorer:
    """û over dataset indices, as acquisition asks for it."""

    def __init__(self, model: SetUtilityModel, load_inputs: LoadInputs) -> None:
        self._model, self._load = model, load_inputs

    def image_features(self, indices: Indices) -> Floats:
        """(n, d) features φ."""
        chunks = [indices[start : start + 1000] for start in range(0, len(indices), 1000)]
        with single_thread():
            parts = [self._model.image_features(self._load(chunk)).cpu() for chunk in chunks]
        features: Floats = torch.cat(parts).numpy()
        return features

    def score_pooled(self, pooled: Floats) -> Floats:
        """(s,) scores of sets whose mean features are `pooled` (s, d)."""
        device = next(self._model.parameters()).device
        with single_thread():
            scores: Floats = self._model.score_pooled(torch.from_numpy(pooled).to(device)).cpu().numpy()
        return scores
