"""Where MLflow is: the server or database that is written to, and the pages on a database."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit

from cluster.credentials import masked
from cluster.databases import database_url, file_of, file_url, has_scheme, knock, reason_of
from cluster.tracking.pages import fronts
from rambo.errors import InvalidInput, require
from rambo.formats import first_line
from rambo.home import Home

VARIABLE = "MLFLOW_TRACKING_URI"

DATABASES = ("sqlite", "postgres", "postgresql", "mysql", "mssql")
"""What MLflow keeps runs in without a server."""


def tracking_uri(home: Home) -> str:
    """MLFLOW_TRACKING_URI where it is set, else a SQLite file in the home.

    Raises `InvalidInput` where it is none that MLflow knows; whether anybody answers there is not looked at.
    """
    uri = os.environ.get(VARIABLE)
    if not uri:
        require(
            home.is_local, f"{VARIABLE} must name a tracking server where --home is a URL, got none with {home.root}."
        )
        return file_url(home.path("mlflow.db"))
    if is_server(uri):
        _check_address(uri)
        return uri
    return database_url(uri, VARIABLE) if is_database(uri) else _known_to_mlflow(uri)


def is_server(uri: str) -> bool:
    """Whether it is of a server that has pages."""
    return has_scheme(uri) and uri.partition("://")[0].lower() in ("http", "https")


def is_database(uri: str) -> bool:
    """Whether MLflow's client itself works on a database there."""
    return has_scheme(uri) and uri.partition("://")[0].partition("+")[0] in DATABASES


def _check_address(uri: str) -> None:
    try:
        parts = urlsplit(uri)
        reason = "" if parts.hostname and parts.port != 0 else "no host"
    except ValueError as error:
        reason = first_line(error)
    if reason:
        raise InvalidInput(_malformed(uri, reason))


def _known_to_mlflow(uri: str) -> str:
    """`uri` of a kind that only MLflow or a plugin of it knows."""
    calm()
    from mlflow import MlflowClient

    try:
        require(not uri.strip().lower().startswith("http"), "no http:// at its beginning")
        MlflowClient(uri)
    except Exception as error:  # a plugin may raise anything
        said = first_line(error) if has_scheme(uri) else "no http:// or the like before it"
        raise InvalidInput(_malformed(uri, said)) from None
    return uri


def _malformed(uri: str, reason: str) -> str:
    said = masked(reason).rstrip(".")[:100]
    return (
        f"{VARIABLE} must be the URL of a server or of a database, such as http://host:5000 or "
        f"postgresql://user@host/name, got {masked(uri)} ({said}); correct it, or unset it to keep runs in a home that "
        "is a folder."
    )


def server_address(home: Home) -> str | None:
    """Where the pages of MLflow's server are; None where results are in a database, for which `serve` starts one."""
    uri = tracking_uri(home)
    return masked(uri).rstrip("/") if is_server(uri) else None


def serve(home: Home, port: int) -> None:
    """MLflow's pages on the home, for this machine alone, until they are stopped."""
    uri = tracking_uri(home)
    file = file_of(uri) if is_database(uri) else None
    require(file is not None, f"{VARIABLE} must be unset to serve the home, got {masked(uri)}: look there.")
    require(
        file is not None and file.exists(),
        f"--home must hold results, got {home.root} without an mlflow.db; run a study first.",
    )
    try:
        knock(uri)
    except Exception as error:  # each kind of database has its own
        raise InvalidInput(
            f"{file} must be a database that can be read, got: {reason_of(error)}; where it is damaged, move it away: "
            "python -m ablations sync builds it anew from the trials."
        ) from None
    calm()
    address = f"http://127.0.0.1:{port}"
    print(f"{address} until Ctrl-C. It shows:", flush=True)
    with suppress(Exception):  # what MLflow cannot read here, its server says below in words of its own
        for name, page in fronts(uri):
            print(f"  {name}\n    {address}{page}", flush=True)
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    place = ["--backend-store-uri", uri, "--artifacts-destination", home.url("mlartifacts")]
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
        ("MLFLOW_LOGGING_LEVEL", "CRITICAL"),  # it logs a traceback of what it then raises
        ("MLFLOW_DISABLE_TELEMETRY", "true"),
        ("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true"),
        ("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1"),
        ("MLFLOW_HTTP_REQUEST_TIMEOUT", "30"),
        ("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false"),
    ):
        os.environ.setdefault(name, value)
