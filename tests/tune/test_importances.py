"""What matters is found, what does not looks like its null, and a setting that was tried again counts once."""

import math
import random
import warnings
from dataclasses import replace

import numpy as np
import optuna
import pytest
from made_searches import RATE, SPACE, attempts, plan

from rambo.randomness import numpy_generator
from tune import importances as module
from tune.importances import importance_text, importances
from tune.records import OFFSET_LAMBDA, OFFSET_PENALTY, OT, Attempt, SeedOutcome
from tune.space import BATCH, LAMBDA_OT, LAMBDAS, Choice, Range, Space

TWO = Space({RATE: Range(1e-4, 1e-2, log=True), BATCH: Choice((10, 20))})


@pytest.fixture
def few(monkeypatch):
    """So few permutations that only the largest share of all is beyond the 95th percentile."""
    monkeypatch.setattr(module, "PERMUTATIONS", 19)


def searched(accuracy, count=40, seed=0):
    """Trials that nobody ran, at random settings of TWO, each with its own folder."""
    rng = random.Random(seed)
    found = []
    for number in range(count):
        fields = {RATE: 10 ** rng.uniform(-4, -2), BATCH: rng.choice([10, 20])}
        value = accuracy(fields, rng)
        found.append(Attempt(number, "COMPLETE", fields, (f"{number}/0",), (SeedOutcome(value, 0.5),)))
    return found


def peaked(fields, rng):
    """Best at a rate of 1e-3, whatever b is."""
    return 0.9 - 0.1 * abs(math.log10(fields[RATE]) + 3) + rng.gauss(0, 0.001)


def noise(fields, rng):
    return rng.gauss(0.9, 0.01)


def test_what_matters_exceeds_its_null_and_what_does_not_is_told_in_words(tiny):
    rate, batch = importances(plan(tiny, TWO), searched(peaked))
    assert (rate.coordinate, batch.coordinate) == (RATE, BATCH)
    assert rate.share + batch.share == pytest.approx(1)
    assert rate.exceeds
    assert rate.share > rate.null_high > rate.null_mean
    assert not batch.exceeds
    text = importance_text(plan(tiny, TWO), searched(peaked))
    assert f"{RATE} exceeds its null, the 95th percentile; {BATCH} does not." in text
    row = next(line for line in text.splitlines() if line.startswith(f"| {RATE}"))
    assert row.endswith(f"| {rate.text} |")
    assert rate.text == f"{rate.share:.2f} ({rate.null_mean:.2f}, {rate.null_high:.2f}; p = .005)".replace("0.", ".")


def test_noise_is_called_so(tiny):
    text = importance_text(plan(tiny, TWO), searched(noise))
    assert "None exceeds its null, the 95th percentile: no coordinate is shown to matter." in text


def built_anew(made, search, values):
    """PED-ANOVA of a study with one complete trial a setting, as anybody would make it."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(direction="maximize")
    rates = [one.fields[RATE] for one in made]
    distributions = {
        RATE: optuna.distributions.FloatDistribution(min(rates), max(rates), log=True),
        BATCH: optuna.distributions.CategoricalDistribution([10, 20]),
    }
    for one, value in zip(made, values, strict=True):
        params = search.coordinates(one)
        study.add_trial(optuna.create_trial(params=params, distributions=distributions, value=float(value)))
    evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=5 / len(made))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return optuna.importance.get_param_importances(study, evaluator=evaluator, normalize=False)


def test_shares_and_null_are_those_of_studies_that_are_built_anew(tiny, few):
    search, made = plan(tiny, TWO), searched(noise, 25)
    values, generator = np.array([one.val_accuracy for one in made]), numpy_generator(0, "importances", "permutations")
    observed = built_anew(made, search, values)
    total = sum(observed.values())
    null = [built_anew(made, search, generator.permutation(values)) for _ in range(19)]
    for one in importances(search, made):
        shares = [found[one.coordinate] / total for found in null]
        assert one.share == pytest.approx(observed[one.coordinate] / total)
        assert one.null_mean == pytest.approx(np.mean(shares))
        assert one.null_high == pytest.approx(max(shares))
        assert one.p == (1 + sum(share >= one.share - 1e-9 for share in shares)) / 20


def test_noise_exceeds_its_null_in_a_twentieth_of_searches(tiny, few):
    found = [importances(plan(tiny, TWO), searched(noise, 15, seed)) for seed in range(80)]
    exceeding = np.mean([[one.exceeds for one in ones] for ones in found])
    assert 0.005 <= exceeding <= 0.1


def test_a_setting_that_was_tried_again_counts_once(tiny, few):
    made = searched(peaked)
    best = max(made, key=lambda one: one.val_accuracy)
    again = [replace(best, number=40 + n) for n in range(10)]
    assert importances(plan(tiny, TWO), [*made, *again]) == importances(plan(tiny, TWO), made)
    apart = [replace(one, folders=(f"{one.number}/0",)) for one in again]
    assert importances(plan(tiny, TWO), [*made, *apart]) != importances(plan(tiny, TWO), made)


def test_stopped_settings_stand_below_all_others(tiny, few):
    made = searched(noise)
    low = [replace(one, state="PRUNED") if one.fields[RATE] < 1e-3 else one for one in made]
    rate, _ = importances(plan(tiny, TWO), low)
    assert rate.coordinate == RATE
    assert rate.exceeds, "the best all lie where none was stopped"


def test_coordinates_are_those_that_can_be_told_apart(tiny, few):
    found = importances(plan(tiny), attempts())
    assert {one.coordinate for one in found} == {OT, OFFSET_LAMBDA, OFFSET_PENALTY, BATCH}


def test_where_there_is_nothing_to_tell_a_sentence_says_so(tiny, few):
    constant, alone = searched(lambda fields, rng: 0.9), searched(noise, 9)
    still = [replace(one, fields={RATE: 1e-3, BATCH: 10}) for one in searched(noise)]
    stopped = [replace(one, state="PRUNED" if one.number % 3 else "COMPLETE") for one in constant]
    rounded = searched(lambda fields, rng: 0.9 + 2e-16 * rng.randrange(2))
    for made, count in ((constant, 40), (stopped, 40), (rounded, 40), (alone, 9), (still, 40), ([], 0)):
        assert importances(plan(tiny, TWO), made) == []
        assert f"with {count} there are none" in importance_text(plan(tiny, TWO), made)


def test_a_coordinate_that_does_not_vary_has_no_importance(tiny, few):
    made = [replace(one, fields={**one.fields, BATCH: 10}) for one in searched(peaked)]
    assert [one.coordinate for one in importances(plan(tiny, TWO), made)] == [RATE]
    assert f"Nothing can be said of what does not vary: {BATCH}." in importance_text(plan(tiny, TWO), made)
    with_ot = Space({name: one for name, one in SPACE.dimensions.items() if name in (LAMBDA_OT, LAMBDAS[0])})
    on = [one for one in attempts(60) if one.fields[LAMBDA_OT]]
    assert OT not in {one.coordinate for one in importances(plan(tiny, with_ot), on)}
