"""Where MLflow is, and what of the environment decides it."""

import os

import pytest

from cluster.tracking.server import calm, serve, server_address, tracking_uri, writing_to
from rambo.errors import InvalidInput
from rambo.home import Home


def test_a_url_as_home_needs_a_tracking_server(monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(InvalidInput, match="MLFLOW_TRACKING_URI must name a tracking server"):
        tracking_uri(Home("memory://home"))


def test_the_environment_decides_else_a_database_in_the_home(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert tracking_uri(Home(tmp_path)) == f"sqlite+pysqlite:///{tmp_path}/mlflow.db"
    for home in (Home(tmp_path), Home("memory://home")):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql://db/mlflow")
        assert tracking_uri(home) == "postgresql+psycopg2://db/mlflow"
        assert server_address(home) is None, "a database has no pages"


@pytest.mark.parametrize(
    ("uri", "address"),
    [
        ("", None),
        ("http://host:5000", "http://host:5000"),
        ("https://ann:hunter2@host/at/", "https://ann:***@host/at"),
    ],
)
def test_the_pages_are_at_the_server_without_its_password(tmp_path, monkeypatch, uri, address):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    assert server_address(Home(tmp_path)) == address


def test_only_a_home_with_results_is_served(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(InvalidInput, match=f"--home must hold results, got {tmp_path} without an mlflow.db; run a"):
        serve(Home(tmp_path), 5000)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://ann:hunter2@host")
    with pytest.raises(InvalidInput, match=r"must be unset to serve the home, got http://ann:\*\*\*@host: look there"):
        serve(Home(tmp_path), 5000)
    assert list(tmp_path.iterdir()) == [], "looking makes no database"


@pytest.mark.parametrize("before", [None, "http://host:5000"])
def test_where_one_model_is_written_does_not_stay_where_all_is_written(monkeypatch, before):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    if before is not None:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", before)
    within = []

    def interrupted() -> None:
        within.append(os.environ["MLFLOW_TRACKING_URI"])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), writing_to("http://other:5000"):
        interrupted()
    assert within == ["http://other:5000"]
    assert os.environ.get("MLFLOW_TRACKING_URI") == before


def test_what_the_user_has_set_is_left_as_it_is(monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "7")
    monkeypatch.delenv("MLFLOW_DISABLE_TELEMETRY", raising=False)
    calm()
    assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "7"
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"


@pytest.mark.parametrize(
    "uri",
    [
        "mlflow.example.com:5000",
        "/data/mlruns",
        "http:/host",
        "http://",
        "http://h:port",
        "htp://h",
        " http://h",
        "sqlite://x.db",
    ],
)
def test_a_malformed_address_is_one_sentence(tmp_path, monkeypatch, uri):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with pytest.raises(InvalidInput, match=r"^MLFLOW_TRACKING_URI must be the URL of a .*\.$") as refusal:
        tracking_uri(Home(tmp_path))
    assert "\n" not in str(refusal.value)
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_database_is_not_served(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (tmp_path / "mlflow.db").write_bytes(b"spoilt" * 1000)
    with pytest.raises(InvalidInput, match="must be a database that can be read, got: file is not a database; where"):
        serve(Home(tmp_path), 5000)


def test_ui_says_what_it_shows_and_where(shown, monkeypatch, capsys):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    home, _, experiment, parent = shown
    started = []
    monkeypatch.setattr(os, "execve", lambda *arguments: started.append(arguments))
    serve(home, 5123)
    first, name, page = capsys.readouterr().out.splitlines()
    assert first == "http://127.0.0.1:5123 until Ctrl-C. It shows:"
    assert name.strip() == "ablations/test"
    report = f"/#/experiments/{experiment}/runs/{parent}/artifacts/report.html?workflowType=machine_learning"
    assert page.strip() == f"http://127.0.0.1:5123{report}"
    assert len(started) == 1
