"""Short names of cells: they begin with what differs, and tell cells apart."""

import pytest

from ablations.factors import make_grid, parse_factor, switches
from ablations.naming import short_names
from rambo.presets import paper_mnist


def names(*factors, design="factorial", controls=("random",)):
    grid = make_grid(
        paper_mnist(), [*map(parse_factor, factors)] or switches(), controls=controls, seeds=(0,), design=design
    )
    found = short_names(grid)
    assert list(found) == [cell.name for cell in grid.cells]
    assert len(set(found.values())) == len(found)
    return list(found.values())


@pytest.mark.parametrize(
    ("factors", "design", "expected"),
    [
        (
            (),
            "factorial",
            ["full", "no RankNet", "no OT", "bilevel only", "no bilevel", "OT only", "RankNet only", "none"],
        ),
        ((), "one-at-a-time", ["full", "no bilevel", "no OT", "no RankNet"]),
        (("switches.ot",), "factorial", ["OT", "no OT"]),
        (("switches.ot", "switches.ranknet"), "factorial", ["full", "OT only", "RankNet only", "none"]),
        (("acquisition.budget=250,500",), "factorial", ["B=250", "B=500"]),
        (
            ("switches.ot", "acquisition.budget=250,500"),
            "factorial",
            ["OT B=250", "OT B=500", "no OT B=250", "no OT B=500"],
        ),
        (("switches.ot", "acquisition.budget=250,500"), "one-at-a-time", ["base", "no OT", "B=250"]),
    ],
)
def test_cells_are_called_by_what_differs(factors, design, expected):
    assert names(*factors, design=design)[: len(expected)] == expected


def test_controls_keep_their_names_with_the_levels_that_matter_to_them():
    assert names("switches.ot", "acquisition.budget=250,500")[-2:] == ["random B=250", "random B=500"]
    assert names()[-1] == "random"


def test_of_four_switches_two_are_listed():
    found = names("switches.bilevel", "switches.ot", "switches.ranknet", "utility_model.centre", controls=())
    assert {"full", "none", "bilevel + OT", "RankNet only", "no OT"} <= set(found)
