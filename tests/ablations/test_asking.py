"""The studies of one command are looked at together, before the first of them runs."""

import pytest
from tiny_experiment import TINY_FLAGS

from ablations.__main__ import main
from rambo.errors import InvalidInput

SMALL = [flag for flag in TINY_FLAGS if "num_seed_labels" not in flag]
STUDIES = ["run", "--recipe=fig7", *SMALL, "--factor=data.num_seed_labels=50,60", "--factor=strategy=margin,random"]


@pytest.mark.parametrize("words", [["--plan"], []])
def test_all_studies_of_a_command_are_checked_before_the_first_of_them_runs(words, tmp_path):
    sources = ["--source", "mnist=digits", "svhn=npz:nothing.npz"]
    with pytest.raises(InvalidInput, match=r"^data\.source must name a file that exists, got npz:.*nothing\.npz"):
        main([*STUDIES, *sources, *words, "--seeds=0", f"--home={tmp_path}"])
    assert not [*tmp_path.iterdir()]


def test_plans_of_several_studies_have_their_names_and_one_total(tmp_path, capsys):
    sources = ["--source", "mnist=digits", "svhn=digits"]
    main([*STUDIES, *sources, "--seeds=0,1", "--device=cpu", "--plan", "--quiet", f"--home={tmp_path}"])
    out = capsys.readouterr().out
    assert [line for line in out.splitlines() if line.startswith("fig7-")] == ["fig7-mnist", "fig7-svhn"]
    assert "All 2 studies: 0.0" in out
