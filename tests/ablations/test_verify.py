"""Recomputing a study from its trial folders."""

from pathlib import Path

from ablations.plans import existing_plan
from ablations.run import Reporting
from ablations.verify import differences
from rambo.home import Home


def test_the_kept_study_of_table_4_agrees_with_its_trials():
    """Pictures apart: they hang on the version of what draws them."""
    home = Home(Path(__file__).parents[2] / "benchmarks/records/table4")
    found = differences(existing_plan(home, "table4"), home, Reporting())
    assert [one for one in found if not one.startswith(("figures/", "report.html"))] == []
