"""The margin of equivalence: how large a difference counts as none, why, and when that was decided.

A margin that is chosen after the results can be chosen by them. So it stands in the plan, with its reason and the day
it was set; a report by another one says that it is not the plan's.
"""

from dataclasses import dataclass

MARGIN = 0.003
"""Accuracy difference below which two settings count as equivalent: 0.3 points, the usual error in Table 1."""

USUAL = "the usual standard error in the paper's Table 1"
"""The reason for `MARGIN`, where none is given."""

NO_REASON = "no reason was given"


@dataclass(frozen=True)
class Margin:
    """As a plan holds it."""

    value: float
    """A difference of accuracy, in (0, 1)."""
    reason: str
    set_on: str
    """The day on which the study was planned, as 2026-11-30 in UTC."""
    num_finished: int
    """Trials of the plan that had a result by then."""


def reason_for(value: float, given: str | None) -> str:
    r"""The reason in one line: what was given, else what is known.

    >>> reason_for(0.003, None), reason_for(0.01, None), reason_for(0.01, "two\n  lines")
    ("the usual standard error in the paper's Table 1", 'no reason was given', 'two lines')
    """
    return " ".join((given or "").split()) or (USUAL if value == MARGIN else NO_REASON)


def margin_text(value: float, given: str | None, planned: Margin | None) -> str:
    """What the margin is, why, and whether it was set before the results; `planned` is the plan's, if it has one."""
    if planned is not None and planned.value == value:
        when = f"It was set with the plan on {planned.set_on}, {_finished(planned.num_finished)}."
        return f"The margin of equivalence is {share(value)} points ({planned.reason}). {when}"
    other = f", which has {share(planned.value)} since {planned.set_on} ({planned.reason})" if planned else ""
    said = f"The margin of equivalence is {share(value)} points ({reason_for(value, given)})."
    return f"{said} It was set with the report, not in the plan{other}."


def share(margin: float) -> str:
    """A margin in points, without needless zeros.

    >>> share(0.003)
    '0.3'
    """
    return f"{100 * margin:.6g}"


def _finished(number: int) -> str:
    if number == 0:
        return "before any of its trials had a result"
    return f"when {number} of its trials had {'a result' if number == 1 else 'results'} already"
