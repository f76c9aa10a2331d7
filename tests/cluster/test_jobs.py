import io
import json
import os
import re
import socket
import subprocess
import time
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from flaky import Flaky

from cluster.__main__ import main
from cluster.credentials import masked
from cluster.inner import Inner, read_inner, shipped_name, try_plan
from cluster.jobs import Jobs, Position, Reservation, read_position
from cluster.runtime import check_nodes, files_of
from cluster.shipping import LIMIT_BYTES, Shipment, pack
from cluster.tracking.board import Board
from cluster.work_queue import QueueState
from cluster.workers import Pace
from rambo.errors import InvalidInput
from rambo.fields import override
from rambo.home import Home
from rambo.progress import _Lines

RUN = ["python", "-m", "ablations", "run"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def checkout(folder):
    """A working folder with code and with all that must not travel."""
    for name in ("rambo/__init__.py", "rambo/x.py", "notes.txt", "rambo/__pycache__/x.pyc", ".venv/lib.py", ".env"):
        write(folder / name)
    for name in ("data/images.npz", "runs/store/a", "mine/store/a", "mine/trials/b", "other/mlflow.db", "a.egg-info/b"):
        write(folder / name)
    return folder


def write(path: Path, content: bytes = b"x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_what_a_command_names_is_made_absolute(folder):
    config = write(folder / "settings.json", json.dumps({"data.source": "npz:own.npz", "seed": 3}).encode())
    inner = read_inner([*RUN, "--config", "settings.json", "--home=kept", "--seeds", "0-3"])
    assert inner.words[:4] == ("python", "-m", "ablations", "run")
    assert inner.words[4:] == (
        "--config",
        shipped_name(config),
        f"--home={folder}/kept",
        "--seeds",
        "0-3",
        f"--data.source=npz:{folder}/own.npz",
    )
    assert (inner.study, inner.home.root, inner.config) == ("settings", f"{folder}/kept", Path("settings.json"))
    assert set(inner.stays) == {folder / "kept", folder / "own.npz"}


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--home", "s3://bucket/runs"], "s3://bucket/runs"),
        (["--data.source=images:photos"], "--data.source=images:{}/photos"),
        (["--data.source", "mnist"], "mnist"),
        (["--utility_model.weights", "resnet.pt"], "{}/resnet.pt"),
        (["--utility_model.weights=imagenet"], "--utility_model.weights=imagenet"),
        (["--factor", "data.source=npz:a.npz,digits"], "data.source=npz:{0}/a.npz,digits"),
        (["--factor=switches.ot"], "--factor=switches.ot"),
        (["--storage=sqlite:///memory.db"], "--storage=sqlite:///{}/memory.db"),
        (["--storage=postgresql://ann@host/optuna"], "--storage=postgresql://ann@host/optuna"),
        (["--home", "kept"], "{}/kept"),
        (["--data-dir=sets"], "--data-dir={}/sets"),
    ],
)
def test_each_way_of_naming_a_path(folder, flags, expected):
    home = [] if "--home" in flags else ["--home=kept"]
    assert expected.format(folder) in read_inner([*RUN, "--preset=quickstart", *flags, *home]).words


def test_a_command_without_a_home_is_refused_since_this_machines_folder_is_not_the_clusters():
    with pytest.raises(InvalidInput, match="must say where its results stay, got no --home; give a path that every"):
        read_inner([*RUN, "--preset=quickstart"])


def test_where_downloads_are_kept_here_is_not_sent_to_the_cluster(folder):
    words = read_inner([*RUN, "--preset=quickstart", "--data.source", "mnist", "--home=s3://bucket/home"]).words
    assert not [word for word in words if str(folder) in word]


def test_a_study_is_called_by_its_name_else_by_what_it_runs(folder):
    def study(*words: str) -> str:
        inner = read_inner(["python3", "-m", *words, "--home=kept"])
        assert inner.words[:3] == ("python", "-m", words[0])
        return inner.study

    assert study("ablations", "run", "--recipe", "table4", "--study=mine") == "mine"
    assert study("ablations", "run", "--recipe", "table4") == "table4"
    assert study("cluster", "collect", "--preset=paper_mnist") == "paper_mnist"
    assert study("tune", "run", "--preset=quickstart", "--num-trials=9") == "quickstart"
    assert study("tune", "run", "--preset=quickstart", "--study", "wide") == "wide"
    assert study("rambo") == "rambo"


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["ls"],
        ["python", "train.py"],
        ["python", "-m", "pip", "run"],
        ["python", "-m", "ablations", "ui"],
        ["python", "-m", "cluster", "submit"],
        ["sh", "-m", "rambo"],
    ],
)
def test_other_commands_are_refused(words):
    with pytest.raises(InvalidInput, match="must be one of python -m ablations run, python -m tune run, python -m cl"):
        read_inner(words)


def test_a_plan_is_no_job():
    with pytest.raises(InvalidInput, match="got --plan; run that here, without submit"):
        read_inner([*RUN, "--preset=quickstart", "--plan"])


@pytest.mark.parametrize(
    "flag",
    [
        "--storage=postgresql://ann:hunter2@db/x",
        "--storage=postgresql+psycopg2://ann:a/hunter2/9@db/x",
        "--storage=postgresql://ann:12/hunter2@db:5432/x",
        "--storage=postgresql://ann@corp:hunter2?@db/x",
        "--home=s3://key:hunter2@bucket/runs",
        "--home=s3://key:a/hunter2@bucket/runs",
    ],
)
def test_a_password_in_a_command_is_refused_and_not_repeated(flag):
    with pytest.raises(
        InvalidInput, match=r"must carry no password.*set it in the environment of the cluster"
    ) as caught:
        read_inner([*RUN, "--preset=quickstart", flag])
    assert "hunter2" not in str(caught.value)
    assert ":***@" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("API request to https://ann:pw@host:5000/api failed", "API request to https://ann:***@host:5000/api failed"),
        ("to postgresql://ann:aB/c9@db/x and on", "to postgresql://ann:***@db/x and on"),
        ("postgresql://ann:p@s/s@db/x?mail=a@b", "postgresql://ann:***@db/x?mail=a@b"),
        ("http://ann:aB/c9@host/api", "http://ann:***@host/api"),
        ("postgresql://db:5432/x", "postgresql://db:5432/x"),
        ("s3://bucket/runs?AWS_SECRET_ACCESS_KEY=abc&x=1", "s3://bucket/runs?AWS_SECRET_ACCESS_KEY=***&x=1"),
        ("http://127.0.0.1:8265/#/a:b@c", "http://127.0.0.1:8265/#/a:b@c"),
        ("npz:a@b.npz", "npz:a@b.npz"),
    ],
)
def test_passwords_are_masked_and_nothing_else(text, expected):
    assert masked(text) == expected


def test_a_tracking_server_is_shown_without_its_password(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://ann:hunter2@127.0.0.1:9")
    assert Board(Home(tmp_path), "x", []).uri == "http://ann:***@127.0.0.1:9"


@pytest.mark.parametrize("room", [["rambo"], ["tune", "run"], ["cluster", "collect"]])
def test_the_plan_of_a_mistaken_command_says_its_own_sentence(folder, room):
    with pytest.raises(InvalidInput, match=r"^--preset must be one of quickstart, .*; got fast\.$"):
        try_plan(["python", "-m", *room, "--preset=fast"])


def test_code_travels_and_data_results_caches_and_hidden_files_stay(checkout):
    config = write(checkout / "kept/settings.json")
    named = {"submitted/settings.json": config}
    shipment = pack(checkout, without=[checkout / "kept", checkout / "notes.txt"], extra=named)
    assert set(shipment.files) == {"rambo/__init__.py", "rambo/x.py", "submitted/settings.json"}


def test_what_git_ignores_stays(checkout):
    write(checkout / ".gitignore", b"*.txt\n")
    subprocess.run(["git", "init", "-q"], check=True)
    assert set(pack(checkout).files) == {"rambo/__init__.py", "rambo/x.py"}


def test_a_checkout_in_a_folder_that_another_repository_ignores_still_travels(folder):
    subprocess.run(["git", "init", "-q"], check=True)
    write(folder / ".gitignore", b"work/\n")
    write(folder / "work/rambo/__init__.py")
    assert set(pack(folder / "work").files) == {"rambo/__init__.py"}


def test_the_same_content_is_the_same_archive(checkout):
    first, second = io.BytesIO(), io.BytesIO()
    before = pack(checkout)
    before.write(first)
    os.utime(checkout / "notes.txt", (1, 1))
    after = pack(checkout)
    after.write(second)
    assert first.getvalue() == second.getvalue()
    known = before.digest()
    assert known == after.digest()
    assert set(zipfile.ZipFile(first).namelist()) == {"rambo/__init__.py", "rambo/x.py", "notes.txt"}
    write(checkout / "study.log")
    assert pack(checkout).digest() == known, "what is not the code makes no other job"
    for name in ("rambo/x.py", "tune/new.py", "pyproject.toml", "constraints.txt"):
        write(checkout / name, b"y")
        known, before = pack(checkout).digest(), known
        assert known != before, name


def test_from_a_folder_without_the_code_the_code_that_runs_here_travels(folder):
    write(folder / "private.txt")
    files = set(pack(folder).files)
    assert {"rambo/__main__.py", "cluster/jobs.py", "tune/__main__.py", "ablations/run.py"} <= files
    assert not [name for name in files if not name.startswith(("rambo/", "cluster/", "tune/", "ablations/"))]


def test_a_folder_that_is_too_large_is_one_sentence_that_names_the_largest(checkout):
    for name, size in (("images.npz", LIMIT_BYTES), ("more/a.bin", 2**20), ("more/b.bin", 2**20)):
        write(checkout / name)
        os.truncate(checkout / name, size)
    with pytest.raises(InvalidInput) as caught:
        pack(checkout)
    assert str(caught.value).startswith(
        "The working folder must hold at most 100.0 MiB of code, which is what Ray uploads, got 102.0 MiB in "
        f"{checkout} (largest: images.npz 100.0 MiB, more/ 2.0 MiB, "
    )
    assert str(caught.value).endswith("move data out of it, to where every node can read it, or list it in .gitignore.")
    assert pack(checkout, without=[checkout / "images.npz"]).files


def test_positions_are_read_from_what_commands_say(capsys, monkeypatch):
    monkeypatch.setattr("rambo.progress.LOG_SECONDS", 0.0)
    assert read_position("Running entrypoint for job x: python -m rambo\nno progress: yet\n") == Position("", None)
    _Lines("trials", 40)(10)
    said = capsys.readouterr().err
    assert read_position(said) == Position("trials 10/40", 0)
    pace = Pace(100)
    pace.line(QueueState(0, 2, None), 0.0)
    said += pace.line(QueueState(20, 2, None), 10.0)
    assert read_position(said) == Position("measuring 20/100", 40)
    assert read_position(f"{said}\nmeasuring: 20/100 sets, workers at work: 2") == Position("measuring 20/100", None)


def test_a_cluster_that_stalls_is_one_sentence(monkeypatch):
    monkeypatch.setattr("cluster.jobs.ANSWER_SECONDS", 0.3)
    sentence = r"must answer, got: .*timed out.*; see whether it runs"
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(InvalidInput, match=sentence):
        Jobs(f"http://127.0.0.1:{silent.getsockname()[1]}")


@pytest.mark.parametrize("address", [None, "local"])
def test_no_address_is_one_sentence(address, monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.delenv("RAY_API_SERVER_ADDRESS", raising=False)
    with pytest.raises(
        InvalidInput, match=r"--address must name the dashboard of a Ray cluster, .*, got none; give it"
    ):
        Jobs(address)


def test_an_address_that_nobody_answers_is_one_sentence(monkeypatch):
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "http://127.0.0.1:2")
    for address, shown in (("http://127.0.0.1:1", "http://127.0.0.1:1"), (None, "http://127.0.0.1:2")):
        with pytest.raises(InvalidInput, match=rf"The Ray cluster at {shown} must answer, got: .*refused; see whether"):
            Jobs(address)
    with pytest.raises(InvalidInput, match=r"http://ann:\*\*\*@127\.0\.0\.1:1 must answer"):
        Jobs("http://ann:hunter2@127.0.0.1:1")


def test_mistakes_are_told_before_the_cluster_is_asked(folder):
    with pytest.raises(InvalidInput, match="A submitted command must be one of"):
        main(["submit", "--address", "http://127.0.0.1:1", "--", "python", "train.py"])


def test_files_that_experiments_read(tiny, folder):
    configs = [override(tiny, {"data.source": "npz:a.npz"}), override(tiny, {"utility_model.weights": "w.pt"}), tiny]
    assert files_of(configs) == [f"{folder}/a.npz", f"{folder}/w.pt"]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def three_nodes():
    """The dashboard of a head and two more nodes of this machine, connected."""
    import ray
    from ray.cluster_utils import Cluster

    ports = {"dashboard_port": free_port(), "dashboard_agent_listen_port": free_port()}
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": True, **ports})
    for _ in range(2):
        cluster.add_node(num_cpus=1)
    ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
    yield f"http://127.0.0.1:{ports['dashboard_port']}"
    ray.shutdown()
    cluster.shutdown()


def test_a_home_that_every_node_reads_is_taken(three_nodes, tmp_path):
    home = Home(tmp_path / "home")
    check_nodes(home, [str(write(tmp_path / "images.npz"))])
    assert list(Path(home.root).iterdir()) == []


def test_a_home_that_other_nodes_do_not_see_is_refused(three_nodes):
    with pytest.raises(InvalidInput) as caught:
        check_nodes(Home("memory://of/one/process"))
    assert str(caught.value).startswith(
        "--home must be a URL, or on a disk that every node of the cluster can reach, got memory://of/one/process,"
    )
    assert "what others write there is not seen" in str(caught.value)


def test_data_that_other_nodes_do_not_have_are_refused(three_nodes, tmp_path):
    with pytest.raises(
        InvalidInput, match=r"^Data must be .*, got /nowhere/images.npz, which node .*\(not there\); give"
    ):
        check_nodes(Home(tmp_path), ["/nowhere/images.npz"])


SAYING = "env; echo trials: 3/10, 0.5/s, 14 s left; exec sleep 300"


@pytest.fixture
def at_work(three_nodes, tmp_path, monkeypatch):
    """The jobs of the cluster, one of which is at work, as it was submitted, and its id."""
    monkeypatch.setattr("cluster.jobs.POLL_SECONDS", 0.1)
    monkeypatch.setenv("SOMEBODYS_TOKEN", "planted-token-3e2b")  # of this side: the nodes run already
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "planted-password-51d0")
    jobs, code = Jobs(three_nodes), Shipment({"rambo/x.py": write(tmp_path / "x.py")})
    inner = Inner(("sh", "-c", SAYING, "run", "--seeds=0-1"), "tiny", Home(tmp_path / "home"), None, ())
    job, is_new = jobs.submit(inner, code, Reservation())
    assert is_new
    deadline = time.monotonic() + 60
    while jobs.position(jobs.get(job.id)).seconds_left is None:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    yield jobs, inner, code, job.id
    jobs.stop(job.id)


def test_one_job_at_a_time_works_on_a_study(at_work, tmp_path):
    jobs, inner, code, known = at_work
    beside = Shipment({**code.files, "study.log": write(tmp_path / "study.log")})
    job, is_new = jobs.submit(inner, beside, Reservation())
    assert (job.id, is_new) == (known, False)
    other = replace(inner, words=(*inner.words[:4], "--seeds=0-3"))
    changed = Shipment({"rambo/x.py": write(tmp_path / "y.py", b"changed")})
    for one, files in ((other, code), (inner, changed)):
        with pytest.raises(InvalidInput) as caught:
            jobs.submit(one, files, Reservation())
        assert str(caught.value) == (
            f"Only one job at a time must work on tiny in {tmp_path}/home, got {known}, which is RUNNING with another "
            "command or other code; wait for it, stop it, or choose another --study."
        )
    for free in (replace(other, home=Home(tmp_path / "other")), replace(other, study="b"), collecting(other)):
        with pytest.raises(InvalidInput, match="must fit on one node"):  # so nothing else was in the way
            jobs.submit(free, code, Reservation(num_gpus=1))
    assert jobs.stop(known)[0].status == "STOPPED"
    job, is_new = jobs.submit(other, code, Reservation())
    assert is_new
    jobs.stop(job.id)


def collecting(inner: Inner) -> Inner:
    return replace(inner, words=(*inner.words[:3], "collect", *inner.words[4:]))


def test_a_job_gets_no_secret_of_the_side_that_submits_it(at_work):
    jobs, _, _, known = at_work
    said: list[str] = []
    jobs.follow(known, said.append, until_end=False)
    assert "RAMBO_COMMIT=" in "".join(said), "the job has told its whole environment"
    assert re.search(r"^PWD=.*/runtime_resources/", "".join(said), re.MULTILINE), "by which a home knows that it goes"
    assert "planted" not in "".join(said)
    assert "planted" not in str(jobs._client.list_jobs())


def test_jobs_show_how_far_they_are(at_work, three_nodes, capsys):
    main(["jobs", "--address", three_nodes])
    heading, *lines = capsys.readouterr().out.splitlines()
    [line] = [line for line in lines if line.startswith(at_work[3])]
    for column, expected in (
        ("STUDY", "tiny"),
        ("STATUS", "RUNNING"),
        ("PROGRESS", "trials 3/10"),
        ("TIME LEFT", "14 s"),
    ):
        assert line[heading.index(column) :].startswith(f"{expected}  ")


@pytest.mark.parametrize(
    ("wanted", "sentence"),
    [
        (Reservation(num_gpus=1), "got 0 CPU, 1 GPU, 0.0 GiB where the nodes have 1 CPU, 0 GPU, "),
        (Reservation(num_cpus=2), "got 2 CPU, 0 GPU, 0.0 GiB where the nodes have 1 CPU, 0 GPU, "),
        (Reservation(memory_bytes=2**50), "got 0 CPU, 0 GPU, 1048576.0 GiB where the nodes have 1 CPU, 0 GPU, "),
    ],
)
def test_a_driver_that_fits_on_no_node_is_refused(three_nodes, tmp_path, wanted, sentence):
    jobs, before = Jobs(three_nodes), len(Jobs(three_nodes).list())
    inner = Inner(("true",), "large", Home(tmp_path), None, ())
    with pytest.raises(InvalidInput, match="What a job's driver reserves must fit on one node") as caught:
        jobs.submit(inner, Shipment({}), wanted)
    assert sentence in str(caught.value)
    assert str(caught.value).endswith("; reserve less, or add such a node.")
    assert len(jobs.list()) == before


def test_following_and_stopping_outlast_connections_that_break(at_work, three_nodes):
    coming: list[bool] = []
    proxy = Flaky(int(three_nodes.rpartition(":")[2]), lambda number: bool(coming) and coming.pop())
    jobs, known = Jobs(proxy.address), at_work[3]
    said: list[str] = []
    coming.extend([True, False, True])
    assert jobs.follow(known, said.append, until_end=False).status == "RUNNING"
    assert "trials: 3/10" in "".join(said)
    coming.extend([True, False, True, False, True])
    job, ran = jobs.stop(known)
    assert (job.status, ran) == ("STOPPED", True)
    assert proxy.broken == 5
