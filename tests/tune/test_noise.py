"""Whether settings differ more than noise: in words, with how often it errs and finds."""

from dataclasses import replace

import numpy as np
import pytest
from made_searches import plan

from tune.halving import goes_on
from tune.noise import noise_text, settings_layout
from tune.records import Attempt, SeedOutcome


def trials(table, states=None):
    """A trial a row, an accuracy a seed; what was stopped keeps its first."""
    found = []
    for number, row in enumerate(table):
        state = "COMPLETE" if states is None else states[number]
        outcomes = tuple(SeedOutcome(float(value), 0.5) for value in (row if state == "COMPLETE" else row[:1]))
        found.append(Attempt(number, state, {}, (f"{number}/0", f"{number}/1"), outcomes))
    return found


@pytest.fixture
def three(tiny):
    return replace(plan(tiny), seeds=(0, 1, 2))


def test_differences_that_are_noise_are_called_so_with_what_could_have_been_found(three):
    table = np.random.default_rng(1).normal(0.93, 0.006, (24, 3)) + np.array([0, 0.01, -0.01])
    found = settings_layout(three, trials(table))
    assert (found.df_rows, found.df_residual) == (23, 46)
    assert noise_text(three, trials(table)) == (
        "Settings are not shown to differ more than seeds and trainings make them differ: F(23, 46) = "
        f"{found.f:.2f}, p = {found.p:.3f}. ".replace("= 0.", "= .")
        + "That is of the 24 that ran all of 3 seeds. "
        "With 80 % power it finds a standard deviation between settings of "
        f"{100 * found.detectable_sd():.2f} points.".replace("of 0.", "of .")
    )


def test_a_difference_is_called_so_and_what_was_stopped_is_left_out_and_named(three):
    table = np.random.default_rng(1).normal(0.9, 0.002, (12, 3)) + np.linspace(0, 0.05, 12)[:, None]
    states = ["PRUNED"] * 4 + ["COMPLETE"] * 8
    text = noise_text(three, trials(table, states))
    assert text.startswith("Settings differ more than seeds and trainings make them differ: F(7, 14) = ")
    assert "p < .001. That is of the 8 that ran all of 3 seeds; 4 that were stopped, being worse at the first," in text
    assert settings_layout(three, trials(table, states)) == settings_layout(three, trials(table[4:]))


def test_a_setting_that_was_tried_again_counts_once(three):
    made = trials(np.random.default_rng(2).normal(0.9, 0.01, (5, 3)))
    again = [replace(one, number=one.number + 5) for one in made]
    assert settings_layout(three, [*made, *again]) == settings_layout(three, made)


@pytest.mark.parametrize(
    ("table", "reason"),
    [
        (np.zeros((0, 3)), "it takes two settings that ran all seeds, and there are none"),
        (np.array([[0.9, 0.8, 0.7]]), "it takes two settings that ran all seeds, and there is one"),
        (np.full((4, 3), 0.9), "accuracies do not vary beside what settings and seeds make of them"),
        (np.array([[0.9, 0.8, 0.7], [0.8, 0.7, 0.6]]), "accuracies do not vary beside"),
    ],
)
def test_what_cannot_be_tested_is_a_sentence_without_a_number(three, table, reason):
    text = noise_text(three, trials(table))
    assert text.startswith(f"Whether settings differ more than noise cannot be tested: {reason}")
    assert not any(letter.isdigit() for letter in text)


def test_one_seed_tells_nothing(three):
    one = replace(three, seeds=(0,))
    assert "it takes two seeds" in noise_text(one, trials(np.array([[0.9], [0.8]])))


def halved(generator, luck, count=30):
    """Of a search that halves over three seeds, what its trials gave; settings differ by `luck`, noise is 1."""
    columns, seen, states = generator.normal(size=3), [[], [], []], []
    table = columns + luck * generator.normal(size=(count, 1)) + generator.normal(size=(count, 3))
    for row in table:
        for place in range(3):
            mean = row[: place + 1].mean()
            stops = place < 2 and not goes_on(mean, seen[place])
            seen[place].append(mean)
            if stops:
                break
        states.append("PRUNED" if stops else "COMPLETE")
    return trials(table, states)


def test_halving_makes_it_no_bolder_and_real_differences_are_found(three):
    generator = np.random.default_rng(4)
    null = [settings_layout(three, halved(generator, 0.0)).p < 0.05 for _ in range(300)]
    real = [settings_layout(three, halved(generator, 2.0)).p < 0.05 for _ in range(60)]
    assert np.mean(null) <= 0.06
    assert np.mean(real) >= 0.8


def test_it_errs_in_a_twentieth_where_nothing_is_stopped(three):
    generator = np.random.default_rng(5)
    tables = (generator.normal(size=(8, 3)) + generator.normal(size=3) for _ in range(600))
    errs = np.mean([settings_layout(three, trials(table)).p < 0.05 for table in tables])
    assert 0.03 <= errs <= 0.07
