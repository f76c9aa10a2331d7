"""Jobs on a cluster of three nodes; `check_nodes` as well, so that it starts once."""

import re
import socket
import time
from dataclasses import replace
from pathlib import Path

import pytest
from flaky import Flaky
from free_ports import free_port
from made_files import write

from cluster.__main__ import main
from cluster.inner import Inner
from cluster.jobs import Jobs, Position, Reservation, read_position
from cluster.nodes import check_nodes
from cluster.shipping import Shipment
from cluster.work_queue import QueueState
from cluster.workers import Pace
from rambo.errors import InvalidInput
from rambo.home import Home
from rambo.own import Own, Pinned
from rambo.progress import Units


def test_positions_are_read_from_what_commands_say():
    assert read_position("Running entrypoint for job x: python -m rambo\nno progress: yet\n") == Position("", None)
    units = Units("trials", 40)
    units.advance(10)
    said = f"{units.line()}\n"
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


@pytest.mark.parametrize(
    ("flag", "sentence"),
    [
        ("--acquisition.budget=many", r"acquisition\.budget must be int, got 'many'"),
        ("--acquisition.budget=99900", r"budget \(B\) must be at most the \d+ images of the pool, got 99900"),
    ],
)
def test_a_wrong_inner_command_is_told_before_the_cluster_is_asked(folder, flag, sentence):
    wrong = ["python", "-m", "rambo", "--preset=quickstart", "--home=home", flag]
    with pytest.raises(InvalidInput, match=sentence):
        main(["submit", "--address", "http://127.0.0.1:1", "--", *wrong])


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


@pytest.mark.long
def test_a_home_that_every_node_reads_is_taken(three_nodes, tmp_path):
    home = Home(tmp_path / "home")
    check_nodes(home, [str(write(tmp_path / "images.npz"))])
    assert list(Path(home.root).iterdir()) == []


@pytest.mark.long
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
    with pytest.raises(InvalidInput) as caught:
        check_nodes(Home(tmp_path), own=[Pinned(Own("classifier.name", "far_away:net"), "0" * 16, "/nowhere")])
    said = str(caught.value)
    assert said.startswith("Every node of the cluster must be able to import classifier far_away:net, got ")
    assert "which cannot (far_away, which is not there); put it on a disk that they all reach: python -m cl" in said


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
    stopped, _ = jobs.stop(known)
    assert stopped.status == "STOPPED"
    assert jobs.position(stopped) == Position("trials 3/10", None), "how far it got is still shown"
    job, is_new = jobs.submit(other, code, Reservation())
    assert is_new
    jobs.stop(job.id)


def test_a_job_that_has_succeeded_still_shows_how_far_it_got(three_nodes, tmp_path):
    words = ("sh", "-c", "echo trials: 3/4, 2 s left; echo trials: 4/4; echo stopped by its limit", "run")
    jobs = Jobs(three_nodes)
    job, _ = jobs.submit(Inner(words, "short", Home(tmp_path), None, ()), Shipment({}), Reservation())
    ended = jobs.follow(job.id, lambda text: None, until_end=True)
    assert (ended.status, jobs.position(ended)) == ("SUCCEEDED", Position("trials 4/4", None))


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


def test_jobs_show_how_far_they_are(at_work, three_nodes, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
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
