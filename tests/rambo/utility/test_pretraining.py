import math
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.optimize import linprog

from rambo.experiment import run
from rambo.fields import override
from rambo.preparation import prepare
from rambo.progress import Progress
from rambo.tracker import JsonLinesTracker
from rambo.utility import pretraining
from rambo.utility.deep_sets import SetUtilityModel
from rambo.utility.pairs import set_ids
from rambo.utility.pretraining import Evidence, UtilityLearner
from rambo.utility.samples import interpolate, order_agreement, plan_growth, planned_specs, set_specs, train_seed


def test_trained_labels_are_the_measured_utilities(lab, tiny, monkeypatch):
    """What û is fitted to under each label: all measured, the audited ones measured, none."""
    fitted = {}
    original = pretraining.fit_utility_model

    def spy(model, inputs, pairs, **options):
        fitted.setdefault(label, []).append(pairs.utility)
        return original(model, inputs, pairs, **options)

    monkeypatch.setattr(pretraining, "fit_utility_model", spy)
    for label in ("trained", "hybrid", "interpolated"):
        run(prepare(override(tiny, {"utility.label": label, "seed": 1}), lab.data_dir), lab)
    trained, hybrid, interpolated = (fitted[name][1] for name in ("trained", "hybrid", "interpolated"))
    assert np.array_equal(hybrid[:3], trained[:3])
    assert np.array_equal(hybrid[3:], interpolated[3:])
    assert not np.array_equal(trained, interpolated)


class Learned:
    """û learned in a tiny experiment whose sets are worth what they hold; what was asked for is noted."""

    def __init__(self, tiny, changes=None, *, ot_unit=1.0):
        self.prepared = prepare(override(tiny, changes or {}), Path("unused"))
        self.config, self.plan, self.split = self.prepared.config, self.prepared.plan, self.prepared.split
        self.worth = np.random.default_rng(0).random(self.config.data.num_seed_labels)
        self.asked, self.distances, self.ot_unit = [], [], ot_unit
        self.tracker = JsonLinesTracker()
        evidence = Evidence(self.utility, self.ot if self.config.uses_ot else None)
        self.inputs = self.prepared.representation(Path("unused"), torch.device("cpu")).inputs(self.split.seed_set)
        self.learner = UtilityLearner(self.config, tracker=self.tracker, progress=Progress(quiet=True))
        self.result = self.learner.learn(self.plan, evidence, self.inputs)

    def utility(self, members, repeat, what):
        self.asked.append((members, repeat, what))
        return members @ self.worth / 60

    def ot(self, members):
        self.distances.append(members)
        return (2 - members @ self.worth / 60) / self.ot_unit

    def weights(self):
        return torch.cat([value.flatten() for value in self.result.model.state_dict().values()])


@pytest.fixture(scope="module")
def learned(tiny):
    return Learned(tiny)


@pytest.mark.parametrize("label", ["interpolated", "trained"])
def test_what_is_measured_is_exactly_what_was_planned(tiny, label):
    """A plan counts it and a collection measures it ahead; a set more would be trained without either."""
    mine = Learned(tiny, {"utility.label": label})
    seed_set, seed = mine.split.seed_set, mine.config.seed
    asked = {
        (spec.train_seed, spec.indices.tobytes())
        for members, repeat, _ in mine.asked
        for spec in set_specs(members, seed_set, train_seed(seed, repeat))
    }
    planned = planned_specs(mine.plan, mine.config, seed_set)
    assert asked == {(spec.train_seed, spec.indices.tobytes()) for specs in planned.values() for spec in specs}
    asked_for_ot = {identity for members in mine.distances for identity in set_ids(members)}
    assert asked_for_ot == set(set_ids(mine.plan.all_pairs()[:, None]))


def test_there_is_a_fit_for_the_offline_pairs_and_each_set_that_grows(tiny, learned):
    stages = list(dict.fromkeys(row["stage"] for row in learned.tracker.rows))
    assert stages == ["offline", "pretraining 1", "pretraining 2"]
    assert len(learned.learner.fits) == 3
    assert [len(fit.outer_losses) for fit in learned.learner.fits] == [0, 3, 3], "û_0 on one level"
    flat = Learned(tiny, {"offline.num_pairs": 0, "switches.bilevel": False})
    assert [len(fit.outer_losses) for fit in flat.learner.fits] == [0, 0]
    assert {len(fit.inner_losses) for fit in flat.learner.fits} == {9}


def test_the_unit_of_distances_does_not_matter(tiny, learned):
    """Targets are in units of the first mean; a power of two leaves every bit as it is."""
    scaled = Learned(tiny, ot_unit=1 / 1024)
    assert torch.equal(scaled.weights(), learned.weights())
    assert np.array_equal(scaled.result.held_out.ot, learned.result.held_out.ot)
    first = learned.ot(learned.plan.offline).mean()
    np.testing.assert_allclose(learned.result.held_out.ot, learned.ot(learned.plan.held_out) / first)


def test_distances_that_are_all_zero_give_no_unit(tiny):
    """Every set and S_val hold copies of one image: û learns from the accuracies alone, and no target is 0/0."""
    told = Learned(tiny, ot_unit=math.inf)
    assert told.learner._ot_unit == 1.0
    assert np.array_equal(told.result.held_out.ot, np.zeros_like(told.result.held_out.ot))
    assert torch.isfinite(told.weights()).all()


def test_raw_distances_are_learned_as_they_are(tiny, learned):
    """Told in units of their mean over the first pairs, they are what û learns from otherwise; else they are not."""
    mean = learned.ot(learned.plan.offline).mean()
    told = Learned(tiny, {"utility_model.ot_unit": "raw"}, ot_unit=mean)
    assert torch.equal(told.weights(), learned.weights())
    raw = Learned(tiny, {"utility_model.ot_unit": "raw"})
    assert np.array_equal(raw.result.held_out.ot, raw.ot(raw.plan.held_out))
    assert not torch.equal(raw.weights(), learned.weights())


@pytest.mark.parametrize("latent", [False, True])
def test_equation_4_takes_the_distance_that_was_asked_for(tiny, monkeypatch, latent):
    """Before û is fitted: Euclid between set embeddings, or linear programmes over the images' embeddings."""
    told = []
    monkeypatch.setattr(pretraining, "interpolate", lambda *given: told.append(given) or interpolate(*given))
    changes = {"offline.num_pairs": 0, "pretraining.num_pairs": 2, "utility_model.latent_ot": latent}
    mine = Learned(tiny, changes)
    settings = (mine.config.utility_model, mine.config.switches, mine.config.seed)
    start = SetUtilityModel(tuple(mine.inputs.shape[1:]), *settings).eval()
    start.calibrate(mine.inputs)
    features = start.image_features(mine.inputs)
    chain, pairs = mine.plan.chain[:2], mine.plan.pretraining[0].reshape(-1, 60)
    expected = np.array([[transported(features, one, end) for end in chain] for one in pairs])
    if not latent:
        embedded = start.embed_sets(features, torch.from_numpy(np.concatenate([pairs, chain]))).numpy()
        expected = np.linalg.norm(embedded[:-2, None] - embedded[None, -2:], axis=2)
    found = np.stack(told[0][:2], axis=-1).reshape(-1, 2)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-6)
    assert told[0][2] == tuple(mine.plan.chain[:2] @ mine.worth / 60)


def transported(features, first, second):
    """The least Σ mass · ‖φ − φ'‖² over all transport plans between two sets, by a general solver."""
    a, b = (features[torch.from_numpy(row)].double().numpy() for row in (first, second))
    cost = ((a[:, None] - b[None]) ** 2).sum(axis=2)
    rows, columns = np.kron(np.eye(len(a)), np.ones(len(b))), np.kron(np.ones(len(a)), np.eye(len(b)))
    masses = np.concatenate([np.full(len(a), 1 / len(a)), np.full(len(b), 1 / len(b))])
    return linprog(cost.ravel(), A_eq=np.concatenate([rows, columns]), b_eq=masses).fun


def test_held_out_pairs_are_judged_by_what_was_measured(learned):
    held_out = learned.result.held_out
    assert np.array_equal(held_out.utility, learned.plan.held_out @ learned.worth / 60)
    assert held_out.pair_accuracy == order_agreement(held_out.scores, held_out.utility)
    assert held_out.pair_ceiling == 1.0, "measurements that agree with themselves"
    assert (held_out.repeat_agreement, held_out.num_ceiling_pairs) == (1.0, 3)
    assert held_out.predicted_ot.shape == held_out.ot.shape == held_out.scores.shape == (5, 2)


def test_without_the_component_no_distance_is_asked_for(tiny):
    off = Learned(tiny, {"switches.ot": False})
    assert off.distances == []
    assert (off.result.held_out.ot, off.result.held_out.predicted_ot) == (None, None)
    assert set(off.result.model.heads) == {"rank"}


def test_agreement_is_told_of_audited_pairs_alone(tiny, learned):
    audited = [(members, repeat) for members, repeat, what in learned.asked if what == "audited pairs"]
    assert [members.shape for members, _ in audited] == [(3, 2, 60)] * 2
    assert 0 <= learned.result.label_agreement <= 1
    assert Learned(tiny, {"utility.num_audited": 0}).result.label_agreement is None


def test_more_labels_continue_the_chain_and_keep_what_was_known(tiny, monkeypatch):
    """20 labels come to 60: one step, whose pairs stand in D beside the old ones; OT's unit stays."""
    mine = Learned(tiny)
    before, unit, fitted = mine.weights().clone(), mine.learner._ot_unit, []
    original = pretraining.fit_utility_model

    def spy(model, inputs, pairs, **options):
        fitted.append(pairs)
        return original(model, inputs, pairs, **options)

    monkeypatch.setattr(pretraining, "fit_utility_model", spy)
    everyone = np.concatenate([mine.split.seed_set, mine.prepared.pool.unlabelled[:20]])
    worth = np.concatenate([mine.worth, np.ones(20)])
    asked = []

    def utility(members, repeat, what):
        asked.append((members, what))
        return members @ worth / 80

    growth = plan_growth(mine.config, 10, 60, 80)
    inputs = mine.prepared.representation(Path("unused"), torch.device("cpu")).inputs(everyone)
    mine.learner.grow(growth, Evidence(utility, lambda members: 2 - members @ worth / 80), inputs)
    [pairs] = fitted
    assert len(pairs) == 3 * mine.config.pretraining.num_pairs
    assert pairs.members.shape[2] == 80
    assert not pairs.members[:12, :, 60:].any()
    assert np.array_equal(pairs.members[:12, :, :60], np.concatenate(mine.plan.pretraining))
    ends = next(members for members, what in asked if what == "growing sets")
    assert ends.sum(axis=1).tolist() == [60, 80]
    assert mine.learner._ot_unit == unit
    assert not torch.equal(mine.weights(), before)
    assert [row["stage"] for row in mine.tracker.rows][-1] == "pretraining 3"
