"""Trials of a search that nobody ran, over a space with all kinds of dimensions."""

import random
from pathlib import Path

from tune.records import ORPHANED, Attempt, SearchPlan, SeedOutcome
from tune.space import BATCH, LAMBDA_OT, LAMBDAS, Choice, Range, Space

NOWHERE = Path("unused")

RATE = "training.learning_rate"

SPACE = Space(
    {
        LAMBDA_OT: Range(1e-3, 1e2, log=True, zero=True),
        **dict.fromkeys(LAMBDAS, Range(1e-2, 10, log=True)),
        BATCH: Choice((10, 20)),
    }
)


def attempts(count: int = 20) -> list[Attempt]:
    rng = random.Random(0)
    found = []
    for number in range(count):
        fields = {LAMBDA_OT: rng.choice([0.0, 10 ** rng.uniform(-3, 2)]), BATCH: rng.choice([10, 20])}
        if fields[LAMBDA_OT]:
            fields |= {name: 10 ** rng.uniform(-2, 1) for name in LAMBDAS}
        seeds = 1 if number % 3 == 2 else 2
        outcomes = tuple(SeedOutcome(rng.random() * 0.1 + 0.8, 0.9) for _ in range(seeds))
        folders = (f"trials/d/{number}/0", f"trials/d/{number}/1")
        found.append(Attempt(number, "PRUNED" if seeds == 1 else "COMPLETE", fields, folders, outcomes))
    failed = Attempt(count, "FAIL", found[0].fields, ("trials/d/f/0", "trials/d/f/1"), (), "it broke, badly")
    orphan = Attempt(count + 1, "FAIL", found[1].fields, found[1].folders, (), ORPHANED)
    return [*found, failed, orphan]


def plan(tiny, space=SPACE, objectives=("accuracy",)) -> SearchPlan:
    return SearchPlan("test", space, tiny, (0, 1), objectives, "digits")
