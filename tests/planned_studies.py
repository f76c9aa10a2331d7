"""Small studies with their folders, and a result that anybody may have left there."""

from pathlib import Path

from ablations.factors import make_grid
from ablations.plans import make_plan
from rambo.preparation import prepare

RESULT = {
    **dict.fromkeys(("test_accuracy", "val_accuracy", "base_test_accuracy", "base_val_accuracy"), 0.5),
    **dict.fromkeys(("pair_accuracy", "pair_ceiling", "label_agreement")),
    **{"data": "d-1", "config_id": "abc", "seed": 1, "strategy": "rambo", "num_labelled": 100},
    **{"trainings": 3, "seconds": {}},
}


def plan_of(base, factors, seeds=(0,), controls=("random",), name="study"):
    grid = make_grid(base, factors, controls=controls, seeds=seeds, design="factorial")
    return make_plan(name, grid, {(c.name, s): prepare(config, Path("unused")) for c, s, config in grid.trials()})


def prepared_for(plan):
    return {(c.name, s): prepare(config, Path("unused")) for c, s, config in plan.grid.trials()}
