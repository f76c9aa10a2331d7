from collections.abc import Sequence
from dataclasses import replace

import pytest

from ablations.factors import Design, Grid, make_grid, parse_factor, switches
from ablations.names import short_names
from rambo.presets import quickstart


def _grid(*factors: str, controls: Sequence[str] = (), design: Design = "factorial") -> Grid:
    parsed = [parse_factor(text) for text in factors]
    return make_grid(quickstart(), parsed, controls=controls, seeds=[0], design=design)


def test_the_cells_of_the_components_are_called_by_what_differs() -> None:
    grid = make_grid(quickstart(), switches(), controls=["random", "margin"], seeds=[0], design="factorial")
    assert short_names(grid) == {
        "bilevel=on OT=on RankNet=on": "all on",
        "bilevel=on OT=on RankNet=off": "no RankNet",
        "bilevel=on OT=off RankNet=on": "no OT",
        "bilevel=on OT=off RankNet=off": "bilevel only",
        "bilevel=off OT=on RankNet=on": "no bilevel",
        "bilevel=off OT=on RankNet=off": "OT only",
        "bilevel=off OT=off RankNet=on": "RankNet only",
        "bilevel=off OT=off RankNet=off": "all off",
        "random": "random",
        "margin": "margin",
    }


@pytest.mark.parametrize(
    ("factors", "expected"),
    [
        (["switches.ot"], ["OT", "no OT"]),
        (["switches.ot", "acquisition.budget=50,100"], ["OT, B=50", "OT, B=100", "no OT, B=50", "no OT, B=100"]),
        (["strategy=rambo,badge"], ["rambo", "badge"]),
        ([], ["base"]),
    ],
)
def test_other_levels_follow_and_a_strategy_is_its_name(factors: list[str], expected: list[str]) -> None:
    assert list(short_names(_grid(*factors)).values()) == expected


def test_a_control_keeps_the_levels_that_matter_to_it() -> None:
    grid = _grid("switches.ot", "acquisition.budget=50,100", controls=["random"])
    assert list(short_names(grid).values())[-2:] == ["random, B=50", "random, B=100"]


def test_one_at_a_time_only_what_was_changed_is_said() -> None:
    grid = _grid("switches.bilevel", "acquisition.candidate_batches=5,2", design="one-at-a-time")
    base, *others = short_names(grid).values()
    assert base == "base"
    assert "no bilevel" in others
    assert all("," not in name for name in others)


def test_each_search_of_a_cell_has_a_name_of_its_own() -> None:
    grid = _grid("switches.ot")
    cells = (replace(grid.cells[0], again=((("utility_model.lambda_1", 1.0),),)), *grid.cells[1:])
    assert list(short_names(replace(grid, cells=cells)).values()) == ["OT", "OT, search 2", "no OT"]
