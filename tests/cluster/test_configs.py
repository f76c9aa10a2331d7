"""The files in cluster/configs, each against the schema or the tool that reads it."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
import tomllib
from importlib import resources
from pathlib import Path

import jsonschema
import kubernetes_validate
import psutil
import pytest
import ray
import yaml
from mlflow.cli import server
from ray.autoscaler._private.util import prepare_config, validate_config

import ablations.__main__ as ablations_command
from ablations.paper.asked import read_grid

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / "cluster/configs"
BIN = Path(sys.executable).parent
ARTICLE = ROOT / "docs/clusters.md"


def read(name: str):
    return yaml.safe_load((CONFIGS / name).read_text())


def tool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(BIN / arguments[0]), *arguments[1:]], capture_output=True, text=True, check=False)


def flags_of(text: str, program: str) -> list[str]:
    """The flags of all calls of `program` in `text`, without their values."""
    joined = re.sub(r"\\\n\s*", " ", text)
    calls = re.findall(rf"\b{program} ((?:[^\n&|;`]|&(?=\w))*)", joined)
    return [flag for call in calls for flag in re.findall(r"(?<=\s)(--[a-z][a-z-]*)", f" {call}")]


def study_commands() -> list[list[str]]:
    """Every call of `python -m ablations run` in the files and in the article about them."""
    texts = [path.read_text() for path in (*sorted(CONFIGS.iterdir()), ARTICLE)]
    joined = "\n".join(re.sub(r"\\\n[#\s]*", " ", text) for text in texts)
    return [shlex.split(call) for call in re.findall(r"python -m ablations run( --[^\n`…]+)", joined)]


def test_ray_up_passes_rays_own_checks():
    config = read("ray-up.yaml")
    validate_config(config)
    complete = prepare_config(config)
    validate_config(complete)
    broken = {**config, "max_worker": 8}
    with pytest.raises(jsonschema.ValidationError):
        validate_config(broken)


def test_ray_ups_head_does_no_work_and_its_workers_are_gpus_on_spot():
    config = read("ray-up.yaml")
    head, gpu = (config["available_node_types"][name] for name in ("head", "gpu"))
    assert config["head_node_type"] == "head"
    assert head["resources"] == {"CPU": 0, "GPU": 0}
    assert "InstanceMarketOptions" not in head["node_config"], "the driver must not be taken away"
    assert gpu["resources"]["GPU"] >= 1
    assert gpu["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}
    assert gpu["min_workers"] >= 1, "a study on a cluster without a CPU is refused"
    [starting] = [command for command in config["head_start_ray_commands"] if "ray start" in command]
    assert "--num-cpus=0 --num-gpus=0" in starting
    commands = [*config["head_start_ray_commands"], *config["worker_start_ray_commands"]]
    assert sum("RAY_AUTH_MODE=token ray start" in command for command in commands) == 2
    assert sum("ray start" in command for command in commands) == 2


def test_every_flag_of_ray_start_and_of_mlflows_server_exists():
    known = set(re.findall(r"^  (--[a-z-]+)", tool("ray", "start", "--help").stdout, re.MULTILINE))
    for name, least in (("ray-up.yaml", 8), ("slurm.sh", 8)):
        found = set(flags_of((CONFIGS / name).read_text(), "ray start"))
        found |= set(re.findall(r"--[a-z-]+-port", (CONFIGS / name).read_text()))
        assert len(found) >= least, found
        assert found <= known
    job = read("rayjob.yaml")["spec"]["rayClusterSpec"]
    groups = [job["headGroupSpec"], *job["workerGroupSpecs"]]
    assert {f"--{name}" for group in groups for name in group["rayStartParams"]} <= known
    served = flags_of(read("compose.yaml")["services"]["mlflow"]["command"][-1].replace("\n", " "), "mlflow server")
    assert {"--app-name", "--backend-store-uri", "--artifacts-destination", "--allowed-hosts"} <= set(served)
    assert set(served) <= {option for parameter in server.params for option in parameter.opts}


def test_every_study_in_the_files_and_in_the_article_is_one_that_the_command_takes(monkeypatch):
    taken = []
    monkeypatch.setitem(ablations_command.COMMANDS, "run", lambda chosen: taken.append(chosen))
    commands = study_commands()
    for flags in commands:
        ablations_command.main(["run", *flags])
        read_grid(taken[-1])
    assert len(commands) >= 6


RAY_JOB = {
    "type": "object",
    "additionalProperties": False,
    "required": ["entrypoint", "backoffLimit", "shutdownAfterJobFinishes", "rayClusterSpec"],
    "properties": {
        "entrypoint": {"type": "string"},
        "runtimeEnvYAML": {"type": "string"},
        "backoffLimit": {"type": "integer", "minimum": 1},
        "shutdownAfterJobFinishes": {"const": True},
        "ttlSecondsAfterFinished": {"type": "integer", "minimum": 0},
        "rayClusterSpec": {
            "type": "object",
            "additionalProperties": False,
            "required": ["rayVersion", "authOptions", "headGroupSpec", "workerGroupSpecs"],
            "properties": {
                "rayVersion": {"type": "string"},
                "enableInTreeAutoscaling": {"type": "boolean"},
                "authOptions": {"const": {"mode": "token"}},
                "headGroupSpec": {"$ref": "#/definitions/group"},
                "workerGroupSpecs": {
                    "type": "array",
                    "items": {
                        "$ref": "#/definitions/group",
                        "required": ["groupName", "minReplicas", "maxReplicas", "rayStartParams", "template"],
                    },
                },
            },
        },
    },
    "definitions": {
        "group": {
            "type": "object",
            "additionalProperties": False,
            "required": ["rayStartParams", "template"],
            "properties": {
                "groupName": {"type": "string"},
                "replicas": {"type": "integer", "minimum": 1},
                "minReplicas": {"type": "integer", "minimum": 1},
                "maxReplicas": {"type": "integer", "minimum": 1},
                "rayStartParams": {"type": "object", "additionalProperties": {"type": "string"}},
                "template": {"type": "object"},
            },
        }
    },
}
"""What is used of KubeRay's RayJob, ray.io/v1; the whole definition is a megabyte. Pods have a schema of their own."""


JOBS = ("rayjob.yaml", "rayjob-sweep.yaml")

QUEUED = {
    "type": "object",
    "additionalProperties": False,
    "required": ["name", "labels", "annotations"],
    "properties": {
        "name": {"type": "string"},
        "labels": {
            "type": "object",
            "additionalProperties": False,
            "required": ["kueue.x-k8s.io/queue-name", "kueue.x-k8s.io/priority-class"],
            "patternProperties": {r"^kueue\.x-k8s\.io/(queue-name|priority-class)$": {"pattern": "^[a-z0-9-]{1,63}$"}},
        },
        "annotations": {"const": {"kueue.x-k8s.io/elastic-job": "true"}},
    },
}
"""What Kueue reads of a job, pkg/controller/constants; without the annotation it refuses a cluster that grows."""


def pods(name: str) -> list[dict]:
    job = read(name)["spec"]["rayClusterSpec"]
    return [group["template"] for group in (job["headGroupSpec"], *job["workerGroupSpecs"])]


@pytest.mark.parametrize("name", JOBS)
def test_a_ray_job_and_its_pods_are_of_the_right_form(name):
    job = read(name)
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    jsonschema.Draft7Validator(RAY_JOB).validate(job["spec"])
    assert job["spec"]["rayClusterSpec"]["rayVersion"] == ray.__version__
    for pod in pods(name):
        whole = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "one"}, **pod}
        kubernetes_validate.validate(whole, kubernetes_validate.latest_version(), strict=True)
        whole["spec"]["containers"][0]["envfrom"] = []
        with pytest.raises(kubernetes_validate.ValidationError):
            kubernetes_validate.validate(whole, kubernetes_validate.latest_version(), strict=True)


@pytest.mark.parametrize("name", JOBS)
def test_a_ray_job_keeps_its_state_off_the_cluster_and_its_secrets_in_a_secret(name):
    job = read(name)["spec"]
    assert re.search(r"--home s3://\S+$", job["entrypoint"].strip()), "each retry is a new cluster"
    assert job["rayClusterSpec"]["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    for pod in pods(name):
        [container] = pod["spec"]["containers"]
        assert container["envFrom"] == [{"secretRef": {"name": "rambo"}}]
        assert "env" not in container
    assert "nvidia.com/gpu" in pods(name)[1]["spec"]["containers"][0]["resources"]["limits"]


def test_a_sweep_s_ray_job_waits_in_a_queue_that_has_room_for_it():
    job, queue = read("rayjob-sweep.yaml"), list(yaml.safe_load_all((CONFIGS / "queue.yaml").read_text()))
    jsonschema.Draft7Validator(QUEUED).validate(job["metadata"])
    named = {one["kind"]: one for one in queue}
    labels = job["metadata"]["labels"]
    assert labels["kueue.x-k8s.io/queue-name"] == named["LocalQueue"]["metadata"]["name"]
    assert labels["kueue.x-k8s.io/priority-class"] == named["WorkloadPriorityClass"]["metadata"]["name"]
    assert named["LocalQueue"]["spec"]["clusterQueue"] == named["ClusterQueue"]["metadata"]["name"]
    [group] = named["ClusterQueue"]["spec"]["resourceGroups"]
    assert group["flavors"][0]["name"] == named["ResourceFlavor"]["metadata"]["name"]
    head, worker = (pod["spec"]["containers"][0]["resources"]["requests"] for pod in pods("rayjob-sweep.yaml"))
    most = job["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]["maxReplicas"]
    for resource in group["flavors"][0]["resources"]:
        wanted = [parse_quantity(one.get(resource["name"], "0")) for one in (head, *most * [worker])]
        assert sum(wanted) <= parse_quantity(resource["nominalQuota"]), resource


def test_a_sweep_s_ray_job_mounts_the_file_that_it_applies(tmp_path):
    job = read("rayjob-sweep.yaml")["spec"]
    words = shlex.split(job["entrypoint"])
    assert words[:5] == ["python", "-m", "ablations", "sweep", "apply"]
    [pod, _] = pods("rayjob-sweep.yaml")
    [mount], [volume] = pod["spec"]["containers"][0]["volumeMounts"], pod["spec"]["volumes"]
    assert mount["name"] == volume["name"]
    assert words[5] == f"{mount['mountPath']}/{volume['configMap']['name']}.toml"


@pytest.mark.parametrize("name", JOBS)
def test_clusters_that_grow_are_waited_for(name):
    job = read(name)["spec"]
    [group] = job["rayClusterSpec"]["workerGroupSpecs"]
    assert group["minReplicas"] < group["maxReplicas"]
    assert job["rayClusterSpec"]["enableInTreeAutoscaling"] is True, "maxReplicas means nothing without it"
    assert yaml.safe_load(job["runtimeEnvYAML"]) == {"env_vars": {"RAMBO_WAIT_SECONDS": "900"}}


def test_ray_up_waits_for_workers():
    [starting] = [command for command in read("ray-up.yaml")["head_start_ray_commands"] if "ray start" in command]
    assert "RAMBO_WAIT_SECONDS=900 " in starting


def parse_quantity(text: str) -> float:
    number, unit = re.fullmatch(r"([\d.]+)(Gi)?", text).groups()
    return float(number) * (2**30 if unit else 1)


def test_ray_up_starts_the_image_that_the_user_has_looked_up_and_its_container_sees_the_gpus():
    nodes = [kind["node_config"] for kind in read("ray-up.yaml")["available_node_types"].values()]
    assert [node["ImageId"] for node in nodes] == ["AMI", "AMI"], "EC2 refuses it, where Ray would take an old default"
    for text in ((CONFIGS / "ray-up.yaml").read_text(), ARTICLE.read_text()):
        assert (
            "--name /aws/service/deeplearning/ami/x86_64/base-oss-nvidia-driver-gpu-ubuntu-22.04/latest/ami-id" in text
        )
    set_here = (CONFIGS / "Dockerfile").read_text()
    assert "NVIDIA_VISIBLE_DEVICES=all" in set_here
    assert "NVIDIA_DRIVER_CAPABILITIES=compute,utility" in set_here


def test_the_image_has_what_mlflow_ray_up_and_homes_on_s3_import():
    asked = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["cluster"]
    names = {re.match(r"[a-z0-9-]+", one)[0] for one in asked}
    assert names >= {"boto3", "mlflow", "psycopg2-binary", "s3fs"}
    pinned = {line.partition("==")[0] for line in (ROOT / "constraints.txt").read_text().splitlines()}
    assert names <= pinned


def test_the_compose_file_passes_its_schema_and_publishes_on_loopback_alone():
    config = read("compose.yaml")
    schema = resources.files("check_jsonschema") / "builtin_schemas/vendor/compose-spec.json"
    validator = jsonschema.validators.validator_for(json.loads(schema.read_text()))(json.loads(schema.read_text()))
    validator.validate(config)
    broken = {**config, "services": {"postgres": {"imago": "postgres"}}}
    assert not validator.is_valid(broken)
    published = [port for service in config["services"].values() for port in service.get("ports", ())]
    assert len(published) == 3
    assert all(re.fullmatch(r"127\.0\.0\.1:(\d+):\1", port) for port in published)
    images = [service["image"] for service in config["services"].values()]
    assert all(":" in image and not image.endswith(":latest") for image in images)


def test_no_secret_is_written_in_the_compose_file():
    config = read("compose.yaml")
    for secret in config["secrets"].values():
        assert secret["file"].startswith("${RAMBO_SECRETS:?")
    for name, service in config["services"].items():
        for setting, value in service.get("environment", {}).items():
            secret = re.search("PASSWORD|SECRET|TOKEN", setting)
            assert not secret or value.startswith("/run/secrets/"), f"{name}: {setting}"
        assert set(service.get("secrets", ())) <= set(config["secrets"])
    assert "PGPASSWORD" in config["services"]["mlflow"]["command"][-1]
    assert "://mlflow@postgres/" in config["services"]["mlflow"]["command"][-1], "the URL is without a password"
    assert "://mlflow@postgres/" in config["configs"]["auth"]["content"]


def test_the_dockerfile_passes_hadolint_and_builds_the_environment_before_the_code(tmp_path):
    text = (CONFIGS / "Dockerfile").read_text()
    answer = tool("hadolint", CONFIGS / "Dockerfile")
    assert answer.returncode == 0, answer.stdout
    (tmp_path / "Dockerfile").write_text(text.replace(":3.11-slim-bookworm", ""))
    assert tool("hadolint", tmp_path / "Dockerfile").returncode != 0
    copied = re.findall(r"^COPY (.+)$", text, re.MULTILINE)
    assert copied[0].split()[:2] == ["pyproject.toml", "constraints.txt"]
    assert text.index("COPY pyproject") < text.index("pip install") < text.index(f"COPY {copied[1]}")
    rooms = {line.split()[0] for line in copied[1:]}
    assert all((ROOT / room / "__init__.py").exists() for room in rooms)
    listed = set((CONFIGS / "Dockerfile.dockerignore").read_text().splitlines())
    assert {f"!{name}" for name in (*rooms, *copied[0].split()[:-1])} <= listed, "what is copied is in the context"
    assert "*" in listed


def test_slurms_script_passes_shellcheck_and_asks_to_be_queued_again(tmp_path):
    script = CONFIGS / "slurm.sh"
    answer = tool("shellcheck", script)
    assert answer.returncode == 0, answer.stdout
    (tmp_path / "broken.sh").write_text(script.read_text() + "\nrm -f $study/*\nif true; then\n")
    assert tool("shellcheck", tmp_path / "broken.sh").returncode != 0
    asked = re.findall(r"^#SBATCH (--\S+)", script.read_text(), re.MULTILINE)
    assert {"--requeue", "--open-mode=append", "--signal=B:USR1@120"} <= set(asked)
    refused = subprocess.run(["bash", script], capture_output=True, text=True, check=False)
    assert refused.returncode == 2
    assert "a study's command must follow, got none" in refused.stderr


SHIMS = {
    "srun": """
echo "$SRUN_CPUS_PER_TASK" >>"$HOME/cpus"
case " $* " in *" --exclude"*) exec $WORKERS;; esac
while [ "${1#-}" != "$1" ]; do shift; done
exec "$@"
""",
    "scontrol": '[ "$1" = show ] && echo "$SLURM_JOB_NODELIST" || echo "$@" >>"$HOME/scontrol"',
}
"""Slurm itself: srun starts the command here, or $WORKERS for other nodes; scontrol notes what else it is asked."""

STUDY = """
import os, pathlib, sys, time
import ray
ray.init(log_to_driver=False)
mode = os.stat(os.environ["RAY_AUTH_TOKEN_PATH"]).st_mode & 0o777
alone = ray.get(ray.remote(lambda: os.environ["RAY_AUTH_MODE"]).remote())
pathlib.Path("seen").write_text(f"{mode:o} {alone} {int(ray.cluster_resources()['CPU'])}")
while pathlib.Path("wait").exists():
    time.sleep(.1)
sys.exit(7)
"""


def slurm_job(root: Path, number: int, **more: str) -> subprocess.Popen[str]:
    """Slurm's script as its first node would run it."""
    shims = root / "shims"
    shims.mkdir()
    for name, line in SHIMS.items():
        (shims / name).write_text(f"#!/bin/sh\n{line}\n")
        (shims / name).chmod(0o755)
    job = {"SLURM_JOB_ID": str(number), "SLURM_JOB_NODELIST": "here", "SLURM_JOB_NUM_NODES": "1"}
    job |= {"SLURM_CPUS_PER_TASK": "2", "HOME": str(root), "USER": f"test{os.getpid()}"}
    environment = {**os.environ, **job, **more, "PATH": f"{shims}:{BIN}:{os.environ['PATH']}"}
    command = ["bash", CONFIGS / "slurm.sh", sys.executable, "-c", STUDY]
    with (root / "log").open("w") as log:
        return subprocess.Popen(command, cwd=root, env=environment, stdout=log, stderr=log, text=True)


def left_behind(number: int) -> list[psutil.Process]:
    """Processes of the job's Ray; what is told to end has a few seconds for it."""
    folder = f"/tmp/ray-test{os.getpid()}-{number}"
    for _ in range(100):
        found = [one for one in psutil.process_iter(["cmdline"]) if folder in " ".join(one.info["cmdline"] or ())]
        if not found:
            break
        time.sleep(0.1)
    return found


@pytest.mark.long
def test_slurms_script_runs_the_study_on_a_cluster_with_a_token_and_leaves_nothing_running(tmp_path):
    job = slurm_job(tmp_path, 107)
    assert job.wait(timeout=120) == 7, (tmp_path / "log").read_text()
    assert (tmp_path / "seen").read_text() == "600 token 2"
    assert not list((tmp_path / ".ray").glob("token-*"))
    assert not left_behind(107)
    assert not (tmp_path / "scontrol").exists()
    assert set((tmp_path / "cpus").read_text().split()) == {"2"}, "srun knows the CPUs of a task from this alone"


@pytest.mark.long
@pytest.mark.parametrize(
    ("number", "workers", "patience", "sentence"),
    [
        (109, "false", "600", "Ray must start on 2 nodes, got 1, and srun ended; what it said is above."),
        (110, "sleep 300", "1", "Ray must start on 2 nodes within 1 s (RAMBO_WAIT_SECONDS), got 1."),
    ],
)
def test_a_slurm_job_whose_other_nodes_do_not_come_up_ends_with_a_sentence(
    tmp_path, number, workers, patience, sentence
):
    more = {"SLURM_JOB_NUM_NODES": "2", "WORKERS": workers, "RAMBO_WAIT_SECONDS": patience}
    job = slurm_job(tmp_path, number, **more)
    assert job.wait(timeout=120) == 1, (tmp_path / "log").read_text()
    assert f"slurm.sh: {sentence}\n" in (tmp_path / "log").read_text()
    assert not (tmp_path / "seen").exists()
    assert not left_behind(number)


@pytest.mark.long
def test_a_slurm_job_whose_time_is_up_while_it_waits_for_nodes_is_queued_again(tmp_path):
    job = slurm_job(tmp_path, 111, SLURM_JOB_NUM_NODES="2", WORKERS="sleep 300")
    while "waiting for Ray on 2 nodes" not in (tmp_path / "log").read_text() and job.poll() is None:
        time.sleep(0.1)
    job.send_signal(signal.SIGUSR1)
    assert job.wait(timeout=60) == 0, (tmp_path / "log").read_text()
    assert (tmp_path / "scontrol").read_text() == "requeue 111\n"
    assert not left_behind(111)


@pytest.mark.long
def test_a_slurm_job_whose_time_is_up_is_queued_again(tmp_path):
    (tmp_path / "wait").touch()
    job = slurm_job(tmp_path, 108)
    while not (tmp_path / "seen").exists() and job.poll() is None:
        time.sleep(0.1)
    job.send_signal(signal.SIGUSR1)
    assert job.wait(timeout=60) == 0, (tmp_path / "log").read_text()
    assert (tmp_path / "scontrol").read_text() == "requeue 108\n"
    assert "queued again and goes on from here" in (tmp_path / "log").read_text()
    assert not left_behind(108)
