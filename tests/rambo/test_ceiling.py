"""The upper bound of pair accuracy, against simulations in which the true order is known."""

from dataclasses import dataclass

import numpy as np
import pytest

from rambo.ceiling import agreement_ceiling, pooled_ceiling


@dataclass(frozen=True)
class Trial:
    pair_ceiling: float | None
    repeat_agreement: float | None = None
    num_ceiling_pairs: int | None = None


def trial(agreement, pairs=32):
    return Trial(agreement_ceiling(agreement), agreement, pairs)


def test_the_ceiling_against_a_simulation():
    """Two independent measurements that order truly with probability .8 agree in .68 of pairs."""
    generator = np.random.default_rng(0)
    first, second = generator.random((2, 200_000)) < 0.8
    assert agreement_ceiling(float((first == second).mean())) == pytest.approx(0.8, abs=0.005)
    assert agreement_ceiling(0.3) == 0.5


def test_it_is_an_upper_bound_where_pairs_differ_in_noise():
    """Half of the pairs are ordered alike by all trainings, half by chance: an oracle agrees in three quarters."""
    generator = np.random.default_rng(0)
    certain = generator.random(200_000) < 0.5
    first, second = (certain | (generator.random(len(certain)) < 0.5) for _ in "ab")
    assert first.mean() == pytest.approx(0.75, abs=0.005)
    bound = agreement_ceiling(float((first == second).mean()))
    assert bound == pytest.approx(0.5 * (1 + np.sqrt(0.5)), abs=0.005)
    assert bound > 0.85


def test_agreements_are_pooled_before_the_root_by_their_pairs():
    found = pooled_ceiling([trial(0.4, 10), trial(0.7, 30)])
    assert found.bound == pytest.approx(agreement_ceiling((10 * 0.4 + 30 * 0.7) / 40))
    assert found.bound > (0.5 + agreement_ceiling(0.7)) / 2
    assert not found.is_clipped
    alone = pooled_ceiling([trial(0.7)])
    assert (alone.bound, alone.low, alone.high) == (agreement_ceiling(0.7), None, None)
    assert pooled_ceiling([Trial(None), Trial(None)]) is None


def test_of_older_trials_the_agreement_is_worked_out_and_said_to_be_too_high():
    agreements = [0.45, 0.55, 0.65, 0.3]
    old = pooled_ceiling([Trial(agreement_ceiling(a)) for a in agreements])
    assert old.bound == pytest.approx(agreement_ceiling(np.mean(np.maximum(agreements, 0.5))))
    assert old.is_clipped
    assert old.bound > pooled_ceiling(list(map(trial, agreements))).bound
    mixed = pooled_ceiling([trial(0.45), *(Trial(agreement_ceiling(a)) for a in agreements[1:])])
    assert mixed == old, "not by two measures at once"


@pytest.mark.parametrize(("noise", "num_seeds"), [(0.8, 10), (2.0, 10), (1.0, 5)])
def test_the_interval_covers_the_bound_of_all_seeds(noise, num_seeds):
    """Seeds differ in how clear their pairs are; the truth is the bound from infinitely many of them."""
    generator = np.random.default_rng(0)

    def clarity(number, pairs):
        """m_i of each pair: what a training's order is on average, from −1 to 1."""
        return np.tanh(generator.normal(size=(number, 1, pairs)) / noise * (1 + generator.random((number, 1, 1))))

    truth = agreement_ceiling(0.5 + 0.5 * (clarity(4000, 32) ** 2).mean())
    assert truth >= 0.5 + 0.5 * np.abs(clarity(4000, 32)).mean()
    covered = 0
    for _ in range(600):
        orders = generator.random((num_seeds, 2, 32)) < (1 + clarity(num_seeds, 32)) / 2
        found = pooled_ceiling([trial(float((row[0] == row[1]).mean())) for row in orders])
        covered += found.low <= truth <= found.high
    assert 0.92 <= covered / 600 <= 0.98
