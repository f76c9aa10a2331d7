"""Growth: a later field, a section for one strategy, another name of a class; no recorded id or key moves."""

import dataclasses
import json
from functools import cache

import numpy as np
import pytest

from rambo import config, sections
from rambo.data.dataset import Normalisation
from rambo.errors import InvalidInput
from rambo.fields import config_id, effective_fields, fields, flatten, from_nested, override, to_json
from rambo.identity import described, later, pairs
from rambo.presets import quickstart
from rambo.strategies.facts import FACTS
from rambo.training.trainer import Problem, SetSpec

SECTIONS = {field.name: field for field in dataclasses.fields(config.Config) if dataclasses.is_dataclass(field.type)}


@cache
def grown(section: str, name: str, *, default=0, as_before=0) -> type[config.Config]:
    """`Config` as it is once `section` has had a further field, or is itself new."""
    old = SECTIONS[section].type if section in SECTIONS else object
    bases = (old,) if old is not object else ()
    field = (name, int, later(default, as_before=as_before))
    larger = dataclasses.make_dataclass(f"Grown{section}", [field], bases=bases, frozen=True, kw_only=True)
    holder = (section, larger, dataclasses.field(default_factory=larger))
    return dataclasses.make_dataclass("GrownConfig", [holder], bases=(config.Config,), frozen=True, kw_only=True)


def as_grown(cls: type[config.Config], base: config.Config) -> config.Config:
    """`base` as today's whole configuration file reads once there are more fields."""
    return from_nested(json.loads(to_json(base)), cls())


@pytest.mark.parametrize("strategy", FACTS)
@pytest.mark.parametrize("section", SECTIONS)
def test_a_later_field_moves_no_id_at_the_value_of_before(section, strategy):
    old = override(quickstart(), {"strategy": strategy})
    cls = grown(section, "extra", default=5, as_before=0)
    recorded = as_grown(cls, old)
    assert flatten(recorded)[f"{section}.extra"] == 0, "what was written before the field means what was done then"
    assert config_id(recorded, 1000) == config_id(old, 1000)
    assert f"{section}.extra" not in effective_fields(recorded, 1000)


@pytest.mark.parametrize("strategy", FACTS)
@pytest.mark.parametrize("section", SECTIONS)
def test_a_later_field_counts_for_the_strategies_that_read_it(section, strategy):
    cls = grown(section, "extra", default=5, as_before=0)
    new = override(cls(), {"strategy": strategy})
    read = FACTS[strategy].reads(f"{section}.extra")
    assert (config_id(new, 1000) != config_id(override(new, {f"{section}.extra": 0}), 1000)) == read


def test_a_section_of_its_own_counts_for_the_strategy_that_reads_it_alone(monkeypatch):
    cls = grown("badge", "num_rounds", default=3, as_before=1)
    for strategy in FACTS:
        old = override(quickstart(), {"strategy": strategy})
        assert config_id(as_grown(cls, old), 1000) == config_id(old, 1000)
        new = override(as_grown(cls, old), {"badge.num_rounds": 3})
        assert config_id(new, 1000) == config_id(old, 1000), "no strategy reads it yet"
    monkeypatch.setitem(FACTS, "margin", dataclasses.replace(FACTS["margin"], own=("badge.",)))
    old = override(quickstart(), {"strategy": "margin"})
    assert config_id(as_grown(cls, old), 1000) == config_id(old, 1000)
    assert config_id(override(as_grown(cls, old), {"badge.num_rounds": 3}), 1000) != config_id(old, 1000)


def test_a_file_of_some_fields_takes_the_defaults_of_later_ones():
    cls = grown("training", "warm_up", default=5, as_before=0)
    some = from_nested({"training": {"batch_size": 16}}, cls())
    assert (some.training.warm_up, some.training.batch_size) == (5, 16)


def test_a_later_field_is_a_field_like_any_other():
    cls = grown("acquisition", "num_scouts", default=1, as_before=1)
    assert "acquisition.num_scouts" in fields(cls)
    assert override(cls(), {"acquisition.num_scouts": "4"}).acquisition.num_scouts == 4
    with pytest.raises(InvalidInput, match=r"acquisition\.num_scouts must be int"):
        override(cls(), {"acquisition.num_scouts": "many"})


def problem(training: sections.Training, normalisation: Normalisation) -> Problem:
    labels, everyone = np.arange(20) % 2, np.arange(20)
    images = np.zeros((20, 1, 4, 4), dtype=np.uint8)
    return Problem(images, labels, "f" * 64, normalisation, everyone[:5], everyone[5:10], 2, "lenet5", training)


def renamed(value: object) -> object:
    """An equal value of a class of another name."""
    cls = dataclasses.make_dataclass("Other", [], bases=(type(value),), frozen=True)
    return cls(**{field.name: getattr(value, field.name) for field in dataclasses.fields(value)})


def test_no_name_of_a_class_and_no_later_field_moves_a_key():
    spec = SetSpec(np.array([11, 13]), 7)
    training, moments = sections.Training(), Normalisation((0.5,), (0.25,))
    key = problem(training, moments).key(spec)
    assert problem(renamed(training), renamed(moments)).key(spec) == key
    larger = grown("training", "warm_up", default=0, as_before=0)().training
    assert problem(larger, moments).key(spec) == key
    longer = dataclasses.replace(larger, warm_up=3)
    assert problem(longer, moments).key(spec) != key
    assert problem(dataclasses.replace(training, learning_rate=2e-3), moments).key(spec) != key


def test_renaming_a_section_moves_no_id():
    old = quickstart()
    larger = dataclasses.replace(old, training=renamed(old.training), data=renamed(old.data))
    assert config_id(larger, 1000) == config_id(old, 1000)


def test_what_is_digested_is_written_out():
    assert described("Training", pairs(sections.Training())) == (
        "Training(learning_rate=0.001, batch_size=64, max_epochs=100, target_accuracy=0.99)"
    )
