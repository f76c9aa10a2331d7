"""What stands below every comparison."""

from dataclasses import replace

from ablations.comparison.views import caption

STRATEGIES, BUDGETS = "strategy=rambo,random,badge", "acquisition.budget=100,200,500"


def test_the_caption_says_data_settings_seeds_and_who_saw_the_labels_of_s_val(compared):
    assert caption(compared) == (
        "Test accuracy of 3 methods on digits-0123456789ab in 3 settings (B=100; B=200; B=500), over seeds 0–2: those "
        "that every method has in every setting. Labels of S_val entered the choice of rambo. They did not in random, "
        "badge."
    )


def test_what_is_missing_is_named(make_compared):
    def holed(cell, seed):
        strategy = cell.level("strategy")
        return None if strategy == "glister" or (strategy, seed) == ("oracle", 2) else 0.5 + 0.01 * seed

    text = caption(make_compared(holed, factors=("strategy=random,margin,oracle,glister",), seeds=range(4)))
    assert "over seeds 0–1, 3" in text
    assert "For study only, since nobody could use it: oracle." in text
    assert "Left out, since a method lacks them somewhere: seed 2." in text
    assert "Missing, without a result in some setting: glister." in text
    assert "5 of the study's 16 trials have no result." in text


def test_where_nobody_saw_them_it_says_so(make_compared):
    text = caption(make_compared(factors=("strategy=random,margin",), seeds=range(2)))
    assert "Nobody's choice saw labels of S_val." in text


def test_where_it_is_not_known_nobody_is_said_not_to_have_seen_them(make_compared):
    found = make_compared(factors=("strategy=random,margin",), seeds=range(2))
    assert caption(replace(found, saw=(False, None))).endswith(
        "Labels of S_val did not enter the choice of random. Whether labels of S_val entered the choice of margin is "
        "not known."
    )


def test_settings_that_are_left_out_are_named(make_compared):
    text = caption(make_compared(factors=(STRATEGIES, BUDGETS), design="one-at-a-time"))
    assert "in 1 setting (B=500)" in text
    assert "Left out, since not every method is planned or none has a result there: B=100; B=200." in text
