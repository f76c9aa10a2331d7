from dataclasses import replace

import numpy as np
import pytest

from rambo.errors import InvalidInput
from rambo.strategies.facts import FACTS
from rambo.strategies.request import NotGrantedError, Selection, by_margin, load_select


class Unsure:
    """A classifier with few different margins."""

    def margins(self, indices):
        return (indices % 3).astype(np.float32)


@pytest.mark.parametrize("budget", [0, -1, 10**6])
def test_a_budget_that_cannot_be_spent_is_one_sentence(request_for_forty, budget):
    available = len(request_for_forty.pool.unlabelled)
    sentence = rf"acquisition\.budget must lie between 1 and the {available} unlabelled images, got {budget}\."
    with pytest.raises(InvalidInput, match=sentence):
        replace(request_for_forty, budget=budget)
    assert replace(request_for_forty, budget=available).budget == available


def test_what_is_granted_is_handed_over_and_all_else_raises(request_for_forty):
    given = {"learning_rate": 0.5, "training": len, "utility": max, "validation_labels": np.arange(3)}
    attributes = {"learning_rate": "learning_rate", "training": "train", "utility": "utility"}
    given["predicted_loss"] = min
    attributes |= {name: name for name in ("validation_labels", "predicted_loss")}
    for name, value in given.items():
        granted = replace(request_for_forty, granted={name: value})
        assert getattr(granted, attributes[name]) is value
        for other in set(given) - {name}:
            with pytest.raises(NotGrantedError, match=f"must declare what it uses, got {other} without"):
                getattr(granted, attributes[other])


def test_images_are_ordered_by_margin_and_equals_by_index(request_for_forty):
    ordered = by_margin(replace(request_for_forty, scout=Unsure()))
    assert ordered.tolist() == sorted(request_for_forty.pool.unlabelled.tolist(), key=lambda index: (index % 3, index))


def test_a_selection_at_once_is_of_one_iteration_without_scores():
    picks = Selection.at_once(np.array([5, 2, 9]))
    assert picks.indices.tolist() == [5, 2, 9]
    assert picks.iterations.tolist() == [0, 0, 0]
    assert np.isnan(picks.scores).all()


@pytest.mark.parametrize("name", FACTS)
def test_the_function_that_a_record_names_is_found(name):
    select = load_select(FACTS[name])
    assert callable(select)
    assert f"{select.__module__}:{select.__name__}" == FACTS[name].select


def test_a_record_that_names_nothing_fails_when_it_is_loaded():
    with pytest.raises(AttributeError, match="select_nothing"):
        load_select(replace(FACTS["random"], select="rambo.strategies.random_sampling:select_nothing"))
    with pytest.raises(ModuleNotFoundError):
        load_select(replace(FACTS["random"], select="rambo.strategies.none:select"))
