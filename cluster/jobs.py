"""Work as Ray jobs: submitted once, listed, followed and stopped, from any machine that reaches the dashboard.

A job is known by the digest of its command and code, so that the same command twice does not run twice; one that has
failed or was stopped is submitted anew as a further attempt and goes on where it was. Whether a job has ended is what
its status says, never its log.
"""

import hashlib
import json
import logging
import os
import re
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cluster.credentials import masked
from cluster.inner import Inner
from cluster.shipping import Shipment
from rambo.errors import InvalidInput, require
from rambo.result import commit

STOP_SECONDS = 60
"""What a job gets to end by itself after a stop, so that it can say so in MLflow; Ray's own 3 are too few."""

SILENCE_SECONDS = 120.0
"""How long a cluster may not answer while a job is followed or stopped."""

POLL_SECONDS = 1.0

ENDED = ("SUCCEEDED", "FAILED", "STOPPED")


@dataclass(frozen=True)
class Resources:
    """What the job's driver reserves; all 0 puts it on the head node, which needs no CPU to spare for it."""

    num_cpus: float = 0.0
    num_gpus: float = 0.0
    memory_bytes: int = 0


@dataclass(frozen=True)
class Job:
    """A job as the cluster knows it."""

    id: str
    status: str
    """PENDING, RUNNING, or one of `ENDED`."""
    command: str
    study: str
    digest: str
    """Empty where it was not submitted by this command."""
    started: float | None
    """In seconds since 1970."""

    @property
    def has_ended(self) -> bool:
        """Whether nothing more will come."""
        return self.status in ENDED


@dataclass(frozen=True)
class Position:
    """How far a job is, by the last line of progress in its log."""

    done: str
    """Such as `trials 3/10`; empty where it has not said anything yet."""
    seconds_left: int | None
    """Of the present stage."""


class Jobs:
    """The jobs of one cluster."""

    def __init__(self, address: str | None = None) -> None:
        """Connect to the dashboard at `address`, else at RAY_API_SERVER_ADDRESS, else at RAY_ADDRESS."""
        found = address or os.environ.get("RAY_API_SERVER_ADDRESS") or os.environ.get("RAY_ADDRESS") or "local"
        require(
            found not in ("local", "auto"),
            "--address must name the dashboard of a Ray cluster, such as http://127.0.0.1:8265, got none; give it, or "
            "set RAY_API_SERVER_ADDRESS.",
        )
        self.address = masked(found)
        self._knock(found)
        with self._answering(), _variable("RAY_API_SERVER_ADDRESS", found):  # which Ray prefers to what it is given
            from ray.job_submission import JobSubmissionClient

            logging.getLogger("ray.dashboard.modules.dashboard_sdk").setLevel(logging.WARNING)  # it tells of uploads
            self._client = JobSubmissionClient(found)

    def list(self) -> list[Job]:
        """All submitted jobs, the oldest first."""
        with self._answering():
            found = [_described(one) for one in self._client.list_jobs() if one.submission_id]
        return sorted(found, key=lambda job: job.started or float("inf"))

    def get(self, job_id: str) -> Job:
        """The job called `job_id`; raises `InvalidInput` where there is none."""
        try:
            with self._answering():
                return _described(self._client.get_job_info(job_id))
        except InvalidInput as error:
            if "404" not in str(error.__cause__):
                raise
            raise InvalidInput(
                f"A job must be one that python -m cluster jobs lists at {self.address}, got {job_id}."
            ) from None

    def submit(
        self, inner: Inner, shipment: Shipment, resources: Resources, *, name: str | None = None, again: bool = False
    ) -> tuple[Job, bool]:
        """The job that runs `inner`, and whether it is new: one that runs or has succeeded is not run twice.

        `again` runs one anew that has succeeded.
        """
        digest = hashlib.sha256(json.dumps([inner.words, shipment.digest()]).encode()).hexdigest()[:12]
        attempts = [job for job in self.list() if job.digest == digest]
        standing = [job for job in attempts if not job.has_ended or (job.status == "SUCCEEDED" and not again)]
        if standing:
            return standing[-1], False
        number = len(attempts) + 1
        job_id = f"{_plain(name or inner.study)}-{digest}" + (f"-{number}" if attempts else "")
        metadata = {
            "study": inner.study,
            "home": inner.home.root,
            "command": inner.entrypoint,
            "digest": digest,
            "attempt": str(number),
        }
        with tempfile.TemporaryDirectory(prefix="submit-") as folder, self._answering():
            archive = Path(folder, "work.zip")
            shipment.write(archive)
            self._client.submit_job(
                entrypoint=inner.entrypoint,
                submission_id=job_id,
                runtime_env={"working_dir": str(archive), "env_vars": _environment()},
                metadata=metadata,
                entrypoint_num_cpus=resources.num_cpus or None,
                entrypoint_num_gpus=resources.num_gpus or None,
                entrypoint_memory=resources.memory_bytes or None,
            )
        return self.get(job_id), True

    def position(self, job: Job) -> Position:
        """How far `job` is; nothing where it does not run, or its node does not answer."""
        with suppress(InvalidInput):
            return read_position(self._log(job.id)) if job.status == "RUNNING" else Position("", None)
        return Position("", None)

    def follow(self, job_id: str, write: Callable[[str], object], *, until_end: bool) -> Job:
        """Pass the log on to `write`, each piece once; with `until_end` until the job has ended.

        It is asked for anew each time, from where it was, so that a connection that breaks costs nothing.
        """
        job, shown, answered = self.get(job_id), 0, time.monotonic()
        while True:
            try:
                job = self.get(job_id)  # before the log: what an ended job has said is then all there
                text = self._log(job_id)
            except InvalidInput:
                if time.monotonic() - answered > SILENCE_SECONDS:
                    raise
            else:
                write(text[shown:])
                shown, answered = max(shown, len(text)), time.monotonic()
                if job.has_ended or not until_end:
                    return job
            time.sleep(max(POLL_SECONDS, shown / 1e6))  # a long log is not read every second

    def stop(self, job_id: str) -> tuple[Job, bool]:
        """The job after its end, and whether it ran until now."""
        job = self.get(job_id)
        if job.has_ended:
            return job, False
        with self._answering():
            self._client.stop_job(job_id)
        deadline = time.monotonic() + STOP_SECONDS + SILENCE_SECONDS
        while not (job := self.get(job_id)).has_ended:
            require(
                time.monotonic() < deadline,
                f"Job {job_id} must end within {STOP_SECONDS + SILENCE_SECONDS:.0f} s after a stop, got {job.status}; "
                "look at the nodes that it runs on.",
            )
            time.sleep(POLL_SECONDS)
        return job, True

    def _log(self, job_id: str) -> str:
        with self._answering():
            return str(self._client.get_job_logs(job_id))

    def _knock(self, address: str) -> None:
        """Complain at once where nobody listens; Ray would wait for minutes."""
        parts = urlsplit(address if "://" in address else f"//{address}")
        with self._answering():
            port = parts.port or {"https": 443, "http": 80}.get(parts.scheme, 8265)
            socket.create_connection((str(parts.hostname), port), timeout=10).close()

    @contextmanager
    def _answering(self) -> Iterator[None]:
        """Make one sentence of what Ray's job server says, or of its silence."""
        from ray.exceptions import AuthenticationError, RayError

        try:
            yield
        except AuthenticationError as error:
            raise InvalidInput(
                f"The Ray cluster at {self.address} must be asked with its token, got none or another; set "
                "RAY_AUTH_MODE=token and put the token into ~/.ray/auth_token or RAY_AUTH_TOKEN."
            ) from error
        except (OSError, RuntimeError, ValueError, RayError) as error:
            reason = masked((str(error).strip().splitlines() or [type(error).__name__])[0])
            raise InvalidInput(
                f"The Ray cluster at {self.address} must answer, got: {reason[:300]}; see whether it runs, and whether "
                "this is the address of its dashboard (port 8265, or the way that you have opened to it)."
            ) from error


PROGRESS = re.compile(r"^(?P<what>[^:\n]+): (?P<done>\d+/\d+)\b(?:.*?\b(?P<left>\d+) s left)?", re.MULTILINE)


def read_position(log: str) -> Position:
    """How far a command is that has written `log`.

    >>> read_position("trials: 3/10, 0.5/s, 14 s left")
    Position(done='trials 3/10', seconds_left=14)
    """
    lines = list(PROGRESS.finditer(log))
    if not lines:
        return Position("", None)
    found = lines[-1]
    return Position(f"{found['what']} {found['done']}", None if found["left"] is None else int(found["left"]))


def _described(details: Any) -> Job:
    metadata = details.metadata or {}
    named = [re.search(rf"--{flag}[= ](\S+)", details.entrypoint) for flag in ("study", "recipe", "preset")]
    return Job(
        id=details.submission_id,
        status=str(getattr(details.status, "value", details.status)),
        command=details.entrypoint,
        study=metadata.get("study") or next((match[1] for match in named if match), "-"),
        digest=metadata.get("digest", ""),
        started=details.start_time / 1000 if details.start_time else None,
    )


def _environment() -> dict[str, str]:
    """What a job's processes find in their environment: no secrets, since whoever sees the jobs reads it."""
    return {"RAY_JOB_STOP_WAIT_TIME_S": str(STOP_SECONDS), "RAMBO_COMMIT": commit() or ""}


def _plain(name: str) -> str:
    """`name` as a part of a job's id."""
    plain = re.sub(r"[^A-Za-z0-9_.-]+", "-", name).strip("-.")
    require(bool(plain), f"--name must have letters or digits, got {name!r}.")
    return plain


@contextmanager
def _variable(name: str, value: str) -> Iterator[None]:
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        os.environ.pop(name) if before is None else os.environ.update({name: before})
