"""Strategies of the user's own, in files outside the checkout."""

import hashlib

import pytest
from own_strategy import EXAMPLE

from rambo.config import Config
from rambo.errors import InvalidInput
from rambo.fields import config_id, effective_fields, fields, override
from rambo.presets import quickstart
from rambo.strategies.facts import FACTS
from rambo.strategies.own import facts_of

PICK = "def pick(request, generator):\n    return request.pool.unlabelled[: request.budget]\n"


def test_one_that_says_nothing_of_itself_reads_what_margin_reads_and_all_that_a_request_is_made_of(modules):
    modules.write(EXAMPLE)
    facts = facts_of("mine:pick")
    assert (facts.name, facts.select, facts.grants) == ("mine:pick", "mine:pick", frozenset())
    assert (facts.scores_pool, facts.num_scouts, facts.sees_validation_labels) == (True, 1, False)
    margins = {name for name in fields() if FACTS["margin"].reads(name)}
    read = {name for name in fields() if facts.reads(name)}
    request = {f"acquisition.{name}" for name in ("batch_size", "candidate_batches", "block_epsilon")}
    assert read == margins | request


def test_attributes_of_the_function_say_what_it_wants(modules):
    modules.write(f"{PICK}pick.grants = ('validation_labels', 'training')\npick.num_scouts = 5\n")
    facts = facts_of("mine:pick")
    assert facts.grants == {"validation_labels", "training"}
    assert facts.sees_validation_labels
    assert override(quickstart(), {"strategy": "mine:pick"}).num_scouts == 5
    modules.write(f"{PICK}pick.grants = 'learning_rate'\npick.scores_pool = False\n")
    config = override(quickstart(), {"strategy": "mine:pick"})
    assert config.facts.grants == {"learning_rate"}
    assert config.num_scouts == 0


@pytest.mark.parametrize(
    ("source", "name", "sentence"),
    [
        (
            PICK,
            "none_such:pick",
            "must name a module that can be imported, got none_such, which is not there; PYTHONPATH",
        ),
        (PICK, "none.such:pick", "must name a module that can be imported, got none.such, which is not there; PYTHON"),
        (
            PICK,
            "mine.deeper:pick",
            "must name a module that can be imported, got mine.deeper, which is not there; PYTHON",
        ),
        (PICK, "sys:exit", "must be written in a file, got sys, which has none."),
        (PICK, "mine:peck", "must be a function of its module, got no peck in "),
        ("pick = 3\n", "mine:pick", "must be a function, got one of type int."),
        ("def pick(:\n", "mine:pick", "must name a module that can be imported, got SyntaxError in it: "),
        ("import none_such\n", "mine:pick", "got ModuleNotFoundError in it: No module named 'none_such'."),
        ("raise SystemExit(3)\n", "mine:pick", "must name a module that can be imported, got SystemExit in it: 3."),
        ("1 / 0\n", "mine:pick", "must name a module that can be imported, got ZeroDivisionError in it: division by"),
        (
            f"{PICK}pick.grants = ('labels', 'utility')",
            "mine:pick",
            "must have grants among utility, validation_labels, ",
        ),
        (f"{PICK}pick.grants = 'labels'", "mine:pick", "got labels."),
        (f"{PICK}pick.grants = 3", "mine:pick", "got 3."),
        (f"{PICK}pick.grants = ('training', 'measured')", "mine:pick", "got measured."),
        (f"{PICK}pick.num_scouts = 0", "mine:pick", "must have num_scouts a number from 1, got 0."),
        (f"{PICK}pick.num_scouts = 'two'", "mine:pick", "must have num_scouts a number from 1, got 'two'."),
        (f"{PICK}pick.scores_pool = 'no'", "mine:pick", "must have scores_pool True or False, got 'no'."),
    ],
)
def test_what_cannot_be_used_is_one_sentence(modules, source, name, sentence):
    modules.write(source)
    config = override(quickstart(), {"strategy": name})
    with pytest.raises(InvalidInput) as caught:
        config.check_strategy()
    assert str(caught.value).startswith(f"strategy {name} must ")
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_configuration_is_built_and_read_without_the_module():
    config = override(Config(), {"strategy": "none_such:pick"})
    assert (config.strategy, override(config, {"seed": 3}).seed) == ("none_such:pick", 3)


def test_one_that_learns_utility_needs_a_schedule(modules):
    modules.write(f"{PICK}pick.grants = 'utility'\n")
    config = override(quickstart(), {"strategy": "mine:pick"})
    config.check_strategy()
    assert config.needs_utility_model
    with pytest.raises(InvalidInput, match="must give 1 to 8 pretraining iterations"):
        override(config, {"acquisition.batch_size": config.data.num_seed_labels}).check_strategy()


def id_of(name: str, **changes: object) -> str:
    return config_id(override(quickstart(), {"strategy": name, **changes}), 1000)


def test_the_bytes_of_the_file_are_a_part_of_the_id_and_its_place_is_not(modules, tmp_path):
    modules.write(EXAMPLE, folder=tmp_path / "here")
    first = id_of("mine:pick")
    expected = hashlib.sha256(EXAMPLE.encode()).hexdigest()[:16]
    assert effective_fields(override(quickstart(), {"strategy": "mine:pick"}), 1000)["strategy_source"] == expected
    modules.write(EXAMPLE, folder=tmp_path / "there")
    assert id_of("mine:pick") == first
    modules.write(EXAMPLE + "# edited\n", folder=tmp_path / "there")
    assert id_of("mine:pick") != first
    modules.write(EXAMPLE, folder=tmp_path / "there")
    assert id_of("mine:pick") == first


def test_ids_of_ours_have_no_file_in_them():
    for name in FACTS:
        config = override(quickstart(), {"strategy": name, "acquisition.portfolio": "margin"})
        assert "strategy_source" not in effective_fields(config, 1000)


def test_two_functions_of_a_file_are_two_strategies_and_whatever_their_request_holds_counts(modules):
    modules.write(f"{PICK}\n\npeck = pick\n")
    ids = [
        id_of("mine:pick"),
        id_of("mine:peck"),
        id_of("mine:pick", **{"acquisition.batch_size": 20}),
        id_of("mine:pick", **{"acquisition.candidate_batches": 3}),
        id_of("mine:pick", **{"acquisition.block_epsilon": 0.5}),
    ]
    assert len(set(ids)) == len(ids)
