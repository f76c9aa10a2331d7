"""An experiment before its first training: splits drawn, sets named, everything checked.

Plans count what stands here, collections measure it ahead, and `rambo.experiment` runs it. What experiments have in
common is worked out once: a data set is read once, a seed's splits and sets are drawn once for all cells that follow
each other, and no `Prepared` holds any of it.
"""

from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

import numpy as np
import torch

from rambo.arrays import Indices, Members
from rambo.config import Config
from rambo.data.dataset import Dataset, NormalisedImages, load_dataset
from rambo.data.features import plain_features
from rambo.data.pool import Pool, Split, make_split, start_pool
from rambo.errors import InvalidInput, require
from rambo.fields import absolute_source, changes_measured, digest_of, effective_fields, in_force
from rambo.own import Own, Pinned, is_own
from rambo.sections import CLASSIFIERS, Classifier, Data, Training
from rambo.training.classifiers import check_classifier
from rambo.training.own_classifier import check_own
from rambo.training.trainer import Problem, SetSpec
from rambo.utility.kept import utility_key
from rambo.utility.ot_distance import OTProblem
from rambo.utility.representation import Representation
from rambo.utility.samples import SamplePlan, SeedImages, num_measured, plan_samples, planned_specs, train_seed

NEIGHBOURS = 16
"""Splits that are kept for the experiments that come next; a megabyte each for 30 000 images."""


@dataclass(frozen=True, eq=False)
class Prepared:
    """A configuration with its data; its splits and the sets that it will measure follow from these two."""

    config: Config
    dataset: Dataset
    config_id: str
    """The id of the effective configuration."""
    num_candidates: int
    """M in images, capped at the pool; b where the strategy has no filter."""
    known_id: str
    """Experiments that agree in it know the same trainings and OT distances in advance."""

    @property
    def folder(self) -> str:
        """The run folder, relative to the home."""
        return f"trials/{self.dataset.slug}/{self.config_id}/{self.config.seed}"

    @property
    def measured_as(self) -> str:
        """What stands for the data in the keys of what is measured."""
        return self.dataset.measured_as(self.config.data.num_test)

    @property
    def split(self) -> Split:
        """Who is in which split."""
        return _start(self.dataset, self.config.data, self.config.seed)[0]

    @property
    def pool(self) -> Pool:
        """The pool before the acquisition."""
        return _start(self.dataset, self.config.data, self.config.seed)[1]

    @property
    def plan(self) -> SamplePlan | None:
        """The sets to be measured; None for strategies without a utility model."""
        if not self.config.needs_utility_model:
            return None
        return plan_samples(self.config, self.dataset.num_classes, self._seed_images)

    @property
    def utility_key(self) -> str | None:
        """What names û in the store; None for strategies without. Neither the budget nor who asks is in it."""
        plan = self.plan
        if plan is None:
            return None
        config = self.config
        described = (self.dataset, config.data, config.classifier, config.training)
        seed_set_key = _seed_set_key(*described, config.seed, _pinned(config.classifier))
        return utility_key(seed_set_key, plan, effective_fields(config, len(self.pool.unlabelled)), config.seed)

    @property
    def _seed_images(self) -> SeedImages | None:
        """S_0 as structured utility samples are drawn from it; None where there are none."""
        if not self.config.offline.structured:
            return None
        seed_set = self.split.seed_set
        return plain_features(self.dataset.images[seed_set]), self.split.labels[seed_set]

    def problem(self, pool: Pool) -> Problem:
        """Training f with the labels that `pool` shows, and the test set's to judge it by."""
        return _problem(self.dataset, self.config.data, self.config.classifier, self.config.training, self.split, pool)

    def specs(self) -> dict[str, list[SetSpec]]:
        """The trainings known before the acquisition, by stage."""
        known = self.planned_specs()
        known["seed set"] = self.repeats(self.pool)
        if self.config.evaluation.with_validation:
            known["seed set and S_val"] = self.repeats(self.pool, with_validation=True)
        listed = {_name(spec) for specs in known.values() for spec in specs}
        scouts = [spec for spec in self.scouts(self.pool) if _name(spec) not in listed]
        return {**known, "scouts": scouts} if scouts else known

    def planned_specs(self) -> dict[str, list[SetSpec]]:
        """Those that û learns from, and is judged by; none without û."""
        return {} if self.plan is None else planned_specs(self.plan, self.config, self.split.seed_set)

    def repeats(self, pool: Pool, *, with_validation: bool = False) -> list[SetSpec]:
        """The R trainings on the labelled set, or on that and S_val."""
        images = _union(pool.labelled, pool.validation) if with_validation else pool.labelled
        first, number = self.config.evaluation.first_repeat, self.config.evaluation.repeats
        return [SetSpec(images, train_seed(self.config.seed, repeat)) for repeat in range(first, first + number)]

    def scouts(self, pool: Pool) -> list[SetSpec]:
        """The trainings of the classifier that scores the pool, none for a strategy without."""
        images = self.scouted(pool)
        return [SetSpec(images, train_seed(self.config.seed, repeat)) for repeat in range(self.config.num_scouts)]

    def scouted(self, pool: Pool) -> Indices:
        """The images that whatever scores the pool is trained on."""
        both = self.config.acquisition.scout == "seed_and_validation"
        return _union(pool.labelled, pool.validation) if both else pool.labelled

    @property
    def num_later_trainings(self) -> int:
        """The most trainings beside `specs`: final ones, refits, the strategy's own, losses, û's of later rounds."""
        config = self.config
        last = config.evaluation.repeats * (2 if config.evaluation.with_validation else 1)
        refits, choices = config.num_rounds - 1, config.num_rounds
        if config.imagines:
            most = config.acquisition.budget // (config.acquisition.batch_size if config.needs_batches else 1)
            choices *= min(config.acquisition.num_parts, most // config.num_rounds)
            refits += choices
        asked = choices * config.facts.num_trainings
        if config.facts.measures_candidates:
            steps, size = config.acquisition.budget // config.acquisition.batch_size, config.acquisition.batch_size
            least = len(config.acquisition.strategies) if config.facts.reads("acquisition.portfolio") else 1
            asked += steps * max(least, self.num_candidates // size) * config.acquisition.oracle_repeats
        joint = config.num_rounds if config.facts.predicts_losses else 0
        grown = self.num_growth_fits * (1 + 2 * num_measured(config, config.pretraining.num_pairs))
        return last + refits * config.num_scouts + asked + joint + grown

    @property
    def num_growth_fits(self) -> int:
        """Fits of û to what rounds before the last have bought: one for each b images of each."""
        config = self.config
        a_round = config.acquisition.budget // config.num_rounds
        return 0 if self.plan is None else (config.num_rounds - 1) * -(-a_round // config.acquisition.batch_size)

    @property
    def num_growth_distances(self) -> int:
        """OT distances of the pairs that these fits come with."""
        return 2 * self.config.pretraining.num_pairs * self.num_growth_fits if self.config.uses_ot else 0

    def representation(self, data_dir: Path, device: torch.device) -> Representation:
        """Images as û and the OT distance see them."""
        normalisation = self.dataset.fixed(self.config.data.num_test).normalisation
        images = NormalisedImages(self.dataset.images, normalisation, device)
        return Representation(self.dataset, images, self.config.utility_model, data_dir, device)


def prepare(config: Config, data_dir: Path) -> Prepared:
    """Load, split, check; raises `InvalidInput` for whatever does not fit, before anything is trained."""
    config = in_force(config)
    config.check_strategy()
    require(config.data.num_test > 0, "data.num_test must be at least 1 in a study, got 0; choose how many judge it.")
    dataset = read_dataset(config.data, data_dir)
    unknown = len(dataset.labels) - len(dataset.labelled)
    require(
        unknown == 0,
        f"Studies must know every label, to buy some and to judge by others, got {unknown} images of {dataset.name} "
        "without one; label them, leave them out, or ask python -m rambo select which of them to label.",
    )
    return prepare_with(dataset, config)


def prepare_with(dataset: Dataset, config: Config) -> Prepared:
    """The same of a data set in hand, whatever `data.source` says; it may be a pool of one's own."""
    config = in_force(config)
    config.check_strategy()
    _check_kind(config, dataset)
    available = len(_start(dataset, config.data, config.seed)[1].unlabelled)
    _check_sizes(config, available, dataset.num_classes)
    effective = effective_fields(config, available)
    known = {name: value for name, value in effective.items() if changes_measured(name)}
    prepared = Prepared(
        config=config,
        dataset=dataset,
        config_id=digest_of(effective),
        num_candidates=int(effective.get("acquisition.num_candidates", config.acquisition.batch_size)),
        known_id=f"{dataset.slug}/{digest_of({**known, 'uses_ot': config.uses_ot})}/{config.seed}",
    )
    _ = prepared.plan  # raises where S_0 is too small for its samples
    return prepared


def planned_distances(prepared: Prepared, data_dir: Path, device: torch.device) -> list[tuple[OTProblem, Members]]:
    """The OT distances that an experiment will ask for, as rows of members; none where the component is off."""
    plan = prepared.plan
    if plan is None or not prepared.config.uses_ot:
        return []
    seen = prepared.representation(data_dir, device)
    return [(seen.ot_problem(prepared.split, prepared.measured_as), plan.all_pairs())]


def read_dataset(data: Data, data_dir: Path) -> Dataset:
    """The data that `data` names, read once however many experiments of a process share it."""
    return _dataset(absolute_source(data.source), data_dir.resolve(), data.image_size, data.labels)


@cache
def _dataset(source: str, data_dir: Path, image_size: int, labels: str) -> Dataset:
    return load_dataset(source, data_dir, image_size=image_size, labels=labels)


@lru_cache(maxsize=NEIGHBOURS)
def _start(dataset: Dataset, data: Data, seed: int) -> tuple[Split, Pool]:
    split = make_split(dataset, data, seed)
    return split, start_pool(dataset, split)


def _problem(
    dataset: Dataset, data: Data, classifier: Classifier, training: Training, split: Split, pool: Pool
) -> Problem:
    labels = pool.labels.copy()
    labels[split.test] = split.labels[split.test]
    return Problem(
        images=dataset.images,
        labels=labels,
        fingerprint=dataset.measured_as(data.num_test),
        normalisation=dataset.fixed(data.num_test).normalisation,
        validation=split.validation,
        test=split.test,
        num_classes=dataset.num_classes,
        classifier=classifier.name,
        training=training,
        own=_pinned(classifier),
    )


@lru_cache(maxsize=NEIGHBOURS)
def _seed_set_key(
    dataset: Dataset, data: Data, classifier: Classifier, training: Training, seed: int, own: Pinned | None
) -> str:
    """The key of f trained on S_0, worked out once for the cells of a seed that follow each other."""
    split, pool = _start(dataset, data, seed)
    return _problem(dataset, data, classifier, training, split, pool).key(SetSpec(split.seed_set, train_seed(seed)))


def _pinned(classifier: Classifier) -> Pinned | None:
    """The classifier where it is of the user's own."""
    return Own("classifier.name", classifier.name).pinned() if is_own(classifier.name) else None


def _check_classifier(config: Config, dataset: Dataset) -> None:
    """It takes the images; one of the user's own also gives what the strategy reckons with."""
    own, strategy = config.own_classifier, config.strategy
    if own is None:
        check_classifier(config.classifier.name, dataset.input_shape)
        return
    facts = check_own(own, dataset.input_shape, dataset.num_classes)
    require(
        not config.facts.predicts_losses,
        f"strategy {strategy} must have a classifier whose stages it knows, {' or '.join(CLASSIFIERS)}, got {own}; "
        "choose one of them, or another strategy.",
    )
    reckoning = " and ".join(config.gradient_strategies)
    require(
        facts.has_linear_head or not reckoning,
        f"strategy {reckoning} must have logits that are a linear layer of the features, got others of {own}; let its "
        "features be what enters its last layer, or choose another strategy.",
    )


def _name(spec: SetSpec) -> tuple[int, bytes]:
    return spec.train_seed, spec.indices.tobytes()


def _union(first: Indices, second: Indices) -> Indices:
    return np.concatenate([first, second])


def _fitting_budget(config: Config, available: int) -> str:
    """The largest B that a pool of `available` images holds and b and R divide; empty where there is none."""
    size = config.acquisition.batch_size if config.needs_batches else 1
    step = size * config.num_rounds
    largest = available // step * step
    if largest < (2 * size if config.needs_batches else 1):
        return ""
    return f"the largest B that fits is {largest}{f' (b = {size})' if config.needs_batches else ''}: "


def _check_kind(config: Config, dataset: Dataset) -> None:
    """What takes images takes no embeddings, and the other way round."""
    name, extractor = config.classifier.name, config.utility_model.extractor
    _check_classifier(config, dataset)
    require(
        not (config.facts.predicts_losses and config.classifier.is_deterministic),
        f"classifier.name must have a hidden layer for strategy {config.strategy}, which reads those on the way, got "
        f"{name}; set classifier.name mlp.",
    )
    if not config.needs_utility_model:
        return
    require(
        dataset.has_pictures or extractor == "features",
        f"utility_model.extractor must be features for embeddings, got {extractor}, which takes images; set "
        "utility_model.extractor features.",
    )
    require(
        not dataset.has_pictures or extractor != "features",
        "utility_model.extractor must be conv or resnet18 for images, got features, which takes embeddings; set "
        "utility_model.extractor conv.",
    )


def _check_sizes(config: Config, available: int, num_classes: int) -> None:
    nothing_left = config.data.num_test == 0 and available == 0  # of a pool of one's own: f can still be trained
    require(
        config.acquisition.budget <= available or nothing_left,
        f"acquisition.budget (B) must be at most the {available} images of the pool, got {config.acquisition.budget}; "
        f"{_fitting_budget(config, available)}lower it, or data.num_seed_labels, data.num_validation or data.num_test.",
    )
    least = 2 * num_classes
    if config.needs_utility_model and config.num_start_labels < least:
        raise InvalidInput(
            f"acquisition.batch_size (b) must leave a start of at least 2 labels a class, k1 = k - b*floor((k-1)/b) >= "
            f"{least}, got k1 = {config.num_start_labels} from k = {config.data.num_seed_labels} and "
            f"b = {config.acquisition.batch_size}; {config.fitting_sizes(least)}."
        )
