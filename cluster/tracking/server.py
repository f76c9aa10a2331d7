"""Where MLflow is: the server or database that is written to, and the pages on a database."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cluster.credentials import masked
from rambo.errors import require
from rambo.home import Home


def tracking_uri(home: Home) -> str:
    """MLFLOW_TRACKING_URI where it is set, else a SQLite file in the home."""
    uri = os.environ.get("MLFLOW_TRACKING_URI")
    if uri:
        return uri
    require(
        home.is_local,
        f"MLFLOW_TRACKING_URI must name a tracking server where --home is a URL, got none with {home.root}.",
    )
    return f"sqlite:///{home.path('mlflow.db')}"


def server_address(home: Home) -> str | None:
    """Where the pages of MLflow's server are; None where results are in a database, for which `serve` starts one."""
    uri = masked(tracking_uri(home)).rstrip("/")
    return uri if uri.startswith("http") else None


def serve(home: Home, port: int) -> None:
    """MLflow's pages on the home, for this machine alone, until they are stopped."""
    uri = tracking_uri(home)
    require(
        uri.startswith("sqlite:"),
        f"MLFLOW_TRACKING_URI must be unset to serve the home, got {masked(uri)}: look there.",
    )
    exists = home.read("mlflow.db") is not None
    require(exists, f"--home must hold results, got {home.root} without an mlflow.db; run a study first.")
    calm()
    print(f"http://127.0.0.1:{port} until Ctrl-C", flush=True)
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    place = ["--backend-store-uri", uri, "--artifacts-destination", Path(home.path("mlartifacts")).as_uri()]
    command = [sys.executable, "-m", "mlflow", "server", *place, "--host", "127.0.0.1", "--port", str(port)]
    os.execve(sys.executable, [*command, "--workers", "1"], environment)


@contextmanager
def writing_to(uri: str) -> Iterator[None]:
    """MLflow's module-level functions write to `uri` within.

    They keep it in MLFLOW_TRACKING_URI, where the next study of this process, or of a child, would take it for the
    user's word.
    """
    import mlflow

    before = os.environ.get("MLFLOW_TRACKING_URI")
    mlflow.set_tracking_uri(uri)
    try:
        yield
    finally:
        mlflow.set_tracking_uri(before)  # type: ignore[arg-type]  # None unsets it


def calm() -> None:
    """No telemetry, few retries, no line for each run: set before MLflow is imported, unless the user has set them."""
    for name, value in (
        ("MLFLOW_LOGGING_LEVEL", "ERROR"),
        ("MLFLOW_DISABLE_TELEMETRY", "true"),
        ("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true"),
        ("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1"),
        ("MLFLOW_HTTP_REQUEST_TIMEOUT", "30"),
        ("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false"),
    ):
        os.environ.setdefault(name, value)
