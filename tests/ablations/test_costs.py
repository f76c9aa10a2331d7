"""What trials take, by stage."""

from dataclasses import replace

import pytest

from ablations.costs import cost, costs_view
from ablations.factors import Factor
from ablations.report import SOMETIMES, render

TRAINED = {
    "f on S_0": 6.0, "f on S_1": 12.0, "offline pairs": 600.0, "growing sets": 30.0, "audited pairs": 60.0,
    "held-out pairs": 999.0, "ceiling": 999.0,
}  # fmt: skip


@pytest.fixture
def timed(make_study, make_outcome):
    """RAMBO and random over two seeds; the second of random's is older than what tells its times."""

    def made(cell, seed):
        learns = dict(cell.levels)["strategy"] == "rambo"
        trained = TRAINED if learns else {name: TRAINED[name] for name in ("f on S_0", "f on S_1")}
        one = replace(make_outcome(0.9), seconds={"acquisition": 4.0 + seed, "evaluation": 99.0})
        one = replace(one, training_seconds=trained, utility_seconds=90.0 if learns else None)
        return one if learns or seed == 0 else replace(one, training_seconds=None)

    factor = Factor("strategy", ("rambo", "random"))
    return make_study(made, factors=(factor,), controls=(), seeds=range(2))


def test_a_trial_costs_what_its_method_needs_and_not_what_judges_it(timed):
    first = cost(timed.outcomes["strategy=rambo", 0])
    assert (first.offline, first.growing, first.fits, first.picking) == (600, 90, 90, 4)
    assert first.together == 6 + 600 + 90 + 90 + 4 + 12
    assert cost(timed.outcomes["strategy=random", 1]) is None
    assert cost(replace(timed.outcomes["strategy=random", 0], training_seconds={"f on S_0": 6.0})) is None


def test_a_row_has_means_over_the_seeds_that_tell(timed):
    view = costs_view(timed)
    assert view.table.studied == (
        ("strategy=rambo", "6.0", "690.0", "90.0", "4.5", "12.0", "802.5", "2"),
        ("strategy=random", "6.0", "0.0", "0.0", "4.0", "12.0", "22.0", "1"),
    )
    assert view.numbers[2] == ("strategy=random", "6", "0", "0", "4", "12", "22", 1)


def test_a_report_has_it_in_files_of_its_own_and_on_the_page(timed):
    files = render(timed)
    assert files["costs.csv"].startswith(b"cell,scorer,samples,fits,")
    assert "| strategy=rambo | 6.0 | 690.0 |" in files["costs.md"].decode()
    assert "What a trial takes, in core-seconds" in files["report.html"].decode()
    assert {"costs.md", "costs.csv"} <= SOMETIMES


def test_a_study_from_before_has_none(timed):
    older = {key: replace(one, training_seconds=None) for key, one in timed.outcomes.items()}
    study = replace(timed, outcomes=older)
    assert costs_view(study) is None
    assert "costs.md" not in render(study)
