"""An experiment before its first training: splits drawn, sets named, everything checked.

Plans count what stands here, collections measure it ahead, and `rambo.experiment` runs it.
"""

from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

from rambo.classifiers import check_classifier
from rambo.config import Config
from rambo.data import Dataset, load_dataset, normalisation
from rambo.errors import require
from rambo.fields import config_id, effective_fields
from rambo.pool import Pool, Split, make_split, start_pool
from rambo.training import Problem, SetSpec
from rambo.utility_samples import SamplePlan, plan_samples, planned_specs, train_seed


@dataclass(frozen=True, eq=False)
class Prepared:
    """A configuration with its data, its splits and the sets it will measure."""

    config: Config
    dataset: Dataset
    split: Split
    pool: Pool
    plan: SamplePlan | None
    """None for strategies without a utility model."""

    @cached_property
    def config_id(self) -> str:
        """The id of the effective configuration."""
        return config_id(self.config, len(self.pool.unlabelled))

    @property
    def num_candidates(self) -> int:
        """M in images, capped at the pool; b where the strategy has no filter."""
        effective = effective_fields(self.config, len(self.pool.unlabelled))
        return int(effective.get("acquisition.num_candidates", self.config.acquisition.batch_size))

    @property
    def folder(self) -> str:
        """The run folder, relative to the home."""
        return f"trials/{self.dataset.slug}/{self.config_id}/{self.config.seed}"

    def problem(self, pool: Pool) -> Problem:
        """Training f with the labels that `pool` shows, and the test set's to judge it by."""
        labels = pool.labels.copy()
        labels[self.split.test] = self.split.labels[self.split.test]
        return Problem(
            images=self.dataset.images,
            labels=labels,
            fingerprint=self.dataset.fingerprint,
            normalisation=normalisation(self.dataset, self.split.test),
            validation=self.split.validation,
            test=self.split.test,
            num_classes=self.dataset.num_classes,
            classifier=self.config.classifier.name,
            training=self.config.training,
        )

    def specs(self) -> dict[str, list[SetSpec]]:
        """The trainings known before the acquisition, by stage."""
        if self.plan is not None:
            return planned_specs(self.plan, self.config, self.split.seed_set)
        return {"seed set": self.repeats(self.pool)}

    def repeats(self, pool: Pool) -> list[SetSpec]:
        """The R trainings on the labelled set."""
        return [
            SetSpec(pool.labelled, train_seed(self.config.seed, repeat))
            for repeat in range(self.config.evaluation.repeats)
        ]


def prepare(config: Config, data_dir: Path) -> Prepared:
    """Load, split, check; raises `InvalidInput` for whatever does not fit, before anything is trained."""
    dataset = _dataset(config.data.source, data_dir, config.data.image_size)
    channels, height, width = dataset.images.shape[1:]
    check_classifier(config.classifier.name, (channels, height, width))
    split = make_split(dataset, config.data, config.seed)
    pool = start_pool(dataset, split)
    _check_sizes(config, pool)
    plan = plan_samples(config, dataset.num_classes) if config.needs_utility_model else None
    return Prepared(config, dataset, split, pool, plan)


@lru_cache(maxsize=2)
def _dataset(source: str, data_dir: Path, image_size: int) -> Dataset:
    """The data, read once however many experiments of a process share it."""
    return load_dataset(source, data_dir, image_size=image_size)


def _check_sizes(config: Config, pool: Pool) -> None:
    available, classes = len(pool.unlabelled), pool.num_classes
    require(
        config.acquisition.budget <= available,
        f"acquisition.budget (B) must be at most the {available} images of the pool, got {config.acquisition.budget}.",
    )
    require(
        not config.needs_utility_model or config.num_start_labels >= 2 * classes,
        f"acquisition.batch_size (b) must leave a start of at least 2 labels a class, k1 = k - b*floor((k-1)/b) >= "
        f"{2 * classes}, got k1 = {config.num_start_labels} from k = {config.data.num_seed_labels} and "
        f"b = {config.acquisition.batch_size}; change acquisition.batch_size or data.num_seed_labels.",
    )
