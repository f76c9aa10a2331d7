"""The same search for every cell: what is searched, on which seeds, and how both results stand side by side."""

from argparse import Namespace
from dataclasses import replace
from pathlib import Path

import pytest

from ablations.asking import read_retuning
from ablations.factors import make_grid, parse_factor, switches
from ablations.plans import StudyPlan, make_plan
from ablations.report import render
from ablations.retune import Retuning, cell_searches, followed, once_where_equal, retune_text, retuned_name
from cluster.place import Place
from rambo.errors import InvalidInput
from rambo.home import Home
from rambo.preparation import prepare
from tune.settings import keep_plan
from tune.settings import make_plan as make_search_plan
from tune.space import LAMBDA_OT, LAMBDAS


@pytest.fixture
def place(tmp_path):
    return Place(Home(tmp_path), Path("unused"), "cpu", "ledger.jsonl")


def study_of(base, factors, seeds=(0, 1)):
    grid = make_grid(base, factors, controls=("random",), seeds=seeds, design="factorial")
    prepared = {(c.name, s): prepare(config, Path("unused")) for c, s, config in grid.trials()}
    return make_plan("study", grid, prepared), prepared


def test_every_cell_is_searched_over_what_it_reads_and_no_factor_is(tiny, place):
    plan, prepared = study_of(tiny, [*switches()[1:], parse_factor("utility_model.lambda_3=.5,1")])
    searches = cell_searches(plan, prepared, Retuning(4, (7, 8), ("acquisition.candidate_batches=2,3",)), place)
    assert [one.cell for one in searches] == list(plan.grid.studied)
    for one in searches:
        fields = set(one.space.dimensions)
        on = bool(one.cell.level("switches.ot"))
        assert (LAMBDA_OT in fields) == on
        assert ({LAMBDAS[0], LAMBDAS[1]} <= fields) == on
        assert LAMBDAS[2] not in fields, "it is a factor"
        assert "acquisition.candidate_batches" in fields
        if on:
            assert not one.space.dimensions[LAMBDA_OT].zero, "it would be the cell without OT"
    assert len({one.settings.name for one in searches}) == len(searches)
    assert {(one.settings.limits.num_trials, one.settings.seeds) for one in searches} == {(4, (7, 8))}


def test_settings_are_not_chosen_on_seeds_that_are_compared(tiny, place):
    plan, prepared = study_of(tiny, switches()[1:2])
    with pytest.raises(InvalidInput, match="--retune-seeds must be other seeds than those that are compared, got 1"):
        cell_searches(plan, prepared, Retuning(4, (1, 7)), place)
    with pytest.raises(InvalidInput, match="--retune must have a field to search"):
        cell_searches(plan, prepared, Retuning(4, (7,), ("none", "acquisition.batch_size=20")), place)
    with pytest.raises(InvalidInput, match="--retune must be at least 1 trial, got 0"):
        cell_searches(plan, prepared, Retuning(0, (7,)), place)


@pytest.mark.parametrize("space", ["acquisition.batch_size=20,7", "acquisition.candidate_batches=int:9,2", "nothing=1"])
def test_a_space_that_cannot_be_is_refused_before_the_first_study_runs(tiny, place, space):
    plan, prepared = study_of(tiny, switches()[1:2])
    with pytest.raises(InvalidInput, match=r"^--retune-space "):
        cell_searches(plan, prepared, Retuning(4, (7,), (space,)), place)


def test_another_search_of_the_same_name_is_refused_before_the_first_study_runs(tiny, place):
    plan, prepared = study_of(tiny, switches()[1:2])
    [first, *_] = cell_searches(plan, prepared, Retuning(4, (7,)), place)
    keep_plan(make_search_plan(first.base, first.space, first.settings, place.data_dir), place.home)
    assert cell_searches(plan, prepared, Retuning(9, (7,)), place), "more trials go on with the same search"
    with pytest.raises(InvalidInput, match="must keep its space, base, seeds, objectives and data, got another seeds"):
        cell_searches(plan, prepared, Retuning(4, (8,)), place)


def test_a_plan_with_retuned_cells_is_read_back_and_may_change_when_a_search_goes_on(tiny):
    plan, _ = study_of(tiny, switches()[1:2])
    assert b"tuned" not in plan.to_bytes()

    def at(value):
        grid = plan.grid.tuned({"OT=on": [{LAMBDA_OT: value}]})
        folders = {(c.name, s): prepare(config, Path("unused")).folder for c, s, config in grid.trials()}
        return StudyPlan(retuned_name("study"), grid, folders, fixed="study")

    first, second = at(0.1), at(10.0)
    assert StudyPlan.from_bytes(first.to_bytes()) == first
    assert set(first.folders) == set(plan.folders)
    changed = {key for key, folder in first.folders.items() if folder != plan.folders[key]}
    assert changed == {("OT=on", 0), ("OT=on", 1)}
    second.check_extends(first)
    with pytest.raises(InvalidInput, match="must keep its"):
        second.check_extends(replace(first, fixed=None))


def test_a_control_takes_what_was_found_for_the_cell_it_is_compared_with(tiny):
    grid = make_grid(tiny, switches()[1:2], controls=("random", "filtered_random"), seeds=(0,), design="factorial")
    prepared = {(c.name, s): prepare(config, Path("unused")) for c, s, config in grid.trials()}
    plan = make_plan("study", grid, prepared)
    field = "acquisition.candidate_batches"
    found = {"OT=on": [{field: 2, LAMBDA_OT: 0.5}], "OT=off": [{field: 4}]}
    tuned = grid.tuned({**found, **followed(plan, found)})
    full, control = (next(cell for cell in tuned.cells if cell.name == name) for name in ("OT=on", "filtered_random"))
    assert tuned.config(control, 0).acquisition == tuned.config(full, 0).acquisition
    folders = {c.name: prepare(config, Path("unused")).folder for c, _, config in tuned.trials()}
    assert folders["random"] == plan.folders["random", 0], "it reads no M"
    assert folders["filtered_random"] != plan.folders["filtered_random", 0]


def test_a_study_that_grows_by_seeds_keeps_its_searches():
    asked = Namespace(retune=4, retune_seeds=None, retune_space=[], retune_searches=None)
    assert read_retuning(asked) == Retuning(4, (1000, 1001, 1002))


def test_a_number_of_searches_needs_a_search():
    asked = Namespace(retune=None, retune_seeds=None, retune_space=[], retune_searches=2)
    with pytest.raises(InvalidInput, match="--retune must say how many trials a search has"):
        read_retuning(asked)


def test_further_searches_are_searches_of_their_own_and_the_first_stays_what_it_was(tiny, place):
    plan, prepared = study_of(tiny, switches()[1:2])
    asked = Retuning(4, (7, 8), ("acquisition.candidate_batches=2,3",))
    once = cell_searches(plan, prepared, asked, place)
    more = cell_searches(plan, prepared, replace(asked, num_searches=3), place)
    assert more[: len(once)] == once
    assert [one.settings.name for one in once] == ["study.OT-on", "study.OT-off"]
    assert [one.number for one in more] == [1, 1, 2, 2, 3, 3]
    assert len({one.settings.name for one in more}) == 6
    assert {one.number: one.settings.seeds for one in more} == {1: (7, 8), 2: (9, 10), 3: (11, 12)}
    assert {one.settings.sampler_seed for one in once} == {0}
    assert len({one.settings.sampler_seed for one in more}) == 1 + 4, "those that are not the first draw differently"
    assert [one.space for one in more] == [one.space for one in once] * 3
    text = retune_text(more, place)
    assert "each of 2 cells is searched over 4 trials on seeds 7, 8, then again on seeds 9, 10, then again" in text
    assert text.count("OT=on: ") == 1


def test_no_search_goes_on_seeds_that_are_compared(tiny, place):
    plan, prepared = study_of(tiny, switches()[1:2], seeds=(0, 9))
    assert cell_searches(plan, prepared, Retuning(4, (7, 8)), place)
    with pytest.raises(InvalidInput, match="got 9 among both, since each further search takes the seeds that follow"):
        cell_searches(plan, prepared, Retuning(4, (7, 8), num_searches=2), place)
    with pytest.raises(InvalidInput, match="--retune-searches must be at least 1, got 0"):
        cell_searches(plan, prepared, Retuning(4, (7, 8), num_searches=0), place)


def test_every_search_of_a_cell_runs_and_a_control_that_reads_nothing_of_them_runs_once(tiny):
    grid = make_grid(tiny, switches()[1:2], controls=("random", "filtered_random"), seeds=(0, 1), design="factorial")
    prepared = {(c.name, s): prepare(config, Path("unused")) for c, s, config in grid.trials()}
    plan = make_plan("study", grid, prepared)
    field = "acquisition.candidate_batches"
    found = {"OT=on": [{field: 2, LAMBDA_OT: 0.5}, {field: 3}], "OT=off": [{field: 4}, {}]}
    tuned = grid.tuned({**found, **followed(plan, found)})
    folders = {(c.name, s): prepare(config, Path("unused")).folder for c, s, config in tuned.trials()}
    retuned = once_where_equal(StudyPlan(retuned_name("study"), tuned, folders, fixed="study"))
    names = ["OT=on", "OT=on search=2", "OT=off", "OT=off search=2", "random"]
    assert [cell.name for cell in retuned.grid.variants] == [*names, "filtered_random", "filtered_random search=2"]
    assert set(retuned.folders) == {(cell.name, seed) for cell in retuned.grid.variants for seed in (0, 1)}
    assert retuned.folders["random", 0] == plan.folders["random", 0]
    assert retuned.folders["OT=off search=2", 1] == plan.folders["OT=off", 1], "it found nothing"
    by_name = {cell.name: cell for cell in retuned.grid.variants}
    for name, value in (("OT=on", 2), ("OT=on search=2", 3), ("filtered_random search=2", 3), ("OT=off", 4)):
        assert retuned.grid.config(by_name[name], 0).acquisition.candidate_batches == value
    assert StudyPlan.from_bytes(retuned.to_bytes()) == retuned
    one = replace(retuned, grid=grid.tuned({name: searches[:1] for name, searches in found.items()}))
    assert b"tuned_again" not in one.to_bytes()


def test_both_results_stand_side_by_side(make_study):
    def accuracy(gain):
        return lambda cell, seed: 0.8 + 0.01 * (cell.level("switches.ot") is True) + gain(cell) + 0.001 * (seed % 4)

    fixed = make_study(accuracy(lambda cell: 0), factors=switches()[1:2])
    alone = make_study(accuracy(lambda cell: 0.008 * (cell.level("switches.ot") is False)), factors=switches()[1:2])
    grid = alone.grid.tuned({"OT=off": [{"acquisition.batch_size": 25}], "OT=on": [{LAMBDA_OT: 0.12345}]})
    files = render(replace(alone, grid=grid, fixed=fixed))
    lines = files["both.md"].decode().splitlines()
    assert any("| +0.80 on every seed | b=25 |" in line for line in lines)
    assert any("| 0.00 on every seed | λ_OT=0.123 |" in line for line in lines)
    [effect] = [line for line in lines if line.startswith("| OT |")]
    assert "+1.00" in effect
    assert "+0.20" in effect
    assert "λ_OT=0.123" in files["report.html"].decode()
    plain = render(fixed)
    assert "both.md" not in plain
    for name in ("both.md", "table.md", "table.tex", "sentences.txt", "report.html"):
        assert "given the settings of one search each" in files[name].decode()
        assert "given the settings" not in plain.get(name, b"").decode()
    assert "--retune-searches 2 estimates what other searches would change" in files["sentences.txt"].decode()
    assert "luck.csv" not in files


def test_a_home_that_takes_no_database_is_refused_before_the_first_study_runs(tiny):
    plan, prepared = study_of(tiny, switches()[1:2])
    remote = Place(Home("memory://retuned"), Path("unused"), "cpu", "ledger.jsonl")
    with pytest.raises(InvalidInput, match="--retune must have a --home that is a folder"):
        cell_searches(plan, prepared, Retuning(4, (7,)), remote)
