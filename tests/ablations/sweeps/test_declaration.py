"""A sweep's file: what it means, and the line of what is wrong with it."""

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ablations.factors import Factor
from ablations.sweeps.declaration import check_deadline, line_of, read_text
from ablations.sweeps.kept import Kept
from rambo.errors import InvalidInput
from rambo.fields import flatten

WISH = """\
name = "spring"

[limits]
core_hours = 400.0
deadline = 2026-12-24T08:00:00Z
running = 16

[policy]
on_failure = "stop"

[[study]]
name = "mnist-strategies"
preset = "paper_mnist"
priority = 10
seeds = "0-9"
controls = ["random", "margin"]

[study.fields]
"evaluation.repeats" = 3

[study.grid]
strategy = ["rambo", "badge", "coreset"]
"acquisition.budget" = [500, 700, 900, 1000]
"data.source" = ["mnist", "npz:own.npz"]

[[study]]
name = "table4"
recipe = "table4"
seeds = "0,1"

[[study]]
name = "one"
preset = "quickstart"
seeds = "3"
[study.grid]
"switches.ot" = [true, false]
"acquisition.budget" = [50]
"""


def read(text):
    return read_text(text, "spring.toml", Path("/data"))


def test_a_file_is_a_sweep():
    sweep = read(WISH)
    assert (sweep.name, sweep.on_failure, sweep.limits.core_hours, sweep.limits.running) == ("spring", "stop", 400, 16)
    assert sweep.limits.deadline == datetime(2026, 12, 24, 8, tzinfo=UTC)
    assert [study.name for study in sweep.by_priority] == ["mnist-strategies", "table4", "one"]
    first, table4, one = (study.grid for study in sweep.studies)
    assert len(first.studied) == 3 * 4 * 2
    assert [control.control for control in first.controls].count("random") == 4 * 2
    assert first.seeds == tuple(range(10))
    assert flatten(first.base)["evaluation.repeats"] == 3
    assert Factor("data.source", ("mnist", "npz:/data/own.npz")) in first.factors
    assert [factor.name for factor in table4.factors] == ["switches.bilevel", "switches.ot", "switches.ranknet"]
    assert flatten(table4.base)["evaluation.repeats"] == 3, "the recipe's own"
    assert one.factors == (Factor("switches.ot", (False, True)),)
    assert flatten(one.base)["acquisition.budget"] == 50, "one level is no factor"


def test_a_recipe_s_factor_of_one_level_is_fixed():
    text = '[[study]]\nname="t"\nrecipe="table4"\nseeds="0"\n[study.grid]\n"switches.ot"=[true]\n'
    grid = read(f'name="s"\n{text}').studies[0].grid
    assert [factor.name for factor in grid.factors] == ["switches.bilevel", "switches.ranknet"]
    assert grid.base.switches.ot


def test_a_grid_of_one_level_each_is_one_cell_and_none_at_all_is_the_three_switches():
    head = 'name="s"\n[[study]]\nname="t"\npreset="quickstart"\nseeds="0"\ncontrols=["random"]\n'
    grid = read(f'{head}[study.grid]\nstrategy=["badge"]\n').studies[0].grid
    assert [cell.name for cell in grid.cells] == ["base", "random"]
    assert grid.base.strategy == "badge"
    assert len(read(head).studies[0].grid.cells) == 8 + 1


def test_a_deadline_of_another_zone_is_told_in_utc():
    limits = read(WISH.replace("08:00:00Z", "08:00:00+02:00")).limits
    assert f"{limits.deadline:%H:%M %Z}" == "06:00 UTC"


WRONG = {
    "the driver's name": (
        ('name = "spring"', 'name = "driver.lock"'),
        "line 1: a sweep's name must be none of driver.lock and",
    ),
    "an unknown key, and the nearest": (
        ("priority = 10", "priorty = 10"),
        r"line 14: study 1 must have keys among .*, got 'priorty'; did you mean priority\?",
    ),
    "an unknown table": (
        ("[limits]", "[limit]"),
        r"line 3: A sweep must have keys .*, got 'limit'; did you mean limits",
    ),
    "an unknown field": (
        ('"evaluation.repeats" = 3', '"evaluation.repeat" = 3'),
        r"line 19: study 1: fields must name fields of the configuration, got 'evaluation.repeat'; did you mean "
        r"evaluation.repeats\?",
    ),
    "a negative limit": (
        ("core_hours = 400.0", "core_hours = -3"),
        r"line 4: limits.core_hours must be a number of hours above 0, got -3\.",
    ),
    "a limit that is no number": (
        ("core_hours = 400.0", "core_hours = nan"),
        r"line 4: limits.core_hours must be a number of hours above 0, got 'nan'\.",
    ),
    "a time without a zone": (
        ("08:00:00Z", "08:00:00"),
        r"line 5: limits.deadline must be a time with its zone, such as 2026-12-24T08:00:00Z, got 2026-12-24 08:00:00",
    ),
    "a level of the wrong type": (
        ("[500, 700, 900, 1000]", '[500, "many"]'),
        r"line 23: acquisition.budget must be int, got 'many'\.",
    ),
    "a level twice": (("[500, 700, 900, 1000]", "[500, 500]"), r"line 23: study 1: grid acquisition.budget must be a"),
    "no such preset": (
        ('"paper_mnist"', '"paper"'),
        r"line 13: study 1: preset must be one of embeddings, paper_.*, got 'paper'\.",
    ),
    "both": (('recipe = "table4"', 'recipe = "table4"\npreset = "quickstart"'), r"line 26: the study table4 must have"),
    "no seeds": (('seeds = "0-9"\n', ""), r"line 11: study 1 must have seeds, got none; add it"),
    "seeds that are none": (('"0-9"', '"0-"'), r"line 15: Seeds must be whole numbers and ranges .*, got '0-'\."),
    "a name twice": (('name = "one"', 'name = "table4"'), r"line 32: each study must have a name of its own, got tabl"),
    "a cell that cannot be": (
        ("[500, 700, 900, 1000]", "[500, 777]"),
        r"line 12: The cell .*B=777.* cannot be: acquisition.batch_size \(b\) must divide",
    ),
    "no TOML": (("[limits]", "[limits"), r"spring.toml must be TOML, got: .*line 3"),
    "a user that is not there": (
        ("npz:own.npz", "npz:~nobody-of-that-name/own.npz"),
        r"line 24: data\.source must be a path, got ~nobody-of-that-name/own\.npz",
    ),
    "no path": (("npz:own.npz", "npz:a\\u0000b"), r"line 24: data\.source must be a path, got a.*zero byte"),
    "a number without end": (("core_hours = 400.0", f"core_hours = {'9' * 5000}"), r"spring\.toml must be TOML, got: "),
    "a time beyond all": (
        ("2026-12-24T08:00:00Z", "9999-12-31T23:00:00-05:00"),
        r"line 5: limits\.deadline must be a time with its zone",
    ),
    "a GPU and a half": (
        ("priority = 10", "gpus_per_trial = 1.5"),
        r"line 14: study 1: gpus_per_trial must be 0, a share of one, or a whole number, got 1\.5\.",
    ),
    "a control that is none": (('"margin"]', '"magin"]'), r"line 16: study 1: controls must be a list of some of "),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_named_with_its_line(name):
    (old, new), sentence = WRONG[name]
    assert old in WISH
    with pytest.raises(InvalidInput, match=r"spring\.toml(, | must be TOML).*") as caught:
        read(WISH.replace(old, new, 1))
    assert re.search(sentence, str(caught.value)), caught.value


def test_a_deadline_that_is_past_is_refused():
    sweep = read(WISH)
    check_deadline(sweep, datetime(2026, 12, 24, 7, 59, tzinfo=UTC))
    with pytest.raises(InvalidInput, match=r"limits.deadline must lie ahead, got 2026-12-24T08:00:00Z at 2026-12-24T0"):
        check_deadline(sweep, datetime(2026, 12, 24, 8, 0, 1, tzinfo=UTC))


def test_a_file_that_is_not_there_or_no_text_is_one_sentence(tmp_path):
    with pytest.raises(InvalidInput, match=r"file must be readable text, got .*none.toml \(No such file"):
        Kept.of(tmp_path / "none.toml")
    (tmp_path / "bytes.toml").write_bytes(b"name = '\xff'")
    with pytest.raises(InvalidInput, match=r"it is not in UTF-8"):
        Kept.of(tmp_path / "bytes.toml")


@pytest.mark.parametrize(
    ("place", "line"),
    [(("study", 2, "grid", "switches.ot"), 36), (("study", 0, "grid", "data.source"), 24), (("limits", "gpu"), 3)],
)
def test_lines_are_found_in_arrays_of_tables(place, line):
    assert line_of(WISH, place) == line
