"""A study and a search over Postgres, an object store and an MLflow server that is set up as the compose file says."""

import csv
import io
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import optuna
import psycopg2
import pytest
import requests
import s3fs
import yaml
from here import sentences
from moto.server import ThreadedMotoServer
from tiny_experiment import TINY_FLAGS

from rambo.home import Home

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]

COMPOSE = Path(__file__).parents[2] / "cluster/configs/compose.yaml"
BIN = Path(sys.executable).parent
STUDY_FLAGS = [
    *TINY_FLAGS,
    "--home=s3://home/first",
    "--study=tiny",
    "--seeds=0",
]
SECRETS = {
    "postgres_password": "of-postgres-6d1f",
    "minio_password": "of-minio-77ae",
    "mlflow_password": "of-mlflow-a41c9",
    "mlflow_secret_key": "of-cookies-03bd",
}
PATIENCE = 280


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def postgres_folder() -> Path:
    """Where Postgres' programs are; Debian's package is installed where it is missing and that is possible."""

    def find() -> list[Path]:
        return sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))

    if not find() and os.geteuid() == 0 and shutil.which("apt-get"):
        quiet = {"env": {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}, "capture_output": True, "check": False}
        subprocess.run(["apt-get", "update", "-qq"], **quiet)
        subprocess.run(["apt-get", "install", "-y", "-qq", "--no-install-recommends", "postgresql"], **quiet)
    installed = find() or [Path(found) for found in [shutil.which("initdb")] if found]
    if not installed:
        pytest.skip("no Postgres on this machine, and none could be installed")
    return installed[-1].resolve().parent


@pytest.fixture(scope="module")
def secrets(tmp_path_factory):
    folder = tmp_path_factory.mktemp("secrets")
    for name, value in SECRETS.items():
        (folder / name).write_text(value)
    return folder


@pytest.fixture(scope="module")
def postgres(secrets):
    """The port of a Postgres with the databases mlflow and optuna, both the user mlflow's, who has a password."""
    programs, port = postgres_folder(), free_port()
    root = Path(tempfile.mkdtemp(prefix="postgres-"))
    passwords = root / "password"
    passwords.write_text(SECRETS["postgres_password"])
    someone = {"user": "postgres", "group": "postgres"} if os.geteuid() == 0 else {}  # it refuses to be run by root
    if someone:
        shutil.chown(root, "postgres", "postgres")
        shutil.chown(passwords, "postgres", "postgres")

    def call(program: str, *arguments: str) -> None:
        command = [str(programs / program), "-D", str(root / "data"), *arguments]
        subprocess.run(command, check=True, cwd=root, stdout=subprocess.DEVNULL, **someone)

    call("initdb", "--username=mlflow", f"--pwfile={passwords}", "--auth=scram-sha-256", "--no-sync")
    settings = f"-p {port} -k {root} -c listen_addresses=127.0.0.1 -c fsync=off"
    call("pg_ctl", "-w", "-l", str(root / "log"), "-o", settings, "start")
    try:
        password = SECRETS["postgres_password"]
        connection = psycopg2.connect(host="127.0.0.1", port=port, user="mlflow", password=password, dbname="postgres")
        connection.autocommit = True
        for name in ("mlflow", "optuna"):
            connection.cursor().execute(f"CREATE DATABASE {name}")
        connection.close()
        yield port
    finally:
        call("pg_ctl", "-m", "immediate", "stop")
        shutil.rmtree(root)


@pytest.fixture(scope="module")
def store():
    """The URL of an S3 with the buckets that the compose file makes."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "rambo")
        patch.setenv("AWS_SECRET_ACCESS_KEY", SECRETS["minio_password"])
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        for bucket in ("mlflow", "home"):
            s3fs.S3FileSystem().mkdir(bucket)
        yield f"http://{host}:{port}"
    s3fs.S3FileSystem.clear_instance_cache()
    server.stop()


@dataclass(frozen=True)
class Lab:
    environment: dict[str, str]
    database: str
    """URL of Optuna's, without a password."""
    root: Path

    def run(self, room: str, *flags: str):
        command = [sys.executable, "-m", room, "run", *STUDY_FLAGS, *flags]
        answer = subprocess.run(
            command, capture_output=True, text=True, cwd=self.root, env=self.environment, timeout=PATIENCE
        )
        assert answer.returncode == 0, answer.stderr
        assert SECRETS["mlflow_password"] not in answer.stdout + answer.stderr
        return answer.stdout

    def shown(self, experiment: str):
        from mlflow import MlflowClient

        client = MlflowClient(self.environment["MLFLOW_TRACKING_URI"])
        found = client.get_experiment_by_name(experiment)
        return client, client.search_runs([found.experiment_id])


@pytest.fixture(scope="module")
def lab(postgres, store, secrets, tmp_path_factory):
    """What a user's environment holds beside an MLflow server that was started by the compose file's own line."""
    root, port = tmp_path_factory.mktemp("lab"), free_port()
    compose = yaml.safe_load(COMPOSE.read_text())
    service = compose["services"]["mlflow"]

    def here(text: str) -> str:
        text = text.replace("$$", "$").replace("/run/secrets", str(secrets)).replace("0.0.0.0", "127.0.0.1")
        return text.replace("@postgres/", f"@127.0.0.1:{postgres}/").replace("5000", str(port))

    (root / "auth.ini").write_text(here(compose["configs"]["auth"]["content"]))
    places = {"MLFLOW_S3_ENDPOINT_URL": store, "MLFLOW_AUTH_CONFIG_PATH": str(root / "auth.ini")}
    plain = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    environment = {**plain, **service["environment"], **places, "PATH": f"{BIN}:{os.environ['PATH']}"}
    with (root / "mlflow.log").open("w") as log:
        command = [*service["command"][:-1], here(service["command"][-1])]
        server = subprocess.Popen(command, cwd=root, env=environment, stdout=log, stderr=log, start_new_session=True)
    try:
        wait_for(f"http://127.0.0.1:{port}/health", server, root / "mlflow.log")
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
            patch.setenv("MLFLOW_TRACKING_USERNAME", "admin")
            patch.setenv("MLFLOW_TRACKING_PASSWORD", SECRETS["mlflow_password"])
            patch.setenv("PGPASSWORD", SECRETS["postgres_password"])
            yield Lab(dict(os.environ), f"postgresql+psycopg2://mlflow@127.0.0.1:{postgres}/optuna", root)
    finally:
        os.killpg(server.pid, 15)
        server.wait(timeout=30)


def wait_for(url: str, server: subprocess.Popen, log: Path) -> None:
    deadline = time.monotonic() + 150
    while time.monotonic() < deadline:
        assert server.poll() is None, log.read_text()
        try:
            if requests.get(url, timeout=5).status_code == 200:
                return
        except requests.ConnectionError:
            time.sleep(0.1)
    pytest.fail(log.read_text())


def test_a_study_lives_in_a_bucket_and_shows_itself_in_a_guarded_mlflow_on_postgres(lab):
    told = lab.run("ablations", "--factor=switches.ot", "--controls=random")
    assert "3 trials were run now" in told
    assert "did not take" not in told
    home = Home("s3://home/first")
    assert home.read("studies/tiny/report.html")
    assert "verdict" in told
    client, runs = lab.shown("ablations/tiny")
    assert {one.info.status for one in runs} == {"FINISHED"}
    assert len(runs) == 4
    [parent] = [one for one in runs if one.data.tags.get("kind") == "study"]
    assert {"table.md", "report.html"} <= {item.path for item in client.list_artifacts(parent.info.run_id)}
    assert s3fs.S3FileSystem().find("mlflow"), "the artifacts are in the object store"
    assert not [path for path in lab.root.iterdir() if path.name not in ("auth.ini", "mlflow.log")], "nor beside it"
    before = {name: home.read(f"studies/tiny/{name}") for name in home.list("studies/tiny")}
    assert "0 trials were run now" in lab.run("ablations", "--factor=switches.ot", "--controls=random")
    assert {name: home.read(f"studies/tiny/{name}") for name in home.list("studies/tiny")} == before
    assert len(lab.shown("ablations/tiny")[1]) == 4


def test_a_search_keeps_its_memory_in_postgres_and_the_rest_in_the_bucket(lab):
    told = lab.run("tune", "--num-trials=2", f"--storage={lab.database}")
    assert "All 2 trials are finished. 2 trials ended now" in told
    assert "did not take" not in told
    study = optuna.load_study(study_name="tiny", storage=lab.database)
    assert Counter(trial.state.name for trial in study.trials) == {"COMPLETE": 2}
    rows = list(csv.DictReader(io.StringIO((Home("s3://home/first").read("searches/tiny/trials.csv") or b"").decode())))
    assert [float(row["val_mean"]) for row in rows] == [trial.value for trial in study.trials]
    assert {one.info.status for one in lab.shown("tune/tiny")[1]} == {"FINISHED"}
    again = lab.run("tune", "--num-trials=2", f"--storage={lab.database}")
    assert "All 2 trials are finished. 0 trials ended now" in again


def test_a_wrong_password_of_the_database_is_one_sentence_without_the_password(lab):
    url = lab.database.replace("mlflow@", "mlflow:not-the-password@")
    command = [sys.executable, "-m", "tune", "run", *STUDY_FLAGS, "--study=other", f"--storage={url}"]
    answer = subprocess.run(
        command, capture_output=True, text=True, cwd=lab.root, env=lab.environment, timeout=PATIENCE
    )
    assert answer.returncode == 2
    [line] = sentences(answer.stderr)
    assert "--storage must be the URL of a database that can be opened" in line
    assert "not-the-password" not in line
