"""Text where there is little room: whole lines, and what to do for the rest."""

import pytest

from cluster.tracking.entries import fitted

TABLE = "\n".join(["# Study", "", "| a | b |", "|---|:-:|", *(f"| {n} | {n} |" for n in range(20)), "", "A sentence."])


@pytest.mark.parametrize("most", range(8, len(TABLE) + 2))
def test_what_is_left_out_leaves_whole_lines_and_a_pointer(most):
    text = fitted(TABLE, most, "See it.")
    assert len(text) <= most
    if most >= len(TABLE):
        assert text == TABLE
        return
    *lines, last = text.splitlines()
    assert last == "See it."
    assert set(lines) <= {*TABLE.splitlines()}
    assert ("| a | b |" in lines) == ("| 0 | 0 |" in lines), "no head without a row"


def test_one_line_that_is_too_long_leaves_the_pointer():
    assert fitted("ü" * 100, 50, "See it.") == "See it."
