"""One experiment from data to result: read this file first.

    load_dataset -> make_split -> plan_samples -> UtilityLearner -> select -> reveal -> measure

`rambo.preparation.prepare` has drawn the splits and named the sets; `run` does the rest, and returns at once where the
run folder holds a result.
"""

import shlex
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor

from rambo.acquisition import Acquisition
from rambo.arrays import Floats, Indices, Members
from rambo.correctness import correct_text
from rambo.data.pool import Pool, reveal
from rambo.fields import flatten, to_json
from rambo.figures import draw_missing
from rambo.formats import json_bytes
from rambo.home import Home
from rambo.own import named
from rambo.preparation import Prepared
from rambo.progress import Progress
from rambo.randomness import numpy_generator
from rambo.result import Result, environment, held_out_csv, read_result, result_json, selected_csv
from rambo.store import Store
from rambo.strategies.request import MakeScorer, Selection
from rambo.tracker import JsonLinesTracker
from rambo.training.committee import Committee
from rambo.training.measuring import Measurer
from rambo.training.trainer import FittedClassifier, SetSpec
from rambo.utility.kept import take, to_bytes
from rambo.utility.ot_distance import measure_ot
from rambo.utility.pretraining import Evidence, HeldOut, LearnedUtility, UtilityLearner
from rambo.utility.representation import Representation
from rambo.utility.samples import SamplePlan, plan_growth, set_specs, train_seed


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
    """The result of an experiment, read from its folder where it is finished, else worked out and written there.

    Pictures come last, from what is written: those that a finished folder lacks are drawn.
    """
    result = read_result(lab.home, prepared.folder) or _Run(prepared, lab, prepared.folder).result()
    draw_missing(lab.home, prepared.folder, prepared.dataset, _redraw(prepared, lab))
    return result


@dataclass(frozen=True, eq=False)
class Choice:
    """What is to be labelled, before any of it is."""

    selection: Selection
    now: FittedClassifier
    """f trained on S_0, with its measurement on S_val."""
    scout: Committee
    """What scores the pool; f(S_0) for a strategy that has nothing that does."""
    held_out: HeldOut | None
    """How û orders held-out pairs, where one was learned."""


def choose(prepared: Prepared, lab: Lab, folder: str) -> Choice:
    """B images of a pool of one's own; `folder` gets the configuration, the environment and û, but no result."""
    return _Run(prepared, lab, folder).choice()


def _redraw(prepared: Prepared, lab: Lab) -> str:
    """The command that draws what pictures the run folder lacks."""
    config = lab.home.path(f"{prepared.folder}/config.json")
    words = ["python", "-m", "rambo", "--config", config, "--home", lab.home.root, "--data-dir", str(lab.data_dir)]
    return shlex.join(words) if lab.home.is_local else f"{shlex.join(words)}, with a copy of that file,"


class _Run:
    """The stages of one experiment, and the clock over them."""

    def __init__(self, prepared: Prepared, lab: Lab, folder: str) -> None:
        self._prepared, self._config, self._lab, self._folder = prepared, prepared.config, lab, folder
        self._store = lab.store or Store(lab.home)
        self._measurer = Measurer(self._store, lab.device, lab.progress)
        self._acquisition = Acquisition(prepared, self._measurer)
        self._tracker = JsonLinesTracker()
        self._seconds: dict[str, float] = {}

    def result(self) -> Result:
        """Every stage in turn; what they measured and learned is in the run folder when this returns."""
        before = self._prepared.pool
        self._begin()
        with self._clock("seed_set"):
            self._acquisition.committee(before)  # first: what it trains is measured too, and not trained again below
            base = self._evaluate(before)
        with self._clock("utility_model"):
            learned = self._learn() if self._config.needs_utility_model else None
        with self._clock("acquisition"):
            selection, after = self._acquire(learned)
        with self._clock("evaluation"):
            final = self._evaluate(after)
        self._keep(selection, after, learned)
        result = self._summary(base, final, after, learned)
        self._write("result.json", result_json(result))  # a folder with a result is a finished one; then come pictures
        return result

    def choice(self) -> Choice:
        """The stages up to the picks; nothing asks for a label."""
        pool, seed = self._prepared.pool, self._config.seed
        self._begin()
        spec = SetSpec(pool.labelled, train_seed(seed))
        now = self._measurer.fit(self._prepared.problem(pool), spec)
        scout = self._acquisition.committee(pool) or Committee((now.predictor,))
        learned = self._learn() if self._config.needs_utility_model else None
        scorer = learned.scorer if learned else None
        selection = self._acquisition.select(pool, scorer, numpy_generator(seed, "acquisition"))
        self._keep_learned(learned)
        return Choice(selection, now, scout, learned.utility.held_out if learned else None)

    def _begin(self) -> None:
        self._write("config.json", to_json(self._config).encode())
        self._write("environment.json", json_bytes(environment(self._lab.device)))
        for own in named(flatten(self._config).items()):
            self._write(f"{own.kind}.py", own.source().content)

    def _evaluate(self, pool: Pool) -> "_Accuracies":
        """Means over R trainings of f on the labelled set, and on that and S_val where asked for."""
        problem = self._prepared.problem(pool)
        measured = self._measurer.measure(problem, self._prepared.repeats(pool), "final trainings")
        test, val = np.mean([m.test_accuracy for m in measured]), np.mean([m.val_accuracy for m in measured])
        correct, seconds = correct_text(measured), float(np.mean([m.seconds for m in measured]))
        if not self._config.evaluation.with_validation:
            return _Accuracies(float(test), float(val), None, correct, seconds)
        specs = self._prepared.repeats(pool, with_validation=True)
        together = self._measurer.measure(problem, specs, "final trainings with S_val")
        together_test = float(np.mean([m.test_accuracy for m in together]))
        return _Accuracies(float(test), float(val), together_test, correct, seconds)

    def _learn(self) -> "_Learned":
        plan, split = self._prepared.plan, self._prepared.split
        assert plan is not None
        seen = self._prepared.representation(self._lab.data_dir, self._lab.device)
        learner = UtilityLearner(self._config, tracker=self._tracker, progress=self._lab.progress)
        evidence, inputs = self._evidence(seen, self._prepared.pool, split.seed_set), seen.inputs(split.seed_set)
        utility, seconds = self._learned_once(learner, plan, evidence, inputs)
        return _Learned(utility, seconds, learner, seen, partial(utility.model.scorer, seen.inputs))

    def _learned_once(
        self, learner: UtilityLearner, plan: SamplePlan, evidence: Evidence, inputs: Tensor
    ) -> tuple[LearnedUtility, float]:
        """û and what its fits took, from the store where any trial has left it; else learned, and left there."""
        key = self._prepared.utility_key
        assert key is not None
        with self._store.fitting(key):
            kept = take(self._store, key)
            if kept is not None:
                self._tracker.rows.extend(kept.rows)
                return kept.resume(learner, plan, inputs), kept.seconds
            start, before = time.perf_counter(), len(self._tracker.rows)
            utility = learner.learn(plan, evidence, inputs)
            seconds = round(time.perf_counter() - start, 3)
            rows = self._tracker.rows[before:]
            self._store.put_utility(key, to_bytes(utility, learner.state, rows, seconds))
            return utility, seconds

    def _learn_more(self, pool: Pool, learned: "_Learned") -> "_Learned":
        """Algorithm 1 goes on with the labels of the last round as its next chunks (the paper's future work, §6)."""
        labelled = pool.labelled[np.argsort(pool.rounds[pool.labelled], kind="stable")]
        num_known = int((pool.rounds[labelled] < pool.rounds.max()).sum())
        growth = plan_growth(self._config, self._prepared.dataset.num_classes, num_known, len(labelled))
        evidence = self._evidence(learned.seen, pool, labelled)
        learned.learner.grow(growth, evidence, learned.seen.inputs(labelled))
        return learned

    def _evidence(self, seen: Representation, pool: Pool, labelled: Indices) -> Evidence:
        """The truth about subsets of `labelled`, which `pool` shows the labels of."""
        problem, split = self._prepared.problem(pool), self._prepared.split
        ot_problem = seen.ot_problem(split, self._prepared.measured_as, labelled)

        def utility(members: Members, repeat: int, what: str) -> Floats:
            specs = set_specs(members, labelled, train_seed(self._config.seed, repeat))
            measured = self._measurer.measure(problem, specs, what)
            return np.array([m.val_accuracy for m in measured]).reshape(members.shape[:-1])

        def ot(members: Members) -> Floats:
            rows = members.reshape(-1, members.shape[-1])
            return measure_ot(ot_problem, rows, self._store, self._lab.progress).reshape(members.shape[:-1])

        return Evidence(utility, ot if self._config.uses_ot else None)

    def _acquire(self, learned: "_Learned | None") -> tuple[Selection, Pool]:
        """B images in R rounds, and the pool with their labels; û and f learn from those of each round before."""
        pool, parts, seed = self._prepared.pool, list[Selection](), self._config.seed
        for number in range(self._config.num_rounds):
            if parts and learned is not None:
                learned = self._learn_more(pool, learned)
            stage = ("acquisition", number) if number else ("acquisition",)
            scorer = learned.scorer if learned else None
            part = self._acquisition.select(pool, scorer, numpy_generator(seed, *stage))
            parts.append(part)
            pool = reveal(pool, self._prepared.split, part.indices)
        return Selection.one_after_another(parts), pool

    def _keep(self, selection: Selection, after: Pool, learned: "_Learned | None") -> None:
        for name in self._lab.home.list(f"{self._folder}/figures"):  # of a result that is worked out again
            self._lab.home.remove(f"{self._folder}/figures/{name}")
        self._write("selected.csv", selected_csv(selection, after, self._prepared.dataset.files))
        self._keep_learned(learned)

    def _keep_learned(self, learned: "_Learned | None") -> None:
        self._tracker.write(self._lab.home, f"{self._folder}/metrics.jsonl")
        if learned is not None:
            model, held_out = learned.utility.model, learned.utility.held_out
            self._write("utility_model.safetensors", save(model.state_dict()))
            self._write("utility_model.json", json_bytes({**model.describe(), "inputs": learned.seen.described}))
            self._write("held_out.csv", held_out_csv(held_out))

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
            num_test=None if final.correct is None else len(self._prepared.split.test),
            test_correct=final.correct,
            repeat_agreement=held_out.repeat_agreement if held_out else None,
            num_ceiling_pairs=held_out.num_ceiling_pairs if held_out else None,
            utility_seconds=learned.seconds if learned else None,
            training_seconds=self._training_seconds(base, final),
        )

    def _training_seconds(self, base: "_Accuracies", final: "_Accuracies") -> dict[str, float]:
        problem = self._prepared.problem(self._prepared.pool)
        keys = {stage: [problem.key(spec) for spec in specs] for stage, specs in self._prepared.planned_specs().items()}
        there = self._store.measurements([key for some in keys.values() for key in some])
        took = {stage: sum(there[key].seconds for key in some if key in there) for stage, some in keys.items()}
        each = {"f on S_0": base.seconds, "f on S_1": final.seconds, **took}
        return {what: round(seconds, 3) for what, seconds in each.items()}

    def _write(self, name: str, content: bytes) -> None:
        self._lab.home.write(f"{self._folder}/{name}", content)

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
    correct: str | None
    """Which test images each training got right, as result.json has it."""
    seconds: float
    """Of one training."""


@dataclass(frozen=True, eq=False)
class _Learned:
    utility: LearnedUtility
    seconds: float
    """What its fits took, in whichever run made them."""
    learner: UtilityLearner
    seen: Representation
    scorer: MakeScorer
