"""What the names cost is counted without data, and agrees with the sets that real splits name."""

from pathlib import Path

from planned_studies import RESULT, plan_of
from tiny_experiment import TINY

from ablations.factors import SWITCHES, Factor, make_grid
from ablations.paper.listing import num_known, recipes_table
from ablations.paper.recipes import RECIPES, SIZED, Recipe
from cluster.work import missing_work
from rambo.fields import override
from rambo.formats import json_bytes
from rambo.home import Home
from rambo.preparation import prepare
from rambo.presets import preset
from rambo.store import Store


def missing(chosen, home):
    """What an empty store lacks of ten seeds, by the sets themselves."""
    base = override(preset(chosen.preset), chosen.fields)
    grid = make_grid(base, chosen.factors, controls=chosen.controls, seeds=range(10), design="factorial")
    prepared = [prepare(config, Path("unused")) for _, _, config in grid.trials()]
    wanted = [(one.problem(one.pool), specs) for one in prepared for specs in one.specs().values()]
    return missing_work(wanted, [], Store(home)).num_trainings


def test_the_count_without_data_is_that_of_the_sets(tmp_path):
    switch = Factor(SWITCHES[0], (False, True))
    compared = (Factor("data.num_seed_labels", (60, 80)), Factor("strategy", ("rambo", "random", "ensemble_margin")))
    tables = Recipe("", "quickstart", (switch,), TINY)
    figures = Recipe("", "quickstart", compared, {**TINY, "data.stratified": True}, controls=())
    for chosen in (tables, figures):
        assert num_known(chosen) == missing(chosen, Home(tmp_path))


def test_every_name_is_listed_with_what_the_home_has_of_it(tmp_path):
    home = Home(tmp_path)
    plan = plan_of(override(preset("quickstart"), TINY), [Factor(SWITCHES[0], (False, True))], seeds=(1, 2))
    for name in ("table4", "fig2a"):
        home.write(f"studies/{name}/plan.json", plan.to_bytes())
    home.write(f"{next(iter(plan.folders.values()))}/result.json", json_bytes(RESULT))
    home.write("paper/fig3a/table.csv", b"data\n")
    home.write("studies/fig8-svhn/plan.json", b"{")
    rows = {row[0]: row for row in recipes_table(home).rows}
    assert list(rows) == [*RECIPES, *SIZED]
    assert (rows["table4"][2], rows["table4"][-1]) == ("120", "1 of 6")
    assert [rows[name][-1] for name in ("fig3a", "fig8-svhn", "table2", "table1")] == ["done", "not readable", "", ""]
    assert all(int(row[3]) > 0 and float(row[4]) > 0 for row in rows.values())
