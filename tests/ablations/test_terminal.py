"""What a study prints: two tables that fit, and what they come to."""

from dataclasses import replace

import pytest
from gaining_studies import holed, noisy

from ablations.effects import Effect
from ablations.factors import parse_factor
from ablations.statistics import analyse
from ablations.terminal import LEAVING, cells, concluding, conclusion, effects, verdict
from rambo.console import Table, wrapped
from rambo.inference import Estimate


def made(mean=0.01, p_holm=1.0, p_tost_holm=1.0, se=0.001):
    found = Estimate(mean, se, mean - 0.01, mean + 0.01, p_holm, p_holm, p_tost_holm, 2)
    return Effect("level", "B: 1000 − 500", "B", (0, 1), (mean, mean), found, p_holm, p_tost_holm, 3)


@pytest.mark.parametrize(
    ("effect", "expected"),
    [
        (made(), "remains open"),
        (made(p_holm=0.01), "shown gain"),
        (made(-0.01, p_holm=0.01), "shown loss"),
        (made(p_tost_holm=0.01), "as nothing"),
        (made(-0.001, p_holm=0.01, p_tost_holm=0.01), "small loss"),
        (made(se=0.0), "all alike"),
        (replace(made(), estimate=None), "few seeds"),
    ],
)
def test_what_is_shown_of_an_effect_is_two_words(effect, expected):
    assert verdict(effect) == expected
    assert len(expected.split()) == 2


def test_every_cell_and_every_effect_is_a_row_and_no_line_is_too_long(study):
    found = analyse(study)
    for table, number in ((cells(found), len(study.grid.cells)), (effects(found), len(found.tested + found.controls))):
        assert len(table.rows) == number
        for columns in (60, 80, 120, 200):
            lines = table.text(columns).splitlines()
            assert max(map(len, lines)) <= columns
    assert "93." in cells(found).text()
    assert tuple(cells(found).within(200).header) == cells(found).header, "a wide terminal gets all"
    there = [name for name in LEAVING if name in cells(found).header]
    left_out = [name for name in there if name not in cells(found).within(80).header]
    assert left_out == there[: len(left_out)]
    assert left_out


def test_it_concludes_in_two_or_three_sentences_whatever_there_is(make_study, study):
    said = concluding(analyse(study))
    assert len(said) == 2
    assert said[0].startswith("bilevel=on OT=on RankNet=on reaches 92.")
    assert said[1].startswith("Shown to change test accuracy: bilevel +0.36; RankNet +2.06; ")
    assert said[1].endswith("; shown to be within 0.3 points of nothing: OT; the other 5 remain open.")
    few = concluding(analyse(make_study(noisy, seeds=range(2))))
    assert len(few) == 3
    assert few[1].startswith("No effect on test accuracy is shown; all ")
    assert few[2].startswith("2 seeds cannot show any difference after Holm over 7 tests: that takes ")


def test_there_is_no_markdown_and_what_is_missing_is_told(make_study):
    parts = conclusion(analyse(make_study(holed), allow_mixed=True))
    text = "\n".join(one.text() if isinstance(one, Table) else wrapped(one, 80) for one in parts)
    assert "|" not in text
    assert "Mind: this study should have the same seeds" in text
    assert "Failed: bilevel=on OT=on RankNet=on, seed 3" in text
    assert max(map(len, text.splitlines())) <= 80


def test_of_cells_that_were_retuned_both_are_shown(make_study):
    fixed = make_study(noisy, factors=[parse_factor("switches.ot")])
    parts = conclusion(analyse(replace(fixed, fixed=fixed)), analyse(fixed))
    assert [one.header[0] for one in parts if isinstance(one, Table)] == ["cell", "effect", "cell", "effect"]
    assert max(len(line) for one in parts if isinstance(one, Table) for line in one.text().splitlines()) <= 80
