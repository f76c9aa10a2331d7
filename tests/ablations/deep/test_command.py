"""The flags of `verify` that go below the trial folders."""

from falsified import falsify

from ablations.__main__ import read
from ablations.deep.command import verify_deeply


def verified(plan, home, *flags):
    return verify_deeply(plan, home, read(["verify", "--study", "tiny", "--home", home.root, "--quiet", *flags]))


def test_it_says_what_was_compared(finished):
    assert verified(*finished) == ([], [])
    differences, told = verified(*finished, "--retrain", "1")
    assert differences == []
    assert told[0].startswith("18 accuracies of 3 trials were worked out anew")
    assert told[1].startswith("1 of the ")


def test_a_difference_is_a_sentence(copied):
    plan, home = copied
    falsify(home, plan.folders["strategy=rambo", 0], base_val_accuracy=0.25)
    [sentence], told = verified(plan, home, "--deep")
    assert "base_val_accuracy is 0.25, the store's trainings on S_0 give" in sentence
    assert len(told) == 1
