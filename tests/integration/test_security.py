"""What a stranger gets: no way past MLflow's password, no secret, no code run from a file, no path out of a folder."""

import ast
import os
import pickle
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
import requests
from hypothesis import given
from tiny_experiment import TINY_FLAGS

from ablations.plans import STUDY
from rambo.config import Config
from rambo.data.features import resnet18_features
from rambo.errors import InvalidInput
from rambo.fields import override
from rambo.home import Home
from rambo.preparation import prepare
from rambo.store import Store
from tune.records import SEARCH

ROOT = Path(__file__).parents[2]
ROOMS = ("rambo", "cluster", "tune", "ablations", "benchmarks")
STUDY_FLAGS = [
    *TINY_FLAGS,
    "--home=home",
    "--study=tiny",
    "--factor=switches.ot",
    "--controls=random",
    "--seeds=0",
]
PLANTED = {  # not MLFLOW_TRACKING_USERNAME: MLflow shows it as the user of every run
    "MLFLOW_TRACKING_PASSWORD": "planted-password-51d0",
    "AWS_SECRET_ACCESS_KEY": "planted-key-b77e",
    "RAY_AUTH_TOKEN": "planted-ray-c0ffee1234567890abcdef1234567890",
    "PGPASSWORD": "planted-postgres-09aa",
    "SOMEBODYS_TOKEN": "planted-token-3e2b",
}
PATIENCE = 280


def ablations(*arguments: str, cwd: Path, **environment: str):
    command = [sys.executable, "-m", "ablations", *arguments]
    whole = {**os.environ, **environment}
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=whole, timeout=PATIENCE, check=False)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A study that was run with secrets in its environment; its folder, Ray's folder and what it printed."""
    root = tmp_path_factory.mktemp("finished")
    ray_folder = tempfile.mkdtemp(prefix="ray-", dir="/tmp")  # its sockets need a short path
    places = {"HOME": str(root / "user"), "RAY_TMPDIR": ray_folder, "RAY_AUTH_MODE": "token"}
    (root / "user").mkdir()
    answer = ablations("run", *STUDY_FLAGS, cwd=root, **PLANTED, **places)
    assert answer.returncode == 0, answer.stderr
    yield root, Path(ray_folder), answer
    shutil.rmtree(ray_folder)


@pytest.fixture
def copy(finished, tmp_path):
    """Its home, without what MLflow has of it."""
    shutil.copytree(finished[0] / "home", tmp_path / "home", ignore=shutil.ignore_patterns("ml*"))
    return tmp_path


def holding(needle: str, *folders: Path) -> list[Path]:
    """Files that have `needle` in them or in their path; what grows or goes meanwhile is read as far as it is."""
    paths = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    return [path for path in paths if needle in str(path) or needle.encode() in path.read_bytes()]


@pytest.mark.long
@pytest.mark.parametrize("name", PLANTED)
def test_no_secret_of_the_environment_is_in_any_file_log_or_line_of_a_study(finished, name):
    root, ray_folder, answer = finished
    assert holding(PLANTED[name], root, ray_folder) == []
    assert PLANTED[name] not in answer.stdout + answer.stderr


@pytest.mark.long
def test_the_search_for_secrets_finds_what_is_there(finished):
    root, ray_folder, _ = finished
    found = {path.relative_to(root).parts[1] for path in holding("lambda_ot", root)}
    assert {"mlflow.db", "mlartifacts", "trials", "studies"} <= found
    assert holding("raylet", ray_folder), "Ray's logs of this very study are where they are looked for"


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    """The address of an MLflow server with basic-auth."""
    root = tmp_path_factory.mktemp("server")
    (root / "auth.ini").write_text(
        f"[mlflow]\ndefault_permission = READ\ndatabase_uri = sqlite:///{root}/users.db\nadmin_username = admin\n"
        "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\nauth_cache_ttl_seconds = 60\n"
    )
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = {
        "MLFLOW_AUTH_CONFIG_PATH": str(root / "auth.ini"),
        "MLFLOW_AUTH_ADMIN_PASSWORD": "right-password",
        "MLFLOW_FLASK_SERVER_SECRET_KEY": "of-cookies",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }
    command = [sys.executable, "-m", "mlflow", "server", "--app-name", "basic-auth", "--port", str(port)]
    command += ["--workers", "1", "--backend-store-uri", f"sqlite:///{root}/mlflow.db"]
    with (root / "log").open("w") as log:
        server = subprocess.Popen(
            command, cwd=root, env={**os.environ, **settings}, stdout=log, stderr=log, start_new_session=True
        )
    try:
        deadline = time.monotonic() + 150
        while time.monotonic() < deadline:
            assert server.poll() is None, (root / "log").read_text()
            try:
                requests.get(f"http://127.0.0.1:{port}/health", timeout=5).raise_for_status()
                break
            except requests.RequestException:
                time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(server.pid, 15)
        server.wait(timeout=30)


@pytest.mark.long
def test_without_a_password_mlflow_refuses_and_the_study_ends_and_loses_nothing(copy, guarded, finished, monkeypatch):
    for name, password in ((None, None), ("admin", "wrong-password")):
        given = {"MLFLOW_TRACKING_USERNAME": name, "MLFLOW_TRACKING_PASSWORD": password} if name else {}
        answer = ablations("run", *STUDY_FLAGS, cwd=copy, MLFLOW_TRACKING_URI=guarded, **given)
        assert answer.returncode == 0, answer.stderr
        assert f"MLflow at {guarded} does not take results now; they are kept in the home." in answer.stderr
        [sentence] = [line for line in answer.stdout.splitlines() if "did not take 3 trials (" in line]
        assert "401" in sentence
        assert "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD" in sentence
        assert "wrong-password" not in answer.stdout + answer.stderr
        assert "Traceback" not in answer.stderr
    for path in (finished[0] / "home/studies/tiny").glob("*.*"):
        if path.name != "ledger.jsonl":
            assert (copy / "home/studies/tiny" / path.name).read_bytes() == path.read_bytes(), path.name


@pytest.mark.long
def test_with_the_password_in_the_environment_mlflow_takes_everything(copy, guarded, monkeypatch):
    from mlflow import MlflowClient

    right = {"MLFLOW_TRACKING_USERNAME": "admin", "MLFLOW_TRACKING_PASSWORD": "right-password"}
    answer = ablations("sync", "--study=tiny", "--home=home", cwd=copy, MLFLOW_TRACKING_URI=guarded, **right)
    assert answer.returncode == 0, answer.stderr
    assert "3 trials of tiny are in MLflow." in answer.stdout
    for name, value in right.items():
        monkeypatch.setenv(name, value)
    client = MlflowClient(guarded)
    runs = client.search_runs([client.get_experiment_by_name("ablations/tiny").experiment_id])
    assert [one.info.status for one in runs] == ["FINISHED"] * 4
    assert not list(copy.rglob("mlflow.db")), "nothing was shown elsewhere"
    assert holding("right-password", copy) == []


def unpicklers(source: str) -> list[int]:
    """Lines that could unpickle or run what a file holds."""
    found = []
    for node in ast.walk(ast.parse(source)):
        text = ast.unparse(node) if isinstance(node, ast.Attribute | ast.Call) else ""
        if isinstance(node, ast.ImportFrom):
            bad = (node.module or "").split(".")[0] in ("pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve")
        elif isinstance(node, ast.Import):
            bad = any(alias.name in ("cloudpickle", "dill", "joblib", "marshal", "shelve") for alias in node.names)
        elif isinstance(node, ast.Attribute):
            bad = text.startswith("pickle.") and text != "pickle.UnpicklingError"
        elif isinstance(node, ast.Call):
            keywords = {item.arg: ast.unparse(item.value) for item in node.keywords}
            called = text.split("(")[0]
            bad = called in ("eval", "exec", "yaml.load", "pandas.read_pickle", "pd.read_pickle")
            bad |= called == "torch.load" and keywords.get("weights_only") != "True"
            bad |= keywords.get("allow_pickle", "False") != "False"
        else:
            bad = False
        found += [node.lineno] if bad else []
    return found


def test_no_line_of_ours_unpickles_what_a_file_holds():
    paths = [path for room in ROOMS for path in (ROOT / room).rglob("*.py")]
    assert len(paths) > 60
    assert {str(path): lines for path in paths if (lines := unpicklers(path.read_text()))} == {}


@pytest.mark.parametrize(
    "line",
    [
        "import pickle; pickle.loads(b'')",
        "from pickle import loads",
        "import joblib",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "np.load(path, allow_pickle=True)",
        "np.load(path, allow_pickle=chosen)",
        "eval(text)",
    ],
)
def test_lines_that_unpickle_are_noticed(line):
    assert unpicklers(line)


class Bomb:
    """Unpickled, it makes a file."""

    def __init__(self, canary: Path) -> None:
        self._canary = canary

    def __reduce__(self):
        return Path.touch, (self._canary,)


@pytest.fixture
def canary(tmp_path):
    path = tmp_path / "somebody-ran-this"
    pickle.loads(pickle.dumps(Bomb(path)))
    assert path.exists(), "a bomb goes off where it is unpickled"
    path.unlink()
    yield path
    assert not path.exists()


def test_pickled_arrays_in_an_archive_are_refused_in_one_sentence(canary, tmp_path, tiny):
    bomb = np.array([Bomb(canary)] * 4, dtype=object)
    labels = np.arange(4) % 2
    np.savez(tmp_path / "x.npz", x=bomb, y=labels)
    np.savez(tmp_path / "y.npz", x=np.zeros((4, 8, 8), np.uint8), y=bomb)
    np.savez(tmp_path / "classes.npz", x=np.zeros((4, 8, 8), np.uint8), y=labels, classes=bomb[:2])
    (tmp_path / "whole.npz").write_bytes(pickle.dumps(Bomb(canary)))
    for name in ("x", "y", "classes", "whole"):
        with pytest.raises(InvalidInput) as refusal:
            prepare(override(tiny, {"data.source": f"npz:{tmp_path}/{name}.npz"}), tmp_path)
        assert f"{name}.npz must " in str(refusal.value)
        assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("suffix", ["safetensors", "pth", "pt"])
def test_pickled_weights_are_refused_in_one_sentence(canary, tmp_path, suffix):
    import torch

    path = tmp_path / f"weights.{suffix}"
    for write in (lambda: path.write_bytes(pickle.dumps(Bomb(canary))), lambda: torch.save(Bomb(canary), path)):
        write()
        with pytest.raises(InvalidInput) as refusal:
            resnet18_features(np.zeros((2, 1, 8, 8), np.uint8), str(path), torch.device("cpu"))
        assert "\n" not in str(refusal.value)


@pytest.mark.long
def test_pickles_in_a_store_are_set_aside_or_refused(canary, copy):
    home = Home(copy / "home")
    bomb = pickle.dumps(Bomb(canary))
    for kind in ("measurements", "ot"):
        home.write(f"store/{kind}/bomb.parquet", bomb)
    store = Store(home)
    for read in (store.measurements, store.ot_values):
        with pytest.warns(RuntimeWarning, match="moved to store/corrupt"):
            read(["any"])
    assert home.read("store/corrupt/bomb.parquet") == bomb


@pytest.mark.long
def test_a_pickle_in_place_of_a_learned_model_is_refused_in_one_sentence(canary, copy):
    models = list((copy / "home/trials").rglob("utility_model.safetensors"))
    assert models
    for path in models:
        path.write_bytes(pickle.dumps(Bomb(canary)))
    answer = ablations("sync", "--study=tiny", "--home=home", cwd=copy)
    assert answer.returncode == 2
    assert "Traceback" not in answer.stderr
    assert "utility_model.safetensors must be" in answer.stderr.splitlines()[-1]


ODD = ["..", ".", "", "../up", "a/b", "/etc", "a\\b", "~", "a b", "a\nb", "con\0", "..-/..", "%2e%2e", "C:x", "$HOME"]


@pytest.mark.parametrize("folder_of", [STUDY.folder_of, SEARCH.folder_of])
def test_odd_names_of_studies_and_searches_are_refused(folder_of):
    for name in ODD:
        with pytest.raises(InvalidInput, match="--study must be a name of letters"):
            folder_of(name)


@given(st.text())
def test_a_name_that_is_taken_stays_in_its_folder(name):
    for folder_of, parent in ((STUDY.folder_of, "studies"), (SEARCH.folder_of, "searches")):
        try:
            folder = folder_of(name)
        except InvalidInput:
            continue
        assert Path("/home", folder).resolve().parent == Path("/home", parent)


@pytest.mark.parametrize("name", ["...", "a b", "..%2f..", "-rf", "~", "ünï", "x" * 200])
def test_a_data_sets_name_stays_one_folder(tmp_path, name, tiny: Config):
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "plain.npz", x=rng.integers(0, 255, (600, 8, 8)).astype(np.uint8), y=np.arange(600) % 10)
    path = tmp_path / f"{name}.npz"
    (tmp_path / "plain.npz").rename(path)
    folder = prepare(override(tiny, {"data.source": f"npz:{path}"}), tmp_path).folder
    assert len(Path(folder).parts) == 4
    assert folder.isascii()
    assert Path("/home", folder).resolve() == Path("/home", folder)


@pytest.mark.parametrize("name", ["../up", "a/../../up", "/etc/passwd", "studies/../../up", ".."])
def test_a_home_keeps_to_its_folder_whatever_a_plan_in_it_says(tmp_path, name):
    home = Home(tmp_path / "home")
    (tmp_path / "up").write_text("somebody else's")
    calls = [home.read, home.list, home.folders, home.remove, home.read_lines]
    for call in (*calls, lambda name: home.write(name, b""), lambda name: home.append(name, b"")):
        with pytest.raises(InvalidInput, match="must be a path inside"):
            call(name)
    with pytest.raises(InvalidInput, match="must be a path inside"), home.lock(name):
        pass
    assert (tmp_path / "up").read_text() == "somebody else's"
