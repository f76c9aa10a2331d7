import subprocess
import sys
from dataclasses import replace

import pytest

from rambo.fields import fields
from rambo.strategies.facts import CONTROLS, FACTS, STRATEGIES


def read_by(name):
    return {field for field in fields() if FACTS[name].reads(field)}


def test_each_record_stands_under_its_name_and_the_method_comes_first():
    assert [facts.name for facts in FACTS.values()] == list(FACTS) == list(STRATEGIES)
    assert STRATEGIES[0] == "rambo"
    assert CONTROLS == ("random", "margin", "filtered_random", "scout_margin")


def test_the_method_reads_every_field_but_the_seed_and_those_of_others():
    others = {name for facts in FACTS.values() for name in facts.own}
    assert read_by("rambo") == set(fields()) - {"seed"} - others


def test_every_field_is_read_by_somebody():
    assert {field for name in STRATEGIES for field in read_by(name)} == set(fields()) - {"seed"}


def test_controls_read_nothing_of_the_utility_model():
    shared = read_by("random")
    assert {name.split(".")[0] for name in shared} == {
        *("data", "classifier", "training", "acquisition", "evaluation", "strategy")
    }
    scored = {f"acquisition.{name}" for name in ("scout", "num_scouts", "refit", "num_parts", "rounds")}
    scorers = ("margin", "entropy", "least_confidence", "coreset", "badge", "ensemble_margin", "glister", "typiclust")
    for name in (*scorers, "uncertainty_herding"):
        assert read_by(name) == shared | scored
    batches = {"acquisition.batch_size", "acquisition.candidate_batches"}
    assert read_by("filtered_random") == shared | scored | batches


def test_a_section_is_read_whole_and_a_field_by_its_full_name():
    one = replace(FACTS["random"], own=("badge.", "switches.ot"))
    assert one.reads("badge.num_rounds")
    assert one.reads("switches.ot")
    assert not one.reads("switches.ot_more")
    assert not one.reads("badges")
    assert not one.reads("strategy_of_another")


@pytest.mark.parametrize(
    ("grants", "learns", "sees"),
    [
        (set(), False, False),
        ({"utility"}, True, True),
        ({"validation_labels"}, False, True),
        ({"learning_rate", "training"}, False, False),
        ({"predicted_loss"}, False, False),
    ],
)
def test_what_is_granted_says_what_is_learned_and_seen(grants, learns, sees):
    one = replace(FACTS["random"], grants=frozenset(grants))
    assert (one.learns_utility, one.sees_validation_labels) == (learns, sees)


def test_what_is_known_of_strategies_needs_no_torch():
    program = "import sys, rambo.strategies.facts; print([name for name in ('torch', 'numpy') if name in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", program], text=True).strip() == "[]"
