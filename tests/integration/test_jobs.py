"""Jobs on a real Ray head with token authentication, submitted from a folder that is not the cluster's."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from flaky import Flaky
from here import sentences
from own_strategy import EXAMPLE
from tiny_experiment import TINY_FLAGS

from rambo.home import Home

pytestmark = [pytest.mark.long, pytest.mark.timeout(1800)]

ROOT = Path(__file__).parents[2]
DASHBOARD = "http://127.0.0.1:8341"
PORTS = [
    "--port=6441",
    "--dashboard-port=8341",
    "--dashboard-agent-listen-port=8342",
    "--ray-client-server-port=9441",
    "--min-worker-port=23000",
    "--max-worker-port=23300",
]
SECRET = "hunter2-of-the-cluster"
STUDY_FLAGS = [
    *TINY_FLAGS,
    "--home=home",
    "--factor=switches.ot",
    "--controls=random",
]
RUN = ["python", "-m", "ablations", "run"]
SLOW = ["--training.learning_rate=1e-6", "--training.max_epochs=250", "--evaluation.repeats=40"]
"""f never learns, so that there is time to be stopped in."""
PATIENCE = 300


@dataclass
class Site:
    """Who submits, and from where."""

    folder: Path
    environment: dict[str, str]

    def run(self, *command: str, check: bool = True, **changes: str):
        answer = subprocess.run(
            command,
            capture_output=True,
            text=True,
            cwd=self.folder,
            env={**self.environment, **changes},
            timeout=PATIENCE,
        )
        assert not check or answer.returncode == 0, answer.stdout + answer.stderr
        return answer

    def cluster(self, *arguments: str, check: bool = True, **changes: str):
        return self.run(sys.executable, "-m", "cluster", *arguments, check=check, **changes)

    def submit(self, *flags: str, check: bool = True):
        """The answer of submitting a study, and the job's id."""
        answer = self.cluster("submit", "--", "python", "-m", "ablations", "run", *STUDY_FLAGS, *flags, check=check)
        return answer, (answer.stdout.splitlines() or [""])[-1]

    def ledger(self, study: str) -> list[tuple[str, str]]:
        lines = Home(self.folder / "home").read_lines(f"studies/{study}/ledger.jsonl")
        return [(entry["event"], entry["trial"]) for entry in map(json.loads, lines)]

    def shown(self, study: str):
        """The study's runs in MLflow: the parent, and the others."""
        from mlflow import MlflowClient

        client = MlflowClient(f"sqlite:///{self.folder}/home/mlflow.db")
        [experiment] = [one for one in client.search_experiments() if one.name == f"ablations/{study}"]
        runs = client.search_runs([experiment.experiment_id])
        [parent] = [one for one in runs if one.data.tags.get("kind") == "study"]
        return parent, [one for one in runs if one is not parent]


def wait_for(condition) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "nothing came of it in time"
        time.sleep(0.2)


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A head of two CPUs that this module's tests share, and a folder without any code to submit from."""
    folder, temporary = tmp_path_factory.mktemp("laptop"), Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))
    (temporary / ".ray").mkdir()
    (temporary / ".ray/auth_token").write_text("0123456789abcdef" * 4)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "MLFLOW_"))}
    environment |= {"HOME": str(temporary), "RAY_AUTH_MODE": "token", "RAY_USAGE_STATS_ENABLED": "0"}
    environment |= {"PATH": f"{Path(sys.executable).parent}:{environment['PATH']}", "MLFLOW_DISABLE_TELEMETRY": "true"}
    environment |= {"PYTHONPATH": str(ROOT)}
    options = [f"--temp-dir={temporary}/ray", "--dashboard-host=127.0.0.1", "--node-ip-address=127.0.0.2"]
    head = subprocess.Popen(
        ["ray", "start", "--head", "--block", "--num-cpus=2", "--disable-usage-stats", *PORTS, *options],
        env={**environment, "MLFLOW_TRACKING_PASSWORD": SECRET, "AWS_SECRET_ACCESS_KEY": SECRET},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for(lambda: head.poll() is not None or (listens(8341) and listens(8342)))
        assert head.poll() is None, "the head did not start"
        yield Site(folder, {**environment, "RAY_API_SERVER_ADDRESS": DASHBOARD})
    finally:
        head.send_signal(signal.SIGTERM)
        head.wait(60)
        shutil.rmtree(temporary, ignore_errors=True)


@pytest.fixture(scope="module")
def finished(site):
    """A study of six trials that a job has run; what following it over a bad connection gave."""
    answer, job = site.submit("--study=tiny", "--seeds=0-1")
    assert answer.stdout.startswith("submitted: python -m ablations run --preset=quickstart")
    assert job.startswith("tiny-")
    again, same = site.submit("--study=tiny", "--seeds=0-1")
    assert same == job
    assert "is there already and is not run twice: " in again.stdout
    proxy = Flaky(8341, lambda number: number >= 10 and number % 3 == 0)
    followed = site.cluster("logs", job, "--follow", RAY_API_SERVER_ADDRESS=proxy.address)
    return job, followed, proxy


def test_a_job_is_followed_to_its_end_over_a_connection_that_breaks(site, finished):
    job, followed, proxy = finished
    assert proxy.broken > 2
    assert sentences(followed.stderr) == [f"{job}: SUCCEEDED"]
    assert followed.stdout == site.cluster("logs", job).stdout, "no line is missing and none is there twice"
    assert followed.stdout.splitlines()[-1] == f"{site.folder}/home/studies/tiny/report.html"
    assert "6 trials were run now" in followed.stdout
    assert "Commit: unknown" not in followed.stdout
    assert sorted(event for event, _ in site.ledger("tiny")) == ["done"] * 6 + ["start"] * 6
    parent, runs = site.shown("tiny")
    assert [one.info.status for one in (parent, *runs)] == ["FINISHED"] * 7


def test_what_has_succeeded_is_not_run_again_unless_asked(site, finished):
    job, _, _ = finished
    answer, same = site.submit("--study=tiny", "--seeds=0-1")
    assert same == job
    assert "has succeeded already and is not run again; --again does." in answer.stdout
    listed = site.cluster("jobs").stdout.splitlines()
    assert listed[0].split() == ["ID", "STUDY", "STATUS", "PROGRESS", "TIME", "LEFT", "STARTED"]
    rows = [line.split()[:5] for line in listed if line.startswith("tiny-")]
    assert rows == [[job, "tiny", "SUCCEEDED", "trials", "6/6"]]


def test_a_stopped_job_is_killed_in_mlflow_and_goes_on_where_it_was(site):
    flags = [*SLOW, "--study=slow", "--seeds=0-1"]
    _, job = site.submit(*flags)
    wait_for(lambda: site.ledger("slow"))
    listed = site.cluster("jobs").stdout
    assert [line.split()[1:3] for line in listed.splitlines() if line.startswith(job)] == [["slow", "RUNNING"]]
    wait_for(lambda: "done" in [event for event, _ in site.ledger("slow")])
    assert site.cluster("stop", job).stdout == f"{job}: STOPPED\n"
    parent, runs = site.shown("slow")
    assert parent.info.status == "KILLED"
    assert "RUNNING" not in {one.info.status for one in runs}
    assert 1 <= len(runs) < 6, "it was stopped in the midst of its work"
    assert site.cluster("stop", job).stdout == f"{job} had ended before: STOPPED\n"
    log = site.cluster("logs", job, check=False)
    assert log.returncode == 1
    assert log.stdout.splitlines()[-1] == "ablations: stopped; the same command goes on from here."
    assert "Traceback" not in log.stdout
    assert "SIGTERM received" not in log.stdout
    [line] = [line for line in site.cluster("jobs").stdout.splitlines() if line.startswith(job)]
    assert "trials " in line

    answer, second = site.submit(*flags)
    assert answer.stdout.startswith("submitted: ")
    assert second == f"{job}-2"
    assert "trials were run now" in site.cluster("logs", second, "--follow").stdout
    parent, runs = site.shown("slow")
    assert [one.info.status for one in (parent, *runs)] == ["FINISHED"] * 7
    done: set[str] = set()
    for event, trial in site.ledger("slow"):
        assert not (event == "start" and trial in done), f"{trial} was run again after it had finished"
        done |= {trial} if event == "done" else set()
    assert len(done) == 6


def test_plain_ray_job_submit_does_as_well(site, finished):
    command = [
        "python",
        "-m",
        "ablations",
        "run",
        *STUDY_FLAGS,
        f"--home={site.folder}/home",
        "--study=tiny",
        "--seeds=0-1",
    ]
    answer = site.run("ray", "job", "submit", "--working-dir", str(ROOT), "--submission-id=plain", "--", *command)
    assert "0 trials were run now" in answer.stdout
    assert "plain" in site.cluster("jobs").stdout
    assert sentences(site.cluster("logs", "plain").stderr) == ["plain: SUCCEEDED"]


def test_a_strategy_of_the_user_s_own_travels_with_its_job(site, tmp_path):
    """Its folder is in the path of who submits alone."""
    (tmp_path / "mine.py").write_text(EXAMPLE)
    flags = [*TINY_FLAGS, "--home=home", "--study=own", "--seeds=0", "--factor=strategy=margin,mine:pick"]
    submit = ["submit", "--", *RUN, *flags, "--controls=none"]
    job = site.cluster(*submit, PYTHONPATH=f"{tmp_path}:{ROOT}").stdout.splitlines()[-1]
    (tmp_path / "mine.py").unlink()
    followed = site.cluster("logs", job, "--follow")
    assert "2 trials were run now" in followed.stdout
    [kept] = (site.folder / "home/trials").rglob("strategy.py")
    assert kept.read_text() == EXAMPLE
    assert (kept.parent / "result.json").exists()


def test_a_job_that_fails_says_why_and_so_does_its_exit_status(site):
    _, job = site.submit("--study=gpu", "--seeds=5", "--gpus-per-trial=.5")
    followed = site.cluster("logs", job, "--follow", check=False)
    assert followed.returncode == 1
    assert sentences(followed.stderr) == [f"{job}: FAILED"]
    assert followed.stdout.splitlines()[-1].startswith(
        "ablations: A trial must fit into a node of the cluster, which has nodes of 2 CPUs and 0 GPU"
    )


def test_mistakes_are_one_sentence(site):
    token = "must be asked with its token, got none or another; set RAY_AUTH_MODE=token and put the token into"
    for arguments, changes, sentence in (
        (["jobs"], {"RAY_AUTH_MODE": "disabled"}, token),
        (["jobs"], {"RAY_AUTH_TOKEN": "another" * 8}, token),
        (["logs", "nothing"], {}, "A job must be one that python -m cluster jobs lists at http://127.0.0.1:8341, got"),
        (["stop", "nothing"], {}, "A job must be one that"),
        (["submit", "--", *RUN, "--preset=no", "--home=home"], {}, "--preset must be one of quickstart"),
        (["submit", "--", *RUN, "--preset=quickstart"], {}, "must say where its results stay, got no --home"),
    ):
        answer = site.cluster(*arguments, check=False, **changes)
        assert answer.returncode == 2
        [said] = sentences(answer.stderr)
        assert said.startswith("cluster: ")
        assert sentence in said


def test_the_secrets_of_the_cluster_are_nowhere(site, finished):
    program = "from ray.job_submission import JobSubmissionClient; print(JobSubmissionClient().list_jobs())"
    listed = site.run(sys.executable, "-c", program).stdout
    assert finished[0] in listed
    written = [path.read_bytes() for path in (site.folder / "home").rglob("*") if path.is_file()]
    assert SECRET not in listed + finished[1].stdout
    assert len(written) > 50
    assert not [content for content in written if SECRET.encode() in content]


def test_a_home_that_another_node_does_not_see_is_refused(site):
    """A node with a disk of its own in the place of the home; the last test, since it joins the head that all share."""
    blind = f"mount -t tmpfs none {site.folder} && exec ray start --address=127.0.0.2:6441 --block"
    options = "--node-ip-address=127.0.0.3 --num-cpus=1 --min-worker-port=23301 --max-worker-port=23600"
    options += " --dashboard-agent-listen-port=8343"
    if subprocess.run(["unshare", "--mount", "true"], check=False, capture_output=True).returncode:
        pytest.skip("a mount of its own takes a privilege that is not here")
    node = subprocess.Popen(
        ["unshare", "--mount", "sh", "-c", f"{blind} {options}"],
        env=site.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for(lambda: node.poll() is not None or listens(8343))
        assert node.poll() is None
        _, job = site.submit("--study=blind", "--seeds=6")
        followed = site.cluster("logs", job, "--follow", check=False)
        assert followed.returncode == 1
        said = followed.stdout.splitlines()[-1]
        assert said.startswith("ablations: --home must be a URL, or on a disk that every node of the cluster can reach")
        assert "which node 127.0.0.3 cannot use (what others write there is not seen)" in said
        assert site.ledger("blind") == []
    finally:
        node.send_signal(signal.SIGTERM)
        node.wait(60)
