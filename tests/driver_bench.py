"""A search's driver at work without Ray, on a real folder and a real study."""

from pathlib import Path

from cluster.databases import file_url
from cluster.limits import Spent
from rambo.home import Home
from rambo.result import Result, result_json
from tune.driver import Driver, Limits
from tune.records import SearchPlan, SeedOutcome, named_search
from tune.search import open_search
from tune.settings import most_trainings
from tune.space import Range, Space

SPACE = Space({"utility_model.dropout": Range(0.0, 0.9)})


class Bench:
    """A driver with all that it needs, and the numbers that have ended."""

    def __init__(
        self, tiny, folder: Path, limits: Limits, space: Space = SPACE, *, stops=True, objectives=("accuracy",)
    ):
        self.home = Home(folder)
        self.plan = SearchPlan("test", space, tiny, (0, 1), objectives, "digits")
        self.search = open_search(self.plan, file_url(folder / "optuna.db"), "random", 0)
        self.search.close_orphans()
        self.ended: list[int] = []
        self.spent = Spent(named_search("test", self.home))
        self.driver = Driver(
            self.search,
            self.plan,
            limits,
            self.spent,
            self.home,
            Path("unused"),
            most_a_trial=most_trainings(self.plan, Path("unused")),
            stops=stops,
            on_end=self.ended.append,
        )

    def run(self, *values: float, trainings: int = 0) -> int:
        """One trial whose seeds give `values`, as far as it is let."""
        job = self.driver.next(9)
        for place, value in enumerate(values):
            if not self.driver.heard(job.number, place, SeedOutcome(value, value, trainings)):
                break
        self.driver.ended(job.number)
        return job.number

    def states(self) -> list[str]:
        return [one.state for one in self.search.attempts()]

    def finish(self, folder: str, accuracy: float) -> None:
        """A result in a trial folder, as another command leaves it."""
        numbers = dict.fromkeys(("test_accuracy", "base_test_accuracy", "base_val_accuracy"), 0.5)
        nothing = dict.fromkeys(("pair_accuracy", "pair_ceiling", "label_agreement"))
        rest = {"data": "digits", "config_id": "x", "seed": 0, "strategy": "rambo", "num_labelled": 9, "seconds": {}}
        result = Result(**rest, **numbers, **nothing, val_accuracy=accuracy, trainings=7)
        self.home.write(f"{folder}/result.json", result_json(result))
