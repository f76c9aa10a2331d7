"""The files of a study: the same bytes each time, complete, and honest about what is missing."""

from dataclasses import replace

import pytest
from gaining_studies import NAMES, holed, noisy, rows

from ablations.factors import parse_factor, switches
from ablations.report import render
from ablations.study import Study
from rambo import drawing
from rambo.errors import InvalidInput


def test_the_same_trials_give_the_same_bytes_in_whatever_order_they_finished(study, files):
    assert set(files) == NAMES
    reverse = Study(study.name, study.grid, dict(reversed(study.outcomes.items())), {})
    assert render(reverse) == files
    assert render(study, allow_mixed=True) == files, "nothing is mixed, so nothing is marked"


def test_another_accuracy_gives_other_tables(study, files):
    key = next(iter(study.outcomes))
    changed = {**study.outcomes, key: replace(study.outcomes[key], test_accuracy=0.5)}
    other = render(replace(study, outcomes=changed))
    assert all(other[name] != files[name] for name in NAMES)


def test_cells_that_cannot_be_compared_are_refused_or_marked_on_every_table(make_study, holed_files):
    with pytest.raises(InvalidInput, match="must have the same seeds"):
        render(make_study(holed))
    mark = "seeds 0–2, 4–9 in 1 cell"
    for name in ("table.md", "table.tex", "sentences.txt", "report.html"):
        assert mark in holed_files[name].decode(), name


def test_a_study_without_results_has_tables_that_say_so(make_study):
    empty = render(make_study(lambda cell, seed: None), allow_mixed=True)
    assert empty["table.md"].decode().count("| 0 of 10 | missing | missing |") == 12
    assert "120 of 120 trials have no result" in empty["sentences.txt"].decode()
    assert {row["status"] for row in rows(empty["trials.csv"])} == {"missing"}


def test_a_picture_that_fails_is_left_out_and_a_line_says_what_draws_it(make_study, monkeypatch, caplog):
    monkeypatch.setattr(drawing, "png", lambda figure: 1 / 0)
    found = render(make_study(noisy, factors=switches()[:1], controls=[], seeds=[0, 1]))
    assert set(found) == {name for name in NAMES if not name.startswith("figures/")}
    assert found["report.html"].decode().count("This picture could not be drawn.") == 3
    assert len(caplog.records) == 3
    assert "python -m ablations report --study study, with the same --home, draws it again." in caplog.text


def test_levels_of_any_letters_have_all_files(make_study):
    """A path in Latin-1 reaches a command as lone surrogates, which are no UTF-8."""
    factor = parse_factor("data.source=npz:caf\udce9.npz,npz:$1_$5.npz,npz:猫.npz")
    found = render(make_study(noisy, factors=[factor], controls=[], seeds=[0, 1]))
    assert set(found) == NAMES
    for name in ("table.md", "table.csv", "trials.csv", "report.html"):
        text = found[name].decode()
        assert "npz:caf\\udce9.npz" in text
        assert "npz:$1_$5.npz" in text
        assert "npz:猫.npz" in text
