"""Which experiment of MLflow is a home's: known by a mark of ours, else left alone."""

import re
import uuid
from typing import Any

from rambo.errors import InvalidInput, require
from rambo.home import Home

OWNER, OWNER_PATH = "rambo.home", "rambo.home_path"
"""Tags of an experiment: the home that it is of, and where that was."""

PARENT = {"kind": "study", "cell": "(the study)"}
"""Tags of every parent run, by which experiments from before the mark are known."""


def home_id(home: Home) -> str:
    """What tells this home from all others, wherever it is moved to; raises `InvalidInput` for a file of others."""
    with home.lock("mlflow.lock"):
        content = home.read("id")
        if content is None:
            content = uuid.uuid4().hex.encode()
            home.write("id", content)
    require(
        re.fullmatch(rb"[0-9a-f]{32}", content) is not None,
        f"{home.path('id')} must hold 32 hex digits, got a file of something else's; move it away, or choose another "
        "--home.",
    )
    return content.decode()


def find_experiment(client: Any, name: str, home: Home, owner: str, location: str | None) -> str:
    """The id of the experiment called `name`, made where there is none and restored where it was deleted.

    `location`: of the files of a new one, where a database has no server that knows a place for them. Raises
    `InvalidInput` where it is another home's or something else's, before anything is written.
    """
    tags = {OWNER: owner, OWNER_PATH: home.root}
    found = client.get_experiment_by_name(name)
    if found is None:
        return str(client.create_experiment(name, artifact_location=location, tags=tags))
    _check_owner(client, found, home, owner, location)
    if found.lifecycle_stage == "deleted":
        client.restore_experiment(found.experiment_id)
    for tag, value in tags.items():
        if found.tags.get(tag) != value:
            client.set_experiment_tag(found.experiment_id, tag, value)
    return str(found.experiment_id)


def _check_owner(client: Any, found: Any, home: Home, owner: str, location: str | None) -> None:
    way_out = "choose another --study, or rename the experiment there"
    if found.lifecycle_stage == "deleted":
        way_out += ", for which it must be restored"
    marks = _marks(client, found)
    if not marks and location is not None and found.artifact_location == location:
        return  # it was made by a command that was killed before it went on
    if not marks:
        raise InvalidInput(
            f"The experiment {found.name} must have been made by this project, got one that something else has made; "
            f"{way_out}."
        )
    others = [path for mark, path in marks.items() if mark not in (owner, "")]  # at first parents named no home
    lost = [mark for mark, path in marks.items() if mark not in (owner, "") and path == home.root]
    if len(others) == len(lost) == 1:
        way_out = f"where its id was lost, write {lost[0]} into {home.path('id')}, else {way_out}"
    require(
        not others,
        f"The experiment {found.name} must be of the home {home.root}, got that of {', '.join(others)}; {way_out}.",
    )


def _marks(client: Any, found: Any) -> dict[str, str]:
    """The homes that the experiment says it is of, and where they were; none where it says nothing of the kind."""
    from mlflow.entities import ViewType

    if OWNER in found.tags:
        return {found.tags[OWNER]: found.tags.get(OWNER_PATH, "")}
    condition = " AND ".join(f"tags.{name} = '{value}'" for name, value in PARENT.items())
    for view in (ViewType.ACTIVE_ONLY, ViewType.DELETED_ONLY):
        parents = client.search_runs([found.experiment_id], condition, run_view_type=view)
        if parents:
            return {run.data.tags.get("home", ""): run.data.tags.get("home_path", "") for run in parents}
    return {}
