"""A finished study of three tiny trials."""

import shutil

import pytest
from tiny_experiment import TINY

from ablations.factors import make_grid, parse_factor
from ablations.plans import make_plan, named_study
from rambo.experiment import Lab, run
from rambo.fields import override
from rambo.home import Home
from rambo.preparation import prepare
from rambo.presets import quickstart
from rambo.progress import Progress

QUIET = Progress(quiet=True)


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """The plan, and the home of rambo, random and margin, with trainings on S_val as well."""
    root = tmp_path_factory.mktemp("deep")
    base = override(quickstart(), {**TINY, "evaluation.with_validation": True})
    grid = make_grid(base, [parse_factor("strategy=rambo,random,margin")], controls=[], seeds=(0,), design="factorial")
    prepared = {(cell.name, seed): prepare(config, root) for cell, seed, config in grid.trials()}
    home = Home(root / "home")
    for one in prepared.values():
        run(one, Lab(home, root, progress=QUIET))
    plan = make_plan("tiny", grid, prepared)
    named_study("tiny", home).keep({"plan.json": plan.to_bytes()})
    return plan, home


@pytest.fixture
def copied(finished, tmp_path):
    """The same in a home of one's own."""
    plan, home = finished
    shutil.copytree(home.root, tmp_path / "home")
    return plan, Home(tmp_path / "home")
