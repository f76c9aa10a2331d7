"""What other test images would add, from the bits of made-up trials."""

import base64

import numpy as np
import pytest
from noisy_studies import by_name

from ablations.effects import contrasts
from ablations.images import combined_error, level_error
from ablations.report import render
from ablations.sentences import image_sentences, sentences
from ablations.statistics import analyse
from ablations.tables import cell_table
from rambo.crossed import crossed_error
from rambo.randomness import numpy_generator

IMAGES = 60


def right(cell, seed):
    """(2 trainings, images): images differ in hardness, for all cells alike."""
    hardness = numpy_generator(0, "hardness").normal(size=IMAGES)
    return hardness + numpy_generator(1, cell.name, seed).normal(size=(2, IMAGES)) > -1.5


@pytest.fixture(scope="module")
def told(make_study, make_outcome):
    def accuracy(cell, seed):
        bits = right(cell, seed)
        text = " ".join(base64.b64encode(np.packbits(row).tobytes()).decode() for row in bits)
        return make_outcome(bits.mean(), control=cell.control is not None, num_test=IMAGES, test_correct=text)

    return make_study(accuracy, seeds=range(6))


def test_a_level_s_error_is_that_of_its_trials_tables(told):
    cell = told.grid.cells[0]
    table = np.array([right(cell, seed).mean(axis=0) for seed in range(6)])
    assert level_error(told, cell) == crossed_error(table)
    assert level_error(told, cell).se > 1.5 * level_error(told, cell).se_seeds


def test_a_difference_s_error_is_that_of_the_differences(told):
    on, off = ([cell for cell in told.grid.studied if cell.level("switches.ot") is level] for level in (True, False))
    tables = np.mean(
        [[[right(cell, seed).mean(axis=0) for seed in range(6)] for cell in cells] for cells in (on, off)], axis=1
    )
    expected = crossed_error(tables[0] - tables[1])
    effect = by_name(contrasts(told))["OT"]
    assert effect.se_images == pytest.approx(expected.se)
    assert effect.estimate.se == pytest.approx(expected.se_seeds)
    assert by_name(contrasts(told, "val_accuracy"))["OT"].se_images is None


def test_nothing_is_known_where_a_trial_does_not_tell_or_others_were_judged(told, make_study, make_outcome):
    cells = told.grid.cells[:2]

    def broken(changes):
        def accuracy(cell, seed):
            kept = told.outcomes[cell.name, seed]
            changed = changes if (cell.name, seed) == (cells[1].name, 2) else {}
            values = {"num_test": kept.num_test, "test_correct": kept.test_correct, **changed}
            return make_outcome(kept.test_accuracy, control=cell.control is not None, **values)

        return make_study(accuracy, seeds=range(6))

    for changes in ({"test_correct": None, "num_test": None}, {"num_test": IMAGES - 1}, {"data": "other-0123456789ab"}):
        study = broken(changes)
        assert level_error(study, cells[0]) == level_error(told, cells[0])
        assert level_error(study, cells[1]) is None
        assert combined_error(study, cells, np.array([1.0, -1.0]), range(6)) is None
        assert by_name(contrasts(study))["OT"].se_images is None
    [said] = image_sentences(analyse(broken({"test_correct": None})))
    assert said.endswith("from these records: 71 of 72 of the trials tell which images they got right.")


def test_both_errors_are_printed_with_what_each_covers(told):
    analysis = analyse(told)
    first = level_error(told, told.grid.cells[0])
    column = cell_table(told).header.index("test %")
    assert cell_table(told).studied[0][column].endswith(f" ± {100 * first.se_seeds:.2f} ({100 * first.se:.2f})")
    said = sentences(analysis)
    assert f"for other test images too it is ± {100 * first.se:.2f} (95 % interval {100 * first.low:.2f} to" in said[0]
    [covers] = image_sentences(analysis)
    assert covers in said
    assert "± is the standard error over seeds, which share their test images" in covers
    worst = max(analysis.contrasts + analysis.controls, key=lambda effect: effect.se_images - effect.estimate.se)
    change = f"of {worst.name} the most, from {100 * worst.estimate.se:.2f} to {100 * worst.se_images:.2f} points."
    assert covers.endswith(change)
    files = render(told)
    assert b"In brackets, the standard error for other test images too." in files["table.md"]
    assert f"{first.se:.10g}" in files["table.csv"].decode().splitlines()[1]


def test_old_records_say_that_it_is_not_known(study, files):
    [said] = image_sentences(analyse(study))
    assert said.endswith("is not known from these records: none of the trials tell which images they got right.")
    assert "What other images would add is not known from these records." in files["table.md"].decode()
    assert image_sentences(analyse(study, "val_accuracy")) == []
