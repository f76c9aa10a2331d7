"""Luck in tuning: two searches a cell, made up so that what they differ by is known."""

from dataclasses import replace

import numpy as np
import pytest
from gaining_studies import rows
from scipy import stats

from ablations.effects import contrasts
from ablations.factors import switches
from ablations.luck import given, luck_of, luck_sentences, num_searches, widened, widened_cell, widened_effects
from ablations.report import render
from ablations.statistics import analyse

SEARCHES = [{"acquisition.batch_size": 25}, {"acquisition.batch_size": 100}]


@pytest.fixture(scope="module")
def retuned(make_study, make_outcome):
    """A retuned study whose cell, search and seed reached `accuracy(cell, search, seed)`; its controls read nothing."""

    def make(accuracy, *, num_factors=2, seeds=range(6), controls=("random",)):
        factors = switches()[:num_factors]
        fixed = make_study(lambda cell, seed: 0.9 + 0.001 * seed, factors=factors, seeds=seeds, controls=controls)
        grid = fixed.grid.tuned({cell.name: SEARCHES for cell in fixed.grid.studied})
        outcomes = dict(fixed.outcomes)
        for cell in grid.studied:
            for variant in cell.variants:
                for seed in seeds:
                    value = accuracy(cell, variant.search, seed)
                    outcomes[variant.name, seed] = make_outcome(round(float(value), 6))
        return replace(fixed, grid=grid, outcomes=outcomes, fixed=fixed)

    return make


def drawn(generator, luck=0.0, effect=0.0, noise=0.004):
    """Accuracies with normal luck, and an effect of the first component; what a seed does to all cells is common."""
    lucks, seeds = {}, generator.normal(0, 0.01, 100)

    def accuracy(cell, search, seed):
        at = lucks.setdefault((cell.name, search), generator.normal(0, luck) if luck else 0.0)
        on = bool(cell.level("switches.bilevel"))
        return 0.93 + effect * on + at + seeds[seed] + generator.normal(0, noise)

    return accuracy


def test_the_layout_is_searches_within_cells(retuned):
    study = retuned(drawn(np.random.default_rng(0), luck=0.01))
    luck = luck_of(study, "test_accuracy")
    assert (luck.num_groups, luck.num_rows, luck.num_columns) == (4, 2, 6)
    differences = [
        np.array([study.outcomes[cell.variants[0].name, s].test_accuracy for s in range(6)])
        - np.array([study.outcomes[cell.variants[1].name, s].test_accuracy for s in range(6)])
        for cell in study.grid.studied
    ]  # two searches: all is in their difference
    assert luck.rows == pytest.approx(np.mean([6 * d.mean() ** 2 / 2 for d in differences]))
    assert luck.residual == pytest.approx(np.mean([d.var(ddof=1) / 2 for d in differences]))


def test_a_seed_that_lacks_a_search_is_left_out(retuned):
    study = retuned(drawn(np.random.default_rng(0)))
    gone = (study.grid.studied[0].variants[1].name, 3)
    holed = replace(study, outcomes={key: one for key, one in study.outcomes.items() if key != gone})
    assert luck_of(holed, "test_accuracy").num_columns == 5


def test_an_effect_holds_the_luck_of_the_cells_that_are_searched(retuned):
    study = retuned(drawn(np.random.default_rng(0)))
    assert [one.tuned_squares for one in contrasts(study)] == [1.0, 1.0, 4.0], "Σ w²: 4 · (1/2)² and 4 · 1²"
    [full] = analyse(study).controls
    assert full.tuned_squares == 1.0, "random reads nothing of what was found"


def test_errors_with_luck_are_the_seeds_error_and_that_of_searches(retuned):
    study = retuned(drawn(np.random.default_rng(2), luck=0.02))
    luck, cell = luck_of(study, "test_accuracy"), study.grid.studied[0]
    values = np.array(list(study.accuracies(cell).values()))
    found = widened_cell(study, cell, "test_accuracy", luck)
    variance = values.var(ddof=1) / 6 + (luck.rows - luck.residual) / 6 / 2
    assert found.se == pytest.approx(np.sqrt(variance))
    assert found.mean == pytest.approx(values.mean())
    half = stats.t.ppf(0.975, found.freedom) * found.se
    assert (found.low, found.high) == (pytest.approx(found.mean - half), pytest.approx(found.mean + half))
    plain = widened_cell(study, study.grid.controls[0], "test_accuracy", luck)
    own = np.array(list(study.accuracies(study.grid.controls[0]).values()))
    assert plain.se == pytest.approx(own.std(ddof=1) / np.sqrt(6)), "a control that no search has moved"


def test_what_only_luck_made_is_found_by_seeds_alone_and_not_with_luck(retuned):
    """Nothing differs but by luck in tuning; the size of both tests of the first component."""
    generator, given_settings, with_luck = np.random.default_rng(7), [], []
    for _ in range(200):
        study = retuned(drawn(generator, luck=0.006))
        on, off = ([c for c in study.grid.studied if c.level("switches.bilevel") is level] for level in (True, False))
        sides = [np.mean([list(study.accuracies(cell).values()) for cell in cells], axis=0) for cells in (on, off)]
        values = sides[0] - sides[1]
        given_settings.append(stats.ttest_1samp(values, 0).pvalue < 0.05)
        with_luck.append(widened(list(values), 1.0, luck_of(study, "test_accuracy")).p < 0.05)
    assert np.mean(given_settings) > 0.25
    assert np.mean(with_luck) <= 0.09


def test_an_effect_beyond_luck_is_found(retuned):
    study = retuned(drawn(np.random.default_rng(3), luck=0.003, effect=0.05))
    text = " ".join(luck_sentences(analyse(study)))
    assert "Shown to differ from nothing: bilevel" in text
    assert "From one search to another a cell's mean is estimated to move by a standard deviation of" in text
    assert "2 searches in each of 4 cells, 6 seeds" in text


def test_no_luck_is_called_so_and_what_cannot_be_told_is_a_sentence(retuned):
    alike = retuned(lambda cell, search, seed: 0.9 + 0.001 * (seed if search == 1 else 5 - seed))
    assert luck_of(alike, "test_accuracy").sd == 0
    sentence, *_ = luck_sentences(analyse(alike))
    assert sentence.startswith("No luck in tuning shows: searches of a cell differ no more than trainings make them")
    for study in (
        retuned(lambda cell, search, seed: 0.9),
        retuned(lambda cell, search, seed: 0.9 + 0.01 * search + 0.001 * seed),
        retuned(drawn(np.random.default_rng(0)), seeds=range(1)),
    ):
        assert luck_of(study, "test_accuracy") is None
        [sentence] = luck_sentences(analyse(study))
        assert sentence.startswith("What luck in tuning adds cannot be told")


def test_luck_never_makes_an_interval_narrower_nor_a_p_smaller(retuned):
    generator = np.random.default_rng(8)
    luck = luck_of(retuned(drawn(generator, luck=0.003), seeds=range(3)), "test_accuracy")
    for _ in range(50):
        values = generator.normal(0.01, 0.05, 3)
        found = widened(list(values), 1.0, luck)
        alone = stats.ttest_1samp(values, 0)
        assert found.p >= alone.pvalue - 1e-12
        low, high = alone.confidence_interval()
        assert found.low <= low + 1e-12
        assert found.high >= high - 1e-12
    equal = widened([0.01, 0.01, 0.01], 1.0, luck)
    assert equal is not None
    assert 0 < equal.p < 1


def test_one_value_and_equal_values_have_no_error(retuned):
    luck = luck_of(retuned(drawn(np.random.default_rng(0))), "test_accuracy")
    assert widened([0.9], 1.0, luck) is None
    assert widened([0.9, 0.9, 0.9], 0.0, luck) is None
    assert widened_effects([], luck) == []


def test_every_file_says_what_it_is_given_and_what_other_searches_add(retuned):
    study = retuned(drawn(np.random.default_rng(5), luck=0.01))
    assert num_searches(study) == 2
    assert given(study) == "given the settings of 2 searches each"
    assert given(study.fixed) == ""
    files = render(study)
    assert files == render(study)
    kept = rows(files["luck.csv"])
    assert {row["metric"] for row in kept} == {"test_accuracy", "val_accuracy"}
    luck = luck_of(study, "test_accuracy")
    cell = study.grid.studied[0]
    own = widened_cell(study, cell, "test_accuracy", luck)
    [row] = [one for one in kept if one["name"] == cell.name and one["metric"] == "test_accuracy"]
    assert float(row["se"]) == pytest.approx(own.se)
    both = files["both.md"].decode()
    assert f"| ± {100 * own.se:.2f} |" in both
    assert "b=25; b=100" in both
    assert "retuned, with luck in tuning" in both
    assert "given the settings of 2 searches each" in files["table.md"].decode()
    assert len(rows(files["trials.csv"])) == (4 * 2 + 1) * 6
    assert len(rows(files["table.csv"])) == 5
    untold = render(retuned(lambda cell, search, seed: 0.9))
    assert rows(untold["luck.csv"]) == []
    assert "| none |" in untold["both.md"].decode()
