"""The memory of a search: real studies on SQLite, and what their samplers are worth."""

import math
import sqlite3
from dataclasses import replace
from pathlib import Path

import optuna
import pytest

from cluster.databases import file_url
from cluster.place import Place
from rambo.errors import InvalidInput
from rambo.fields import override
from rambo.home import Home
from rambo.presets import quickstart
from rambo.progress import Progress
from rambo.randomness import derive
from tune.driver import Limits
from tune.records import ORPHANED, SearchPlan, SeedOutcome
from tune.run import search
from tune.search import SAMPLERS, make_sampler, open_search, read_search
from tune.settings import Settings, make_plan
from tune.space import BATCH, LAMBDA_OT, LAMBDAS, Range, Space, default_space
from tune.suggest import as_parameters, suggest

SPACE = default_space(quickstart(), 10, 1000, ["accuracy"])


def plan(name: str = "test", **changes) -> SearchPlan:
    return replace(SearchPlan(name, SPACE, quickstart(), (0, 1), ("accuracy",), "digits-0"), **changes)


def storage(folder: Path) -> str:
    return file_url(folder / "optuna.db")


def study(folder: Path, name: str = "test") -> optuna.Study:
    return optuna.load_study(study_name=name, storage=storage(folder))


def outcomes(*values: float) -> list[SeedOutcome]:
    return [SeedOutcome(value, value - 0.1) for value in values]


def test_optuna_is_told_the_truth(tmp_path):
    search = open_search(plan(), storage(tmp_path), "tpe", 0)
    complete, stopped, failed, running = (search.ask().number for _ in range(4))
    for number, values in ((complete, (0.8, 0.9)), (stopped, (0.3,)), (failed, (0.5,))):
        for place in range(len(values)):
            search.report(number, outcomes(*values[: place + 1]))
    search.complete(complete, [0.85])
    search.prune(stopped)
    search.fail(failed, "its accuracy is nan")
    states = {trial.number: trial.state.name for trial in study(tmp_path).trials}
    assert states == {complete: "COMPLETE", stopped: "PRUNED", failed: "FAIL", running: "RUNNING"}
    assert study(tmp_path).trials[stopped].value == 0.3
    assert study(tmp_path).trials[complete].intermediate_values == {0: 0.8, 1: pytest.approx(0.85)}
    attempts = read_search(plan(), storage(tmp_path)).attempts()
    assert [one.state for one in attempts] == ["COMPLETE", "PRUNED", "FAIL", "RUNNING"]
    assert attempts[failed].reason == "its accuracy is nan"
    assert attempts[complete].outcomes == tuple(outcomes(0.8, 0.9))
    assert attempts[complete].test_accuracy == pytest.approx(0.75)
    assert search.means_at(0, but=stopped) == [0.8], "what failed is nobody's measure"


def test_what_a_killed_driver_left_running_is_closed_and_tried_again_once(tmp_path):
    search = open_search(plan(), storage(tmp_path), "random", 0)
    settings = [search.ask() for _ in range(3)]
    search.report(settings[0].number, outcomes(0.5))
    for _ in range(2):  # the second driver is killed before it asks for anything
        search = open_search(plan(), storage(tmp_path), "random", 0)
        search.close_orphans()
    assert [one.state for one in search.attempts()] == ["FAIL"] * 3
    assert {one.reason for one in search.attempts()} == {ORPHANED}
    assert [search.ask().fields for _ in range(3)] == [one.fields for one in settings]
    assert search.ask().fields not in [one.fields for one in settings]


def test_a_restart_does_not_repeat_what_its_sampler_drew_before(tmp_path):
    drawn = []
    for _ in range(3):
        search = open_search(plan(), storage(tmp_path), "random", 0)
        for _ in range(4):
            suggestion = search.ask()
            search.report(suggestion.number, outcomes(0.5))
            search.complete(suggestion.number, [0.5])
            drawn.append(suggestion.fields)
    assert len({str(fields) for fields in drawn if fields[LAMBDA_OT]}) == sum(bool(f[LAMBDA_OT]) for f in drawn)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_draws_from_the_space_and_the_same_seed_draws_the_same(tmp_path, sampler):
    drawn = []
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        search = open_search(plan(), storage(tmp_path / folder), sampler, 7)
        for i in range(13):
            suggestion = search.ask()
            search.report(suggestion.number, outcomes(i / 20))
            search.complete(suggestion.number, [i / 20])
            drawn.append(suggestion.fields)
    assert drawn[:13] == drawn[13:]
    for fields in drawn:
        assert all(value in SPACE.dimensions[name] for name, value in fields.items())
        assert (set(LAMBDAS) <= set(fields)) == (fields[LAMBDA_OT] > 0), "λ1 to λ3 are not read without OT"
        override(quickstart(), fields)


def test_the_base_is_the_first_trial_of_a_new_search(tmp_path):
    search = open_search(plan(), storage(tmp_path), "tpe", 0)
    search.start_from_base()
    search.start_from_base()
    assert plan().config(search.ask().fields) == quickstart()
    assert search.ask().fields[LAMBDA_OT] != 1.0
    without = override(quickstart(), {LAMBDA_OT: 0})
    assert as_parameters(SPACE, without) == {f"{LAMBDA_OT} is 0": True, BATCH: 25}


def test_two_searches_in_one_database_do_not_mix(tmp_path):
    one, two = (open_search(plan(name), storage(tmp_path), "tpe", 0) for name in ("one", "two"))
    number = one.ask().number
    one.complete(number, [0.5])
    two.ask()
    assert two.close_orphans() == 1
    assert [attempt.state for attempt in one.attempts()] == ["COMPLETE"]


def test_another_search_of_the_same_name_is_refused(tmp_path):
    open_search(plan(), storage(tmp_path), "tpe", 0)
    with pytest.raises(InvalidInput, match=r"--study test must keep .* got another seeds"):
        open_search(plan(seeds=(0, 1, 2)), storage(tmp_path), "tpe", 0)
    elsewhere = override(quickstart(), {"data.source": "npz:moved.npz", "seed": 5})
    open_search(plan(base=elsewhere), storage(tmp_path), "tpe", 0)


def test_a_search_in_a_shared_database_is_run_from_one_home_and_read_from_all(tiny, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = Settings("test", (0, 1), Limits(3), storage=storage(tmp_path), publishes=False)
    made = make_plan(tiny, Space({"utility_model.dropout": Range(0.1, 0.5)}), settings, Path("unused"))
    first = open_search(made, storage(tmp_path), "tpe", 0, Home(tmp_path / "first").root)
    first.ask()
    second = Place(Home("second"), Path("unused"), "cpu", "ledger.jsonl")
    with pytest.raises(InvalidInput) as refusal:
        search(tiny, made.space, settings, second, progress=Progress(quiet=True))
    assert f"must be run from the --home that began it in this --storage, {tmp_path}/first, got" in str(refusal.value)
    assert [one.state for one in read_search(made, storage(tmp_path)).attempts()] == ["RUNNING"], "nobody failed it"
    again = open_search(made, storage(tmp_path), "tpe", 0, Home("first").root)
    assert again.close_orphans() == 1, "a relative path is the same home"


@pytest.mark.parametrize(
    "url",
    ["sqlite:////proc/none/optuna.db", "nothing", "oracle9://x/y", "postgresql://user:secret@127.0.0.1:1/none"],
)
def test_a_storage_that_cannot_be_opened_is_one_sentence_without_its_password(url):
    with pytest.raises(InvalidInput, match="--storage must be the URL of a database that can be opened") as refusal:
        open_search(plan(), url, "tpe", 0)
    assert "\n" not in str(refusal.value)
    assert "secret" not in str(refusal.value)


@pytest.mark.parametrize("cut", [True, False])
def test_a_search_whose_database_is_damaged_begins_again_once_that_is_moved_away(tmp_path, cut):
    file = tmp_path / "optuna.db"
    url = file_url(file)
    open_search(plan(), url, "tpe", 0)
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2] if cut else b"spoilt" * 1000)
    for opened in (lambda: open_search(plan(), url, "tpe", 0), lambda: read_search(plan(), url)):
        with pytest.raises(InvalidInput, match=r"must be whole, got .*; bring back a copy, or move it away: tune run"):
            opened()
    file.rename(tmp_path / "away.db")
    assert open_search(plan(), url, "tpe", 0).attempts() == []


@pytest.mark.parametrize("attribute", [None, "{}", "no json", 3])
def test_a_study_that_another_program_has_made_is_refused_and_left_as_it_is(tmp_path, attribute):
    theirs = optuna.create_study(study_name="test", storage=storage(tmp_path), direction="minimize")
    if attribute is not None:
        theirs.set_user_attr("plan", attribute)
    for home in ("/home", None):
        with pytest.raises(InvalidInput, match="got a study that something else has made; choose another --study"):
            open_search(plan(), storage(tmp_path), "tpe", 0, home)
    with pytest.raises(InvalidInput, match="something else has made"):
        read_search(plan(), storage(tmp_path))
    assert study(tmp_path).user_attrs == ({} if attribute is None else {"plan": attribute})
    open_search(plan("another"), storage(tmp_path), "tpe", 0, "/home")


def test_what_a_command_that_was_killed_has_begun_in_the_home_is_taken(tmp_path):
    optuna.create_study(study_name="test", storage=storage(tmp_path), direction="maximize")
    assert open_search(plan(), storage(tmp_path), "tpe", 0).attempts() == []


def test_results_that_others_put_into_a_search_count_for_nothing(tmp_path):
    search = open_search(plan(), storage(tmp_path), "random", 0)
    study(tmp_path).add_trial(optuna.trial.create_trial(value=9.0))
    assert (search.attempts(), search.means_at(0, but=5)) == ([], [])


def test_looking_makes_no_database_and_tables_of_others_are_left_alone(tmp_path):
    with pytest.raises(InvalidInput, match=r"--storage must hold the search test, got .* without it"):
        read_search(plan(), storage(tmp_path))
    assert list(tmp_path.iterdir()) == []
    with sqlite3.connect(tmp_path / "optuna.db") as theirs:
        theirs.execute("CREATE TABLE alembic_version (version_num)")
    with pytest.raises(InvalidInput, match=r"--storage must name a database of its own, got .*; give another\."):
        open_search(plan(), storage(tmp_path), "tpe", 0)
    assert theirs.execute("SELECT name FROM sqlite_master").fetchall() == [("alembic_version",)]


@pytest.mark.parametrize("name", ["My%20Project", "what?", "a::b", "{x} ü"])
def test_a_search_lies_in_its_home_whatever_that_is_called(tmp_path, name):
    (tmp_path / name).mkdir()
    open_search(plan(), storage(tmp_path / name), "tpe", 0).ask()
    assert [str(file.relative_to(tmp_path)) for file in tmp_path.rglob("*.db")] == [f"{name}/optuna.db"]
    assert len(read_search(plan(), storage(tmp_path / name)).attempts()) == 1


def test_an_unknown_sampler_is_refused_with_those_there_are():
    with pytest.raises(InvalidInput, match="--sampler must be one of tpe, gp, random; got grid"):
        make_sampler("grid", 0)


def valley(fields) -> float:
    """A synthetic accuracy: best at λ_OT(λ1+λ2)/2 = 1 and b = 25, flat in λ3, poor without OT."""
    penalty = 0.02 * abs(int(fields[BATCH]) - 25)
    if not fields[LAMBDA_OT]:
        return -4.0 - penalty
    offset = fields[LAMBDA_OT] * (fields[LAMBDAS[0]] + fields[LAMBDAS[1]]) / 2
    return -(math.log10(offset) ** 2) - penalty


def best_so_far(sampler: str, repeat: int, num_trials: int = 40) -> list[float]:
    """The best of the first 1, 2, … trials."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    one = optuna.create_study(direction="maximize", sampler=make_sampler(sampler, derive(repeat, "sampler")))
    best: list[float] = []
    for _ in range(num_trials):
        trial = one.ask()
        value = valley(suggest(trial, SPACE, quickstart()))
        one.tell(trial, value)
        best.append(max([value, *best[-1:]]))
    return best


def test_tpe_is_not_worse_than_random_search():
    repeats = range(10)
    curves = {name: [best_so_far(name, repeat) for repeat in repeats] for name in ("tpe", "random")}
    for half in (20, 40):
        means = {name: sum(curve[half - 1] for curve in found) / len(found) for name, found in curves.items()}
        print(f"best after {half} trials, mean of {len(repeats)} repeats: {means}")
    assert means["tpe"] >= means["random"]
