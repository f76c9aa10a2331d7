"""Names and files on a command line become grids, one a study."""

import pytest

from ablations.__main__ import read
from ablations.paper.asked import asked_studies, parse_sources, read_grid
from ablations.plans import StudyPlan
from rambo.errors import InvalidInput


def asked(*words):
    return asked_studies(read(["run", *words]))


def test_a_name_alone_runs_all_its_data_sets_and_files_choose_among_them():
    everything = [(one.recipe, one.study) for one in asked("--recipe=fig7")]
    assert everything == [("fig7-fashion_mnist", None), ("fig7-mnist", None), ("fig7-svhn", None)]
    one, other = asked("--recipe=fig7", "--study=mine", "--source", "mnist=npz:a=b.npz", "svhn")
    assert (one.recipe, one.study, read_grid(one).base.data.source) == ("fig7-mnist", "mine-mnist", "npz:a=b.npz")
    assert (other.recipe, other.study, read_grid(other).base.data.source) == ("fig7-svhn", "mine-svhn", "svhn")


def test_a_name_of_one_data_set_keeps_its_own_name():
    (one,) = asked("--recipe=table4", "--source", "mnist=npz:m.npz", "--seeds=0-2")
    assert (one.recipe, one.study) == ("table4", None)
    grid = read_grid(one)
    assert (grid.base.data.source, grid.base.evaluation.repeats, grid.seeds) == ("npz:m.npz", 3, (0, 1, 2))
    (one,) = asked("--recipe=fig2a", "--factor=acquisition.budget=100,200", "--data.source=digits")
    grid = read_grid(one)
    assert [cell.name for cell in grid.cells][:2] == ["B=100 strategy=rambo", "B=100 strategy=dulo"]
    assert [cell.name for cell in grid.controls] == ["scout_margin B=100", "scout_margin B=200"]
    assert (len(grid.cells), grid.seeds) == (8 + 2, tuple(range(10)))


def test_a_preset_takes_its_file_by_the_name_of_its_data_and_so_do_levels():
    (one,) = asked("--preset=paper_mnist", "--source", "mnist=npz:m.npz")
    assert read_grid(one).base.data.source == "npz:m.npz"
    factor = "--factor=data.source=mnist,fashion_mnist"
    (one,) = asked("--preset=paper_mnist", factor, "--source", "fashion_mnist=npz:f.npz", "mnist")
    assert read_grid(one).factors[0].levels == ("mnist", "npz:f.npz")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--recipe=fig4", "--data.source=digits"], r"^--data\.source must be for one data set, got fig4 of 4; use"),
        (["--recipe=table4", "--source", "svhn"], r"^--source must name data sets of table4, mnist, got svhn;"),
        (["--recipe=table4", "--source", "mnist="], r"^--source must be NAME=SOURCE or NAME, got mnist=\.$"),
        (["--recipe=table4", "--source", "mnist", "mnist=a"], "^--source must name each data set once"),
        (["--recipe=table4", "--source", "mnist", "--data.source=digits"], "both say where data come from"),
        (["--preset=quickstart", "--source", "mnist"], "^--source must name the preset's data set or a level"),
        (["--recipe=nothing"], "^--recipe must be one of table1, "),
    ],
)
def test_what_does_not_fit_is_refused_in_one_sentence(words, sentence):
    with pytest.raises(InvalidInput, match=sentence):
        asked(*words)


def test_a_field_that_the_recipe_varies_is_not_given_in_vain():
    (one,) = asked("--recipe=fig2a", "--acquisition.budget=300")
    with pytest.raises(InvalidInput, match=r"^--acquisition\.budget must not be one value, since fig2a"):
        read_grid(one)


def test_a_flag_given_twice_says_both():
    (one, other) = asked("--recipe=fig7", "--source", "svhn=npz:s.npz", "--source", "mnist=npz:m.npz")
    assert [read_grid(each).base.data.source for each in (one, other)] == ["npz:m.npz", "npz:s.npz"]
    with pytest.raises(InvalidInput, match="must name each data set once"):
        asked("--recipe=fig7", "--source", "mnist=a", "--source", "mnist=b")


def test_seeds_of_nothing_are_not_the_paper_s():
    (one,) = asked("--recipe=fig2a", "--seeds=")
    with pytest.raises(InvalidInput, match=r"^Seeds must be whole numbers"):
        read_grid(one)


def test_no_sources_are_none():
    assert parse_sources([]) == {}


def test_a_plan_knows_its_recipe_and_one_without_is_written_as_before():
    (one,) = asked("--recipe=table4")
    plan = StudyPlan("table4", read_grid(one), {}, recipe="table4")
    assert StudyPlan.from_bytes(plan.to_bytes()) == plan
    small = StudyPlan("table4-small", read_grid(one), {}, recipe="table4", scale="small")
    assert StudyPlan.from_bytes(small.to_bytes()) == small
    plain = StudyPlan("table4", read_grid(one), {})
    assert b'"recipe"' not in plain.to_bytes()
    assert b'"scale"' not in plain.to_bytes()
