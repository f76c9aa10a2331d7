"""What the names cost is counted without data, and agrees with the sets that real splits name."""

from pathlib import Path

from planned_studies import RESULT, plan_of
from tiny_experiment import TINY

from ablations.factors import SWITCHES, Factor, make_grid
from ablations.paper.listing import num_known, recipes_table
from ablations.paper.recipes import RECIPES, SIZED, Recipe
from ablations.plans import StudyPlan
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


def planned(name, seeds):
    """The plan of a recipe with some of its seeds, each trial in a folder of its own."""
    chosen = RECIPES[name]
    base = override(preset(chosen.preset), chosen.fields)
    grid = make_grid(base, chosen.factors, controls=chosen.controls, seeds=seeds, design="factorial")
    keys = [(cell.name, seed) for cell in grid.cells for seed in seeds]
    return StudyPlan(name, grid, {key: f"trials/{name}/{place}" for place, key in enumerate(keys)}, recipe=name)


def test_every_name_is_listed_with_what_the_home_has_of_it(tmp_path):
    home = Home(tmp_path)
    for name, number in (("table3", 10), ("table4", 2)):
        plan = planned(name, range(number))
        home.write(f"studies/{name}/plan.json", plan.to_bytes())
        for folder in plan.folders.values():
            home.write(f"{folder}/result.json", json_bytes(RESULT))
    other = plan_of(override(preset("quickstart"), TINY), [Factor("acquisition.budget", (40, 60))])
    home.write("studies/fig2a/plan.json", other.to_bytes())
    home.write("paper/fig3a/table.csv", b"data,num_validation,n\ncifar10,50,10\n")
    home.write("paper/table2/table.csv", b"data,num_validation,n\nmnist,50,3\nmnist,100,3\nsvhn,50,12\n")
    home.write("studies/fig8-svhn/plan.json", b"{")
    rows = {row[0]: row for row in recipes_table(home).rows}
    assert list(rows) == [*RECIPES, *SIZED]
    assert (rows["table4"][2], rows["table4"][-1]) == ("120", "24 of 120"), "two seeds of ten are not done"
    here = {name: rows[name][-1] for name in ("table3", "fig2a", "fig3a", "table2", "fig8-svhn", "table1")}
    assert list(here.values()) == ["done", "0 of 200", "done", "13 of 40 seeds", "not readable", ""]
    assert all(int(row[3]) > 0 and float(row[4]) > 0 for row in rows.values())
