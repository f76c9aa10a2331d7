"""Advice that messages give is followed: what they name makes the same request one that can be."""

import re
from pathlib import Path

import pytest

from rambo.errors import InvalidInput
from rambo.fields import override
from rambo.preparation import prepare
from rambo.presets import preset

QUICK = "quickstart"


def refusal(changes):
    with pytest.raises(InvalidInput) as caught:
        prepare(override(preset(QUICK), changes), Path("unused"))
    return str(caught.value)


@pytest.mark.parametrize(
    "changes",
    [
        {"acquisition.batch_size": 30},
        {"acquisition.batch_size": 10},
        {"acquisition.batch_size": 100},
        {"acquisition.batch_size": 25, "data.num_seed_labels": 130},
        {"acquisition.batch_size": 30, "strategy": "oracle"},
    ],
    ids=str,
)
def test_every_batch_size_that_is_advised_can_be(changes):
    said = refusal(changes)
    advised = re.search(r"; acquisition\.batch_size ([\d or]+) fits\.", said)
    assert advised, said
    for size in advised[1].split(" or "):
        config = override(preset(QUICK), {**changes, "acquisition.batch_size": size})
        if "start of at least" in said or "pretraining" not in said:
            prepare(config, Path("unused"))


@pytest.mark.parametrize(
    "changes",
    [
        {"acquisition.rounds": 3},
        {"acquisition.rounds": 9, "strategy": "margin"},
        {"acquisition.rounds": 7, "strategy": "random"},
        {"acquisition.rounds": 200, "acquisition.batch_size": 10, "data.num_seed_labels": 80},
    ],
    ids=str,
)
def test_every_number_of_rounds_that_is_advised_can_be(changes):
    said = refusal(changes)
    advised = re.search(r"; acquisition\.rounds ([\d or]+) fits\.", said)
    assert advised, said
    for number in advised[1].split(" or "):
        override(preset(QUICK), {**changes, "acquisition.rounds": number})


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"acquisition.budget": 7}, "acquisition.budget"),
        ({"acquisition.budget": 53}, "acquisition.budget"),
        ({"acquisition.budget": 1}, "acquisition.budget"),
        ({"data.num_seed_labels": 110}, "acquisition.budget"),
    ],
    ids=str,
)
def test_where_no_batch_size_can_be_a_budget_or_a_number_of_labels_is_advised_with_one(changes, field):
    said = refusal(changes)
    advised = re.search(r"; no other b fits: ([\w.]+) (\d+) with acquisition\.batch_size (\d+) does\.", said)
    assert advised, said
    assert advised[1] == field
    followed = {**changes, field: advised[2], "acquisition.batch_size": advised[3]}
    prepare(override(preset(QUICK), followed), Path("unused"))


def test_a_budget_beyond_the_pool_is_helped_by_smaller_parts():
    changes = {"acquisition.budget": 1600}
    assert "lower it, or data.num_seed_labels, data.num_validation or data.num_test." in refusal(changes)
    prepare(override(preset(QUICK), {**changes, "data.num_validation": 50, "data.num_test": 40}), Path("unused"))
