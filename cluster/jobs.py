"""Work as Ray jobs: submitted once, listed, followed and stopped, from any machine that reaches the dashboard.

A job is known by the digest of its command and code, so that the same command twice does not run twice; one that has
failed or was stopped is submitted anew as a further attempt and goes on where it was. Two jobs never work on one study
at a time. Whether a job has ended is what its status says, never its log.
"""

import hashlib
import json
import logging
import os
import re
import shlex
import socket
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from cluster.credentials import masked
from cluster.inner import Inner
from cluster.shipping import Shipment
from rambo.errors import InvalidInput, require
from rambo.formats import first_line
from rambo.result import commit

STOP_SECONDS = 60
"""What a job gets to end by itself after a stop, so that it can say so in MLflow; Ray's own 3 are too few."""

SILENCE_SECONDS = 120.0
"""How long a cluster may not answer while a job is followed or stopped."""

ANSWER_SECONDS = 30.0
"""How long one request may go without a byte; Ray's own client would wait for ever, as behind a stalled tunnel."""

POLL_SECONDS = 1.0

ENDED = ("SUCCEEDED", "FAILED", "STOPPED")

Answer = TypeVar("Answer")


class NoAnswer(InvalidInput):
    """The cluster did not answer, or not sensibly; it may the next time."""


@dataclass(frozen=True)
class Reservation:
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
    home: str
    """Empty where it was not submitted by this command."""
    digest: str
    """Empty where it was not submitted by this command."""
    attempt: int
    """From 1, among those of one digest; 0 where it was not submitted by this command."""
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


def dashboard(address: str | None = None) -> str:
    """`address`, else what the environment names; raises `InvalidInput` where that is no cluster."""
    found = address or os.environ.get("RAY_API_SERVER_ADDRESS") or os.environ.get("RAY_ADDRESS") or "local"
    require(
        found not in ("local", "auto"),
        "--address must name the dashboard of a Ray cluster, such as http://127.0.0.1:8265, got none; give it, or "
        "set RAY_API_SERVER_ADDRESS.",
    )
    return found


class Jobs:
    """The jobs of one cluster."""

    def __init__(self, address: str | None = None) -> None:
        """Connect to the dashboard at `address`, else at RAY_API_SERVER_ADDRESS, else at RAY_ADDRESS."""
        found = dashboard(address)
        self.address = masked(found)
        self._knock(found)
        with self._answering(), _variable("RAY_API_SERVER_ADDRESS", found):  # which Ray prefers to what it is given
            self._client = _client(found)

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
        except NoAnswer as error:
            if "404" not in str(error.__cause__):
                raise
            raise InvalidInput(
                f"A job must be one that python -m cluster jobs lists at {self.address}, got {job_id}."
            ) from None

    def submit(
        self, inner: Inner, shipment: Shipment, resources: Reservation, *, name: str | None = None, again: bool = False
    ) -> tuple[Job, bool]:
        """The job that runs `inner`, and whether it is new: one that runs or has succeeded is not run twice.

        `again` runs one anew that has succeeded. Raises `InvalidInput` where another job is at work on the same study,
        or no node has the `resources`.
        """
        known = self.list()
        digest = hashlib.sha256(json.dumps([inner.words, shipment.digest()]).encode()).hexdigest()[:12]
        attempts = [job for job in known if job.digest == digest]
        standing = [job for job in attempts if not job.has_ended or (job.status == "SUCCEEDED" and not again)]
        if standing:
            return standing[-1], False
        _refuse_beside(known, inner)
        self._check_room(resources)
        number = max([len(attempts), *(job.attempt for job in attempts)]) + 1  # some may have been deleted
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
        """How far `job` is, or was when it ended; nothing where its node does not answer."""
        if job.status != "PENDING":
            with suppress(InvalidInput):
                position = read_position(self._log(job.id))
                return replace(position, seconds_left=None) if job.has_ended else position
        return Position("", None)

    def follow(self, job_id: str, write: Callable[[str], object], *, until_end: bool) -> Job:
        """Pass the log on to `write`, each piece once; with `until_end` until the job has ended.

        It is asked for anew each time, from where it was, so that a connection that breaks costs nothing.
        """
        shown = 0
        while True:
            job = self._patiently(lambda: self.get(job_id))  # before the log: an ended job has then said all
            text = self._patiently(lambda: self._log(job_id))
            write(text[shown:])
            shown = max(shown, len(text))
            if job.has_ended or not until_end:
                return job
            time.sleep(max(POLL_SECONDS, shown / 1e6))  # a long log is not read every second

    def stop(self, job_id: str) -> tuple[Job, bool]:
        """The job after its end, and whether it ran until now."""
        job = self._patiently(lambda: self.get(job_id))
        if job.has_ended:
            return job, False
        self._patiently(lambda: self._ask_to_stop(job_id))
        deadline = time.monotonic() + STOP_SECONDS + SILENCE_SECONDS
        while not (job := self._patiently(lambda: self.get(job_id))).has_ended:
            require(
                time.monotonic() < deadline,
                f"Job {job_id} must end within {STOP_SECONDS + SILENCE_SECONDS:.0f} s after a stop, got {job.status}; "
                "look at the nodes that it runs on.",
            )
            time.sleep(POLL_SECONDS)
        return job, True

    def _patiently(self, ask: Callable[[], Answer]) -> Answer:
        """What `ask` returns, asked anew for `SILENCE_SECONDS` where the cluster does not answer."""
        deadline = time.monotonic() + SILENCE_SECONDS
        while True:
            try:
                return ask()
            except NoAnswer:
                if time.monotonic() > deadline:
                    raise
            time.sleep(POLL_SECONDS)

    def _ask_to_stop(self, job_id: str) -> None:
        with self._answering():
            self._client.stop_job(job_id)

    def _check_room(self, wanted: Reservation) -> None:
        """Raise `InvalidInput` where no node has what the driver is to reserve; Ray would let it wait for ever."""
        asked = {"CPU": wanted.num_cpus, "GPU": wanted.num_gpus, "memory": wanted.memory_bytes}
        if not any(asked.values()):
            return
        with self._answering():
            answer = self._client._do_request("GET", "/api/v0/nodes?detail=1&limit=10000")
            answer.raise_for_status()
            found = answer.json()["data"]["result"]["result"]
        nodes = [node["resources_total"] for node in found if node["state"] == "ALIVE"]
        require(
            any(all(node.get(kind, 0) >= amount for kind, amount in asked.items()) for node in nodes),
            f"What a job's driver reserves must fit on one node of the cluster, got {_amounts(asked)} where the nodes "
            f"have {'; '.join(sorted({_amounts(node) for node in nodes}))}; reserve less, or add such a node.",
        )

    def _log(self, job_id: str) -> str:
        with self._answering():
            return str(self._client.get_job_logs(job_id))

    def _knock(self, address: str) -> None:
        """Complain at once where nobody listens; Ray would wait for minutes."""
        with self._answering():
            parts = urlsplit(address if "://" in address else f"//{address}")
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
            reason = masked(first_line(error))
            raise NoAnswer(
                f"The Ray cluster at {self.address} must answer, got: {reason[:300]}; see whether it runs, and whether "
                "this is the address of its dashboard (port 8265, or the way that you have opened to it)."
            ) from error


def _client(address: str) -> Any:
    """Ray's own, whose requests end."""
    from ray.job_submission import JobSubmissionClient

    class Client(JobSubmissionClient):
        def _do_request(self, *arguments: Any, **options: Any) -> Any:
            return super()._do_request(*arguments, **{"timeout": ANSWER_SECONDS, **options})

    logging.getLogger("ray.dashboard.modules.dashboard_sdk").setLevel(logging.WARNING)  # it tells of uploads
    return Client(address)


def _refuse_beside(known: Iterable[Job], inner: Inner) -> None:
    """Raise `InvalidInput` where one of the `known` jobs is at work on the study; on a URL no lock keeps two apart."""
    if inner.words[3:4] != ("run",):
        return
    for job in known:
        same = (job.study, job.home) == (inner.study, inner.home.root)
        require(
            job.has_ended or not same or not job.command.startswith(shlex.join(inner.words[:4])),
            f"Only one job at a time must work on {inner.study} in {inner.home.root}, got {job.id}, which is "
            f"{job.status} with another command or other code; wait for it, stop it, or choose another --study.",
        )


def _amounts(resources: Mapping[str, float]) -> str:
    """Of CPUs, GPUs and memory.

    >>> _amounts({"CPU": 4.0, "memory": 2**31})
    '4 CPU, 0 GPU, 2.0 GiB'
    """
    cpus, gpus, memory = (resources.get(kind, 0) for kind in ("CPU", "GPU", "memory"))
    return f"{cpus:g} CPU, {gpus:g} GPU, {memory / 2**30:.1f} GiB"


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
        home=metadata.get("home", ""),
        digest=metadata.get("digest", ""),
        attempt=int(metadata["attempt"]) if metadata.get("attempt", "").isdecimal() else 0,
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
