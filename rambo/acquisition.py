"""Stage 2, one round: what the strategy is handed, and what it picks (Algorithm 2)."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np

from rambo.arrays import Indices, Labels
from rambo.data.pool import Pool
from rambo.preparation import Prepared
from rambo.strategies.answer import held
from rambo.strategies.facts import Grant
from rambo.strategies.imagined import select_in_parts
from rambo.strategies.measured import Measure, MeasuredScores
from rambo.strategies.request import MakeScorer, Request, Selection, load_select
from rambo.training.committee import Committee
from rambo.training.lent import Draw, Measuring, Training, closed
from rambo.training.loss_prediction import LossPredictor
from rambo.training.measuring import Measurer
from rambo.training.trainer import SetSpec
from rambo.utility.samples import train_seed


@dataclass(frozen=True, eq=False)
class Acquisition:
    """The acquisition stage of one experiment; all that it trains is kept in the store."""

    prepared: Prepared
    measurer: Measurer

    def select(self, pool: Pool, scorer: MakeScorer | None, generator: np.random.Generator) -> Selection:
        """The images of one round, beside what `pool` shows as labelled; `scorer` is û where one was learned."""
        config, classifier = self.prepared.config, self.committee(pool)
        train = Training(self.prepared.problem(pool), self.measurer, partial(train_seed, config.seed))
        request = request_for(self.prepared, pool, classifier, self._grants(pool, classifier, scorer, train))
        select = held(load_select(config.facts), config.strategy)
        if not config.imagines:
            return select(request, generator)
        scouted = config.acquisition.scout == "seed_and_validation"
        return select_in_parts(
            select,
            request,
            generator,
            num_parts=config.acquisition.num_parts,
            guess=_trained(train, pool, config.num_scouts, pool).likeliest,
            refit=partial(_trained, train, pool if scouted else None, config.num_scouts),
        )

    def committee(self, pool: Pool) -> Committee | None:
        """The classifier that scores the pool, where the strategy has one."""
        problem, specs = self.prepared.problem(pool), self.prepared.scouts(pool)
        return Committee(tuple(self.measurer.fit(problem, spec).predictor for spec in specs)) if specs else None

    def _predicted_loss(self, pool: Pool) -> LossPredictor | None:
        """What has learned f's losses, where the strategy goes by them."""
        if not self.prepared.config.facts.predicts_losses:
            return None
        spec = SetSpec(self.prepared.scouted(pool), train_seed(self.prepared.config.seed))
        return self.measurer.fit_losses(self.prepared.problem(pool), spec)

    def _grants(
        self, pool: Pool, classifier: Committee | None, scorer: MakeScorer | None, train: Training
    ) -> Mapping[Grant, object]:
        config = self.prepared.config

        def measuring(draw: Draw) -> MakeScorer:
            repeats = config.acquisition.oracle_repeats
            return partial(_scores, closed(Measuring(train.problem, self.measurer, draw, config.seed, repeats)))

        return {
            "utility": scorer,
            "validation_labels": pool.labels[pool.validation],
            "learning_rate": config.training.learning_rate,
            "training": closed(train),
            "predicted_loss": self._predicted_loss(pool),
            "measured": measuring(partial(_true_labels, self.prepared.split.labels)),
            "marginally_measured": measuring(classifier.draw) if classifier else None,
        }


def request_for(prepared: Prepared, pool: Pool, classifier: Committee | None, there: Mapping[Grant, object]) -> Request:
    """What the strategy of `prepared` is asked in one round: of what is `there`, it gets what its record declares."""
    config = prepared.config
    has_portfolio = config.facts.reads("acquisition.portfolio")
    return Request(
        pool=pool.without_validation_labels(),
        scout=classifier,
        budget=config.acquisition.budget // config.num_rounds,
        batch_size=config.acquisition.batch_size,
        num_candidates=prepared.num_candidates,
        in_batches=config.needs_batches,
        block_epsilon=config.acquisition.block_epsilon,
        portfolio=config.acquisition.strategies if has_portfolio else (),
        granted={name: there[name] for name in config.facts.grants},
    )


def _trained(train: Training, judged: Pool | None, size: int, pool: Pool) -> Committee:
    """Trainings on what `pool` shows as labelled, and on S_val where a pool that shows its labels is given."""
    images, labels = pool.labelled, pool.labels[pool.labelled]
    if judged is not None:
        images = np.concatenate([images, judged.validation])
        labels = np.concatenate([labels, judged.labels[judged.validation]])
    return train.committee(images, labels, size)


def _scores(measure: Measure, labelled: Indices, reachable: Indices) -> MeasuredScores:
    return MeasuredScores(labelled, measure)


def _true_labels(labels: Labels, indices: Indices, generator: np.random.Generator) -> Labels:
    return labels[indices]
