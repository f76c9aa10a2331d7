"""Pages of MLflow: their addresses, and the views of the table of runs.

Every address that is shown to people is made here. Without the workflow in its query MLflow opens an experiment among
those of language models, where it looks empty.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass

from cluster.tracking.experiment import PARENT

WORKFLOW = "workflowType=machine_learning"

VIEWS = "mlflow.sharedViewState."
"""How the tags of an experiment begin that hold its views."""

FRONT = "front"
"""Tag of a parent run: the file among its artifacts that shows the result at once."""


@dataclass(frozen=True)
class View:
    """What a table of runs shows, under a name in the menu of views."""

    key: str
    """In addresses."""
    name: str
    columns: tuple[str, ...]
    """Such as `metrics.test_accuracy` or `tags.cell`; MLflow orders those of one sort by name."""
    condition: str
    """Which runs, as MLflow's search has it."""
    order_by: str
    """A column."""
    ascending: bool = False
    group_by: str = ""
    """The tag whose runs share a row of means, if any."""

    @property
    def tag(self) -> str:
        """Of the experiment, that holds it."""
        return f"{VIEWS}{self.key}"

    def content(self, created: int) -> str:
        """The value of the tag, made at `created` milliseconds; MLflow 3.15 to 3.17 have this form, undocumented."""
        keys = [{"mode": "tag", "groupByData": self.group_by}]
        grouped = {"groupBy": {"aggregateFunction": "average", "groupByKeys": keys}, "groupsExpanded": {}}
        state = {
            "orderByKey": _quoted(self.order_by),
            "orderByAsc": self.ascending,
            "searchFilter": self.condition,
            "startTime": "ALL",
            "lifecycleFilter": "Active",
            "modelVersionFilter": "All Runs",
            "datasetsFilter": [],
            "selectedColumns": list(map(_quoted, self.columns)),
            "runsExpanded": {},
            "runsPinned": [],
            "runsHidden": [],
            **(grouped if self.group_by else {}),
        }
        return json.dumps({"name": self.name, "createdAt": created, "state": json.dumps(state)})


def runs_page(experiment: str, view: str) -> str:
    """Where the table of runs is, in the view of that key; like all addresses here, relative to the server's."""
    return f"/#/experiments/{experiment}/runs?{WORKFLOW}&viewStateShareKey={view}"


def run_page(experiment: str, run: str, file: str = "") -> str:
    """Where a run is, or a file among its artifacts."""
    inner = f"/artifacts/{file}" if file else ""
    return f"/#/experiments/{experiment}/runs/{run}{inner}?{WORKFLOW}"


def fronts(uri: str) -> Iterator[tuple[str, str]]:
    """The studies and searches that `uri` shows, each with the page where its result is seen at once."""
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    condition = " AND ".join(f"tags.{name} = '{value}'" for name, value in PARENT.items())
    for experiment in sorted(client.search_experiments(), key=lambda one: str(one.name)):
        for run in client.search_runs([experiment.experiment_id], condition, max_results=1):
            front, views = run.data.tags.get(FRONT), [tag for tag in sorted(experiment.tags) if tag.startswith(VIEWS)]
            if front or not views:
                page = run_page(experiment.experiment_id, run.info.run_id, front or "")
            else:
                page = runs_page(experiment.experiment_id, views[0].removeprefix(VIEWS))
            yield str(experiment.name), page


def _quoted(column: str) -> str:
    kind, _, name = column.partition(".")
    return f"{kind}.`{name}`"
