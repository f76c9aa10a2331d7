"""One experiment from data to result: read this file first.

    load_dataset -> make_split -> plan_samples -> learn_utility -> select -> reveal -> measure

`rambo.preparation.prepare` has drawn the splits and named the sets; `run` does the rest, and returns at once where the
run folder holds a result.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save

from rambo import figures
from rambo.arrays import Floats, Indices, Labels, Members
from rambo.data.pool import HIDDEN, Pool, reveal
from rambo.fields import to_json
from rambo.formats import json_bytes
from rambo.home import Home
from rambo.preparation import Prepared
from rambo.progress import Progress
from rambo.randomness import numpy_generator
from rambo.result import Result, environment, held_out_csv, read_result, result_json, selected_csv
from rambo.store import Store
from rambo.strategies.answer import held
from rambo.strategies.facts import Grant
from rambo.strategies.own import source_of
from rambo.strategies.request import MakeScorer, Request, Selection, Train, load_select
from rambo.tracker import JsonLinesTracker
from rambo.training.committee import Committee
from rambo.training.measuring import Measurer
from rambo.training.trainer import Predictor, SetSpec
from rambo.utility.ot_distance import measure_ot
from rambo.utility.pretraining import Evidence, LearnedUtility, learn_utility
from rambo.utility.samples import set_specs, train_seed


@dataclass(frozen=True)
class Lab:
    """Where work is done and kept; nothing in it changes a result."""

    home: Home
    data_dir: Path
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    progress: Progress = field(default_factory=Progress)
    store: Store | None = None
    """The store of `home`, where one that is open already shall be used; what it has read it need not read again."""


def run(prepared: Prepared, lab: Lab) -> Result:
    """The result of an experiment, read from its folder where it is finished, else worked out and written there."""
    finished = read_result(lab.home, prepared.folder)
    return finished if finished is not None else _Run(prepared, lab).result()


class _Run:
    """The stages of one experiment, and the clock over them."""

    def __init__(self, prepared: Prepared, lab: Lab) -> None:
        self._prepared, self._config, self._lab = prepared, prepared.config, lab
        self._store = lab.store or Store(lab.home)
        self._measurer = Measurer(self._store, lab.device, lab.progress)
        self._problem = prepared.problem(prepared.pool)
        self._tracker = JsonLinesTracker()
        self._seconds: dict[str, float] = {}

    def result(self) -> Result:
        """Every stage in turn; what they measured and learned is in the run folder when this returns."""
        before = self._prepared.pool
        self._write("config.json", to_json(self._config).encode())
        self._write("environment.json", json_bytes(environment(self._lab.device)))
        if self._config.facts.source:
            self._write("strategy.py", source_of(self._config.strategy).content)
        with self._clock("seed_set"):
            classifier = self._committee(before)
            base = self._evaluate(before)
        with self._clock("utility_model"):
            learned = self._learn() if self._config.needs_utility_model else None
        with self._clock("acquisition"):
            selection = self._select(classifier, learned)
            after = reveal(before, self._prepared.split, selection.indices)
        with self._clock("evaluation"):
            final = self._evaluate(after)
        with self._clock("figures"):
            self._keep(selection, after, learned)
        result = self._summary(base, final, after, learned)
        self._write("result.json", result_json(result))  # last: a folder with a result is a finished one
        return result

    def _committee(self, pool: Pool) -> Committee | None:
        """The classifier that scores the pool, where the strategy has one."""
        problem, specs = self._prepared.problem(pool), self._prepared.scouts(pool)
        return Committee(tuple(self._measurer.fit(problem, spec).predictor for spec in specs)) if specs else None

    def _evaluate(self, pool: Pool) -> "_Accuracies":
        """Means over R trainings of f on the labelled set, and on that and S_val where asked for."""
        problem = self._prepared.problem(pool)
        measured = self._measurer.measure(problem, self._prepared.repeats(pool), "final trainings")
        test, val = np.mean([m.test_accuracy for m in measured]), np.mean([m.val_accuracy for m in measured])
        if not self._config.evaluation.with_validation:
            return _Accuracies(float(test), float(val), None)
        specs = self._prepared.repeats(pool, with_validation=True)
        together = self._measurer.measure(problem, specs, "final trainings with S_val")
        return _Accuracies(float(test), float(val), float(np.mean([m.test_accuracy for m in together])))

    def _learn(self) -> "_Learned":
        plan, split = self._prepared.plan, self._prepared.split
        assert plan is not None
        seen = self._prepared.representation(self._lab.data_dir, self._lab.device)
        ot_problem = seen.ot_problem(split, self._prepared.dataset.fingerprint)

        def utility(members: Members, repeat: int, what: str) -> Floats:
            specs = set_specs(members, split.seed_set, train_seed(self._config.seed, repeat))
            measured = self._measurer.measure(self._problem, specs, what)
            return np.array([m.val_accuracy for m in measured]).reshape(members.shape[:-1])

        def ot(members: Members) -> Floats:
            rows = members.reshape(-1, members.shape[-1])
            return measure_ot(ot_problem, rows, self._store, self._lab.progress).reshape(members.shape[:-1])

        evidence = Evidence(utility, ot if self._config.uses_ot else None)
        inputs = seen.inputs(split.seed_set)
        learned = learn_utility(
            self._config, plan, evidence, inputs, tracker=self._tracker, progress=self._lab.progress
        )
        return _Learned(learned, partial(learned.model.scorer, seen.inputs))

    def _select(self, classifier: Committee | None, learned: "_Learned | None") -> Selection:
        def train(indices: Indices, labels: Labels, repeat: int) -> Predictor:
            shown = np.full_like(self._problem.labels, HIDDEN)
            judged = np.concatenate([self._problem.validation, self._problem.test])
            shown[judged] = self._problem.labels[judged]
            shown[indices] = labels
            spec = SetSpec(indices, train_seed(self._config.seed, repeat))
            return self._measurer.fit(replace(self._problem, labels=shown), spec).predictor

        request = request_for(self._prepared, classifier, scorer=learned.scorer if learned else None, train=train)
        select = held(load_select(self._config.facts), self._config.strategy)
        return select(request, numpy_generator(self._config.seed, "acquisition"))

    def _keep(self, selection: Selection, after: Pool, learned: "_Learned | None") -> None:
        self._write("selected.csv", selected_csv(selection, after))
        self._write("figures/selected.png", figures.contact_sheet(after, selection, self._prepared.dataset.class_names))
        self._tracker.write(self._lab.home, f"{self._prepared.folder}/metrics.jsonl")
        if learned is not None:
            model, held_out = learned.utility.model, learned.utility.held_out
            self._write("utility_model.safetensors", save(model.state_dict()))
            self._write("utility_model.json", json_bytes(model.describe()))
            self._write("held_out.csv", held_out_csv(held_out))
            for name, content in figures.utility_figures(held_out, self._tracker.rows).items():
                self._write(f"figures/{name}.png", content)

    def _summary(self, base: "_Accuracies", final: "_Accuracies", after: Pool, learned: "_Learned | None") -> Result:
        held_out = learned.utility.held_out if learned else None
        return Result(
            data=self._prepared.dataset.slug,
            config_id=self._prepared.config_id,
            seed=self._config.seed,
            strategy=self._config.strategy,
            test_accuracy=final.test,
            val_accuracy=final.val,
            base_test_accuracy=base.test,
            base_val_accuracy=base.val,
            num_labelled=len(after.labelled),
            pair_accuracy=held_out.pair_accuracy if held_out else None,
            pair_ceiling=held_out.pair_ceiling if held_out else None,
            label_agreement=learned.utility.label_agreement if learned else None,
            trainings=self._measurer.num_trainings,
            seconds=self._seconds,
            saw_validation=self._config.sees_validation_labels,
            test_accuracy_all=final.test_all,
            base_test_accuracy_all=base.test_all,
        )

    def _write(self, name: str, content: bytes) -> None:
        self._lab.home.write(f"{self._prepared.folder}/{name}", content)

    @contextmanager
    def _clock(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self._seconds[stage] = round(time.perf_counter() - start, 3)


@dataclass(frozen=True)
class _Accuracies:
    """Means over R trainings, in [0, 1]."""

    test: float
    val: float
    test_all: float | None
    """On the test set, where S_val was trained on as well."""


@dataclass(frozen=True, eq=False)
class _Learned:
    utility: LearnedUtility
    scorer: MakeScorer


def request_for(
    prepared: Prepared, classifier: Committee | None, *, scorer: MakeScorer | None, train: Train
) -> Request:
    """What the strategy of `prepared` is asked, with what its record declares and nothing else.

    `classifier` scores the pool, `scorer` is û where one was learned, `train` a way to train f.
    """
    config, pool = prepared.config, prepared.pool
    there: dict[Grant, object] = {
        "utility": scorer,
        "validation_labels": pool.labels[pool.validation],
        "learning_rate": config.training.learning_rate,
        "training": train,
    }
    return Request(
        pool=pool.without_validation_labels(),
        scout=classifier,
        budget=config.acquisition.budget,
        batch_size=config.acquisition.batch_size,
        num_candidates=prepared.num_candidates,
        granted={name: there[name] for name in config.facts.grants},
    )
