"""What the store keeps of û is what a fit anew would give, and is taken for no other."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch

from rambo.experiment import Lab, run
from rambo.fields import override
from rambo.home import Home
from rambo.preparation import prepare
from rambo.progress import Progress
from rambo.store import Store
from rambo.tracker import JsonLinesTracker
from rambo.utility import kept
from rambo.utility.kept import from_bytes, take, to_bytes
from rambo.utility.pretraining import Evidence, UtilityLearner
from rambo.utility.samples import plan_growth

UNREAD = {
    "acquisition.budget": 40,
    "strategy": "portfolio",
    "acquisition.candidate_batches": 5,
    "evaluation.repeats": 2,
}
READ = {
    "seed": 1,
    "data.num_validation": 30,
    "data.label_noise": 0.2,
    "training.learning_rate": 2e-3,
    "offline.num_pairs": 4,
    "offline.structured": True,
    "pretraining.num_pairs": 7,
    "utility.label": "trained",
    "utility_model.lambda_ot": 0.5,
    "utility_model.num_outer_steps": 4,
    "switches.bilevel": False,
    "evaluation.num_ceiling_pairs": 2,
}


def key(tiny, changes, tmp_path):
    return prepare(override(tiny, changes), tmp_path).utility_key


@pytest.mark.parametrize("name", UNREAD)
def test_what_no_fit_reads_leaves_the_key(name, tiny, tmp_path):
    assert key(tiny, {name: UNREAD[name]}, tmp_path) == key(tiny, {}, tmp_path)


@pytest.mark.parametrize("name", READ)
def test_what_a_fit_reads_moves_the_key(name, tiny, tmp_path):
    assert key(tiny, {name: READ[name]}, tmp_path) != key(tiny, {}, tmp_path)


def test_frozen_features_count_by_their_version_where_fits_read_them_alone(tiny, tmp_path, monkeypatch):
    frozen = {"utility_model.extractor": "resnet18", "utility_model.weights": "random"}
    before = key(tiny, frozen, tmp_path), key(tiny, {}, tmp_path)
    monkeypatch.setattr("rambo.utility.kept.FEATURES_VERSION", 2)
    after = key(tiny, frozen, tmp_path), key(tiny, {}, tmp_path)
    assert (before[0] != after[0], before[1] == after[1]) == (True, True)


def test_a_strategy_without_a_utility_model_has_no_key(tiny, tmp_path):
    assert key(tiny, {"strategy": "margin"}, tmp_path) is None


class Learner:
    """A learner of a tiny experiment whose sets are worth what they hold."""

    def __init__(self, tiny, tmp_path):
        self.prepared = prepare(tiny, tmp_path)
        self.plan, device = self.prepared.plan, torch.device("cpu")
        self.seen = self.prepared.representation(tmp_path, device)
        self.inputs = self.seen.inputs(self.prepared.split.seed_set)
        self.tracker = JsonLinesTracker()
        self.learner = UtilityLearner(tiny, tracker=self.tracker, progress=Progress(quiet=True))
        self.worth = np.random.default_rng(0).random(10_000)
        self.evidence = Evidence(lambda members, repeat, what: self.worths(members) / 60, self.ot)

    def worths(self, members):
        return members @ self.worth[: members.shape[-1]]

    def ot(self, members):
        return 2 - self.worths(members) / 60

    def weights(self):
        return torch.cat([value.flatten() for value in self.learner.model.state_dict().values()])

    def grow(self):
        more = self.prepared.pool.unlabelled[:10]
        labelled = np.concatenate([self.prepared.split.seed_set, more])
        growth = plan_growth(self.prepared.config, 10, len(labelled) - 10, len(labelled))
        self.learner.grow(growth, self.evidence, self.seen.inputs(labelled))


def test_a_learner_that_takes_it_is_one_that_has_learned_and_goes_on_alike(tiny, tmp_path):
    one, other = Learner(tiny, tmp_path), Learner(tiny, tmp_path)
    learned = one.learner.learn(one.plan, one.evidence, one.inputs)
    content = to_bytes(learned, one.learner.state, one.tracker.rows, 1.5)
    found = from_bytes(content)
    again = found.resume(other.learner, other.plan, other.inputs)
    assert torch.equal(one.weights(), other.weights())
    assert list(found.rows) == one.tracker.rows
    assert (found.seconds, again.label_agreement) == (1.5, learned.label_agreement)
    for name in ("scores", "utility", "predicted_ot", "ot"):
        assert np.array_equal(getattr(again.held_out, name), getattr(learned.held_out, name)), name
    assert to_bytes(again, other.learner.state, found.rows, 1.5) == content
    before = one.weights()
    one.grow()
    other.grow()
    assert torch.equal(one.weights(), other.weights())
    assert not torch.equal(one.weights(), before)


def test_experiments_that_differ_in_their_budgets_fit_once(tiny, tmp_path, monkeypatch):
    """The second takes what the first has left, whole; curves, scores and weights are in both folders."""
    home = Home(tmp_path / "home")
    lab = Lab(home, tmp_path, progress=Progress(quiet=True))
    first, second = (prepare(override(tiny, {"acquisition.budget": budget}), tmp_path) for budget in (40, 80))
    alone = run(second, replace(lab, home=Home(tmp_path / "alone")))
    run(first, lab)
    monkeypatch.setattr(UtilityLearner, "learn", lambda *given: pytest.fail("a second fit"))
    shared = run(second, lab)
    volatile = {"seconds": {}, "utility_seconds": 0.0, "training_seconds": {}, "trainings": 0}
    assert replace(shared, **volatile) == replace(alone, **volatile)
    for name in ("metrics.jsonl", "held_out.csv", "utility_model.safetensors", "utility_model.json", "selected.csv"):
        assert home.read(f"{second.folder}/{name}") == Home(tmp_path / "alone").read(f"{second.folder}/{name}"), name


@pytest.mark.long
def test_two_that_begin_at_once_fit_once(tiny, tmp_path, monkeypatch):
    home, learn, fits = Home(tmp_path / "home"), UtilityLearner.learn, []

    def counted(*given):
        fits.append(1)
        return learn(*given)

    monkeypatch.setattr(UtilityLearner, "learn", counted)
    both = [prepare(override(tiny, {"acquisition.budget": budget}), tmp_path) for budget in (40, 80)]
    with ThreadPoolExecutor() as pool:
        results = list(pool.map(lambda one: run(one, Lab(home, tmp_path, progress=Progress(quiet=True))), both))
    assert len(fits) == 1
    assert results[0].pair_accuracy == results[1].pair_accuracy
    assert not list((tmp_path / "home").rglob("*.lock"))


@pytest.mark.parametrize("place", [3, 200, -5])
def test_what_is_spoilt_is_moved_away(place, tiny, tmp_path):
    one = Learner(tiny, tmp_path)
    learned = one.learner.learn(one.plan, one.evidence, one.inputs)
    content = bytearray(to_bytes(learned, one.learner.state, one.tracker.rows, 1.5))
    content[place] ^= 4
    store = Store(Home(tmp_path / "home"))
    store.put_utility("a", bytes(content))
    with pytest.warns(RuntimeWarning, match="moved to store/corrupt"):
        assert take(store, "a") is None
    assert store.known_utilities() == set()


def test_another_version_is_fitted_anew(tiny, tmp_path, monkeypatch):
    before = key(tiny, {}, tmp_path)
    monkeypatch.setattr(kept, "UTILITY_VERSION", kept.UTILITY_VERSION + 1)
    assert key(tiny, {}, tmp_path) != before
