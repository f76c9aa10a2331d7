import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from rambo.errors import FitCollapsed
from rambo.sections import Switches, UtilityModel
from rambo.utility import bilevel
from rambo.utility.bilevel import fit_utility_model
from rambo.utility.deep_sets import SetUtilityModel
from rambo.utility.hypergradients import HYPERGRADIENTS, reverse_mode
from rambo.utility.pairs import UtilityPairs, draw_pairs


@pytest.fixture(autouse=True)
def one_thread():
    """Fits this small lose by a second thread, and where cores are shared they lose up to tenfold."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def make_case(k=40, num_pairs=24, seed=0, settings=None, switches=None, signal=True):
    """Images of 4 classes; the utility of a set is its size and how evenly it holds the classes, or noise."""
    generator = np.random.default_rng(seed)
    labels = np.arange(k) % 4
    prototypes = generator.normal(size=(4, 1, 8, 8))
    images = torch.from_numpy((prototypes[labels] + 0.3 * generator.normal(size=(k, 1, 8, 8))).astype(np.float32))
    members = draw_pairs(np.arange(k), num_pairs, generator, num_seed_labels=k, num_classes=4)
    shares = np.stack([members[:, :, labels == c].sum(-1) for c in range(4)], axis=-1) / members.sum(-1)[..., None]
    evenness = 1 - shares.std(axis=-1)
    utility = evenness + members.sum(-1) / k if signal else generator.random(members.shape[:2])
    pairs = UtilityPairs(members, utility, 1 + 0.1 * generator.normal(size=utility.shape))
    model = SetUtilityModel((1, 8, 8), settings or UtilityModel(), switches or Switches(), seed)
    return model, images, pairs


def test_a_one_level_fit_orders_its_own_pairs():
    model, images, pairs = make_case(settings=UtilityModel(dropout=0.0))
    result = fit_utility_model(model, images, pairs, seed=0, bilevel=False)
    scores = model.score_sets(model.image_features(images), torch.from_numpy(pairs.members).flatten(0, 1)).view(-1, 2)
    predicted, true = (np.sign(values[:, 0] - values[:, 1]) for values in (scores.numpy(), pairs.utility))
    assert (predicted == true)[true != 0].mean() >= 0.95
    assert result.inner_losses[-1] < 0.3 * result.inner_losses[0]
    assert (len(result.inner_losses), len(result.outer_losses), result.state) == (200, 0, None)


def test_bilevel_really_acts_where_a_fit_overfits():
    """Noise on short pairs, signal on long ones: Ω must grow, and E end below that of the same fit with λ held."""
    losses = {}
    for rate in (0.3, 1e-9):
        settings = UtilityModel(dropout=0.0, outer_learning_rate=rate)
        model, images, pairs = make_case(num_pairs=40, settings=settings)
        noisy = pairs.utility.copy()
        noisy[np.argsort(pairs.sizes, kind="stable")[:20]] = np.random.default_rng(1).random((20, 2))
        result = fit_utility_model(model, images, UtilityPairs(pairs.members, noisy, pairs.ot), seed=0, bilevel=True)
        losses[rate] = result.outer_losses
        moved = np.abs(result.log_penalties[-1] - bilevel.FIRST_LOG_PENALTY).max()
        assert moved >= 1 if rate == 0.3 else moved < 1e-6
        assert result.num_skipped == 0
    assert losses[0.3][-1] < 0.9 * losses[1e-9][-1]
    assert losses[0.3][-1] < 0.9 * losses[0.3].max()


@pytest.mark.long
@pytest.mark.parametrize("ranknet", [True, False])
@pytest.mark.parametrize("method", ["reverse", "cg"])
def test_labels_without_signal_skip_nothing_and_kill_nothing(method, ranknet):
    """Eq. 4 can label at random; eight fits in a row are the longest pretraining there is."""
    settings = UtilityModel(hypergradient=method, num_outer_steps=10)
    model, images, pairs = make_case(settings=settings, switches=Switches(ranknet=ranknet), signal=False)
    state = None
    for number in range(8):
        result = fit_utility_model(model, images, pairs, seed=number, bilevel=True, state=state)
        state = result.state
        assert result.num_skipped == 0
        assert np.isfinite(result.inner_losses).all()
    bound = math.log(0.1 / (0.02 * 100))
    assert result.log_penalties.max() <= bound + 1e-6


def test_penalties_carry_over():
    settings = UtilityModel(num_outer_steps=3, num_inner_steps=3)
    model, images, pairs = make_case(settings=settings)
    first = fit_utility_model(model, images, pairs, seed=0, bilevel=True)
    second = fit_utility_model(model, images, pairs, seed=1, bilevel=True, state=first.state)
    moved = np.abs(second.log_penalties[0] - first.log_penalties[-1]).max()
    assert 0 < moved <= settings.outer_learning_rate + 1e-6


def test_a_hypergradient_that_is_not_finite_is_skipped_and_counted(monkeypatch):
    def broken(problem, weights, velocity, hyper, descent):
        step = reverse_mode(problem, weights, velocity, hyper, descent)
        broken.calls += 1
        return replace(step, hypergradient=step.hypergradient * float("nan")) if broken.calls == 2 else step

    broken.calls = 0
    monkeypatch.setitem(HYPERGRADIENTS, "reverse", broken)
    model, images, pairs = make_case(settings=UtilityModel(num_outer_steps=3, num_inner_steps=3))
    result = fit_utility_model(model, images, pairs, seed=0, bilevel=True)
    assert result.num_skipped == 1
    assert np.array_equal(result.log_penalties[0], result.log_penalties[1])
    assert not np.array_equal(result.log_penalties[1], result.log_penalties[2])


@pytest.mark.parametrize("level", [True, False])
def test_a_fit_that_ends_with_equal_scores_is_an_error(level):
    model, images, pairs = make_case(settings=UtilityModel(num_outer_steps=1, num_inner_steps=1))
    with torch.no_grad():
        for parameter in model.extractor.parameters():
            parameter.zero_()
    with pytest.raises(FitCollapsed, match="must differ within most of its 24 pairs"):
        fit_utility_model(model, images, pairs, seed=0, bilevel=level)


def test_copies_of_one_image_are_not_blamed_on_the_settings():
    """A smaller learning rate, the usual advice, would tell no two sets of them apart."""
    model, images, pairs = make_case(settings=UtilityModel(num_outer_steps=1, num_inner_steps=1))
    with pytest.raises(FitCollapsed, match="in both sets of each; no setting of utility_model helps"):
        fit_utility_model(model, images[:1].expand_as(images).clone(), pairs, seed=0, bilevel=True)


def test_pairs_of_copies_do_not_make_a_fit_collapse():
    """Sets of the same black frames tie whatever û has learned; it is judged by the pairs that it can order."""
    model, images, pairs = make_case(settings=UtilityModel(num_outer_steps=1, num_inner_steps=1))
    images[:-1] = 0
    shown = pairs.members[:, :, -1]
    alike = shown[:, 0] == shown[:, 1]
    kept = np.flatnonzero(alike)[:5].tolist() + np.flatnonzero(~alike)[:3].tolist()
    pairs = UtilityPairs(pairs.members[kept], pairs.utility[kept], pairs.ot[kept])
    result = fit_utility_model(model, images, pairs, seed=0, bilevel=True)
    assert result.num_skipped == 0
    assert np.isfinite(result.inner_losses).all()


@pytest.mark.parametrize(("level", "rate"), [pytest.param(True, 1.0, marks=pytest.mark.long), (False, 0.03)])
def test_a_fit_whose_steps_are_too_long_begins_anew_with_shorter_ones(level, rate, monkeypatch):
    def fit():
        settings = UtilityModel(num_outer_steps=10, learning_rate=rate, inner_learning_rate=rate)
        model, images, pairs = make_case(settings=settings)
        return fit_utility_model(model, images, pairs, seed=0, bilevel=level), model

    result, model = fit()
    assert 1 <= result.num_repeats <= bilevel.REPEATS
    assert len(result.inner_losses) == 100, "those of the last time"
    assert torch.equal(fit()[1].heads["rank"][-1].weight, model.heads["rank"][-1].weight)
    monkeypatch.setattr(bilevel, "REPEATS", 0)
    with pytest.raises(FitCollapsed):
        fit()


@pytest.mark.parametrize("level", [True, False])
def test_the_same_seed_gives_the_same_weights_bit_for_bit(level):
    fitted = []
    for seed in (5, 5, 6):
        model, images, pairs = make_case(settings=UtilityModel(num_outer_steps=3, num_inner_steps=3))
        fit_utility_model(model, images, pairs, seed=seed, bilevel=level)
        fitted.append(torch.cat([value.flatten() for value in model.state_dict().values()]))
    assert torch.equal(fitted[0], fitted[1])
    assert not torch.equal(fitted[0], fitted[2])


def test_progress_is_told():
    seen = []
    model, images, pairs = make_case(settings=UtilityModel(num_outer_steps=3, num_inner_steps=2))
    fit_utility_model(model, images, pairs, seed=0, bilevel=True, on_step=seen.append)
    assert [(step.step, step.num_steps) for step in seen] == [(1, 3), (2, 3), (3, 3)]


def learned(settings, **options):
    """The weights that a fit ends with, flat."""
    model, images, pairs = make_case(settings=settings)
    fit_utility_model(model, images, pairs, seed=3, **options)
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


STILL = {"num_outer_steps": 4, "num_inner_steps": 5, "outer_learning_rate": 1e-12}


def test_sgd_on_the_half_is_a_bilevel_fit_whose_penalties_vanish():
    """The steps, their batches, their noise and their bound are those of the inner problem; Ω at λ = −12 is nothing."""
    nothing = bilevel.FitState((bilevel.LEAST_LOG_PENALTY,) * 10)
    inner = learned(UtilityModel(**STILL), bilevel=True, state=nothing)
    alone = learned(UtilityModel(**STILL), bilevel=False, one_level="sgd_half")
    assert torch.allclose(inner, alone, atol=1e-5)
    adam = learned(UtilityModel(**STILL), bilevel=False)
    assert not torch.allclose(adam, alone, atol=1e-3)


def test_penalised_adam_shrinks_weights():
    settings = UtilityModel(dropout=0.0)
    plain, penalised = (learned(settings, bilevel=False, one_level=one) for one in ("adam", "adam_penalised"))
    assert penalised.norm() < plain.norm()


@pytest.mark.parametrize(("cap", "bound"), [("fit", math.log(0.1 / (0.02 * 12))), ("wide", bilevel.WIDE_LOG_PENALTY)])
def test_penalties_rise_to_their_cap_and_no_further(monkeypatch, cap, bound):
    def upwards(problem, weights, velocity, hyper, descent):
        step = reverse_mode(problem, weights, velocity, hyper, descent)
        return replace(step, hypergradient=-torch.ones_like(hyper))

    monkeypatch.setitem(HYPERGRADIENTS, "reverse", upwards)
    settings = UtilityModel(penalty_cap=cap, num_outer_steps=3, num_inner_steps=4, outer_learning_rate=9.0)
    model, images, pairs = make_case(settings=settings)
    result = fit_utility_model(model, images, pairs, seed=0, bilevel=True)
    assert result.log_penalties[-1] == pytest.approx([bound] * 10, abs=1e-6)


def test_gradients_are_shortened_to_the_bound_and_left_alone_without_one():
    start = torch.cat([parameter.detach().flatten() for parameter in make_case()[0].parameters()])
    moved = {}
    for norm in (0.01, math.inf):
        moved[norm] = (learned(UtilityModel(**STILL, inner_gradient_norm=norm), bilevel=True) - start).norm()
    assert moved[0.01] < 0.02 * 0.01 * 20 / (1 - 0.9), "the length of 20 steps with momentum .9 at most"
    assert moved[math.inf] > 3 * moved[0.01]
