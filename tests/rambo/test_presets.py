import pytest

from rambo.errors import InvalidInput
from rambo.presets import PRESETS, preset


@pytest.mark.parametrize("name", PRESETS)
def test_presets_build_and_hold_the_schedule_of_the_paper(name):
    config = preset(name)
    small = {"quickstart": (3, 25), "paper_mnist": (3, 50), "paper_fashion_mnist": (3, 50), "embeddings": (3, 50)}
    expected = small.get(name, (2, 500))
    assert (config.num_pretraining_iterations, config.num_start_labels) == expected


def test_an_unknown_preset_lists_those_there_are():
    with pytest.raises(InvalidInput, match=r"--preset must be one of quickstart, paper_mnist.*got nope"):
        preset("nope")
