"""Commands of this machine that a cluster runs: each is a job there, with the same words and the same exit code.

A driver's job is named after its sweep, ``tuner-NAME``, then ``tuner-NAME.2`` and so on, so that nothing is begun
twice. Any other command is a job that is forgotten a while after it has answered.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import shlex
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from tuner import parcel
from tuner.cluster import Cluster, Job, UnreachableError
from tuner.endings import FAILED, INTERRUPTED, MISTAKE
from tuner.errors import UserError
from tuner.job import REQUEST, releases
from tuner.nodes import JOB_ENVIRONMENT, STOP_WAIT_S

# These drive a sweep: they return once it has begun, or follow it to its end.
BEGINNING, DRIVING = ("launch", "resume"), ("launch", "resume", "confirm", "judge")
_SWEEP, _STORAGE, _COMMAND, _DIGEST = "tuner.sweep", "tuner.storage", "tuner.command", "tuner.digest"
_A_RUN = re.compile(r"(trial|baseline)-\S+ ")
_PASSWORD = re.compile(r"://[^/@\s]*:[^/@\s]*@")
_PASSING = "tuner."  # no sweep's job is named so
_PATIENCE_S = 60.0
_LOOK_EVERY_S = 0.5


@dataclass(frozen=True)
class Asked:
    """A command as it was asked for: ``words`` follow it, ``output`` is a file or folder that it is to make here."""

    command: str
    words: list[str]
    sweep: str | None
    storage: str | None = None
    files: dict[str, str] = field(default_factory=dict)
    output: Path | None = None
    run: str | None = None
    streams: bool = False


def send(cluster: Cluster, asked: Asked) -> int:
    """Run a command on a cluster, print what it prints, and return its exit code.

    Raises:
        UserError: it cannot be sent, or the cluster does not take it.
    """
    _check_no_password(asked.words)
    if asked.command in DRIVING:
        return _drive(cluster, asked)
    jobs = jobs_of(cluster, asked)
    if asked.command == "stop" and any(not job.has_ended for job in jobs):
        return _stop(cluster, asked, [job for job in jobs if not job.has_ended])
    if asked.command == "logs" and asked.run is None and jobs:
        return (_follow(cluster, jobs[-1].id) or 0) if asked.streams else _print_log(cluster, jobs[-1])
    return _query(cluster, _with_storage(asked, jobs))


def environment() -> dict[str, str]:
    """Return the variables that a job takes along: everybody on the cluster can read them, so no secret is among them.

    Raises:
        UserError: MLflow's address holds a password.
    """
    found = {**JOB_ENVIRONMENT, "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
    uri = os.environ.get("MLFLOW_TRACKING_URI", "")
    if urlsplit(uri).scheme in ("http", "https"):
        if "@" in urlsplit(uri).netloc:
            raise UserError(
                "MLFLOW_TRACKING_URI holds a user or password, which everybody on the cluster could read: set "
                "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD on the cluster's nodes instead"
            )
        found["MLFLOW_TRACKING_URI"] = uri
    return found


def jobs_of(cluster: Cluster, asked: Asked) -> list[Job]:
    """Return the jobs that have driven a sweep, oldest first."""
    found = [job for job in cluster.jobs() if asked.sweep and job.metadata.get(_SWEEP) == asked.sweep]
    return [job for job in found if asked.storage in (None, job.metadata.get(_STORAGE))]


def next_id(sweep: str, taken: list[str]) -> str:
    """Return the name of a sweep's next job: ``tuner-NAME``, then ``tuner-NAME.2``."""
    last = max((int(name.rpartition(".")[2]) if "." in name else 1 for name in taken), default=0)
    return f"tuner-{sweep}.{last + 1}" if last else f"tuner-{sweep}"


def digest(asked: Asked) -> str:
    """Return what tells two launches of the same name apart: space, options and storage."""
    return hashlib.sha256(json.dumps([asked.words, asked.files], sort_keys=True).encode()).hexdigest()


def _drive(cluster: Cluster, asked: Asked) -> int:
    """Submit a driver, unless the same is there already, and follow it until its runs begin or it ends."""
    sweep = str(asked.sweep)
    while True:
        named = [job for job in cluster.jobs() if job.metadata.get(_SWEEP) == sweep]
        if asked.command == "launch" and (there := _launched(named)) is not None:
            return _say_that_it_is_there(cluster, asked, there)
        if asked.command != "launch":
            asked = _with_storage(asked, jobs_of(cluster, asked))
        job_id = next_id(sweep, [job.id for job in named])
        if _submit(cluster, job_id, asked):
            break
    try:
        code = _follow(cluster, job_id, _A_RUN if asked.command in BEGINNING else None)
    except KeyboardInterrupt:
        print(f"\n{sweep} goes on there; {_how_to_go_on(cluster, sweep)}")
        return INTERRUPTED
    if code is None:
        print(f"{sweep} has begun as job {job_id}; {_how_to_go_on(cluster, sweep)}")
    return code or 0


def _launched(jobs: list[Job]) -> Job | None:
    """Return the job that has launched a sweep; one that was refused, or never started, has not."""
    launches = (job for job in jobs if job.metadata[_COMMAND] == "launch")
    return next((job for job in launches if not (job.status == "FAILED" and job.exit_code in (None, MISTAKE))), None)


def _say_that_it_is_there(cluster: Cluster, asked: Asked, there: Job) -> int:
    if there.metadata[_DIGEST] != digest(asked):
        raise UserError(
            f"{cluster.address} has another sweep named {asked.sweep!r} (job {there.id}, other space or options): "
            f"choose another --name, or `tuner resume {asked.sweep}` for that one"
        )
    print(f"{asked.sweep} is there already (job {there.id}, {there.status.lower()}); nothing was submitted")
    print(_how_to_go_on(cluster, there.metadata[_SWEEP]))
    return 0


def _submit(cluster: Cluster, job_id: str, asked: Asked, request: parcel.Request | None = None) -> bool:
    request = request or parcel.Request(releases(), asked.files)
    metadata = {
        **({_SWEEP: asked.sweep} if asked.sweep and asked.command in DRIVING else {}),
        **({_STORAGE: asked.storage} if asked.storage else {}),
        _COMMAND: asked.command,
        _DIGEST: digest(asked),
        REQUEST: request.encode(),
    }
    entrypoint = f"exec python3 -m tuner.job {shlex.join([asked.command, *asked.words])}"
    return cluster.submit(job_id, entrypoint, metadata, environment(), secrets.token_hex(8))


def _query(cluster: Cluster, asked: Asked) -> int:
    """Run a command that answers soon, or that is followed."""
    cluster.forget(_PASSING)
    base = asked.output.absolute().parent if asked.output else Path.cwd()
    request = parcel.Request(releases(), asked.files, is_captured=not asked.streams, folder=str(base))
    job_id = f"{_PASSING}{asked.command}.{secrets.token_hex(6)}"
    _submit(cluster, job_id, asked, request)
    try:
        if asked.streams:
            return _follow(cluster, job_id) or 0
        job = _wait(cluster, job_id)
        return _print_answer(cluster, job, base, asked.output)
    except KeyboardInterrupt:
        cluster.stop(job_id)
        return INTERRUPTED


def _print_answer(cluster: Cluster, job: Job, base: Path, output: Path | None) -> int:
    log = cluster.log(job.id)
    answer = parcel.Answer.find(log)
    if answer is None:
        print("\n".join(own_lines(log)), file=sys.stderr)
        return _print_ended(job, log)
    parcel.unpack(answer.files, base, may_replace=output.name if output else None)
    sys.stdout.write(answer.output)
    sys.stderr.write(answer.errors)
    return FAILED if job.exit_code is None else job.exit_code


def _stop(cluster: Cluster, asked: Asked, jobs: list[Job]) -> int:
    for job in jobs:
        cluster.stop(job.id)
    for job in jobs:
        print(f"{job.id} is asked to end, for which it has {STOP_WAIT_S} s", flush=True)
        _wait(cluster, job.id)
        ending = [line for line in own_lines(cluster.log(job.id)) if line.startswith(("Interrupted", "Stopped"))]
        print(ending[-1] if ending else f"{job.id} was killed: `tuner resume {asked.sweep}` goes on where it stands")
    return 0


def _print_log(cluster: Cluster, job: Job) -> int:
    print("\n".join(own_lines(cluster.log(job.id))))
    return 0


def _follow(cluster: Cluster, job_id: str, is_enough: re.Pattern[str] | None = None) -> int | None:
    """Print what a job writes until it ends; return its exit code, or None once a line was enough to know."""
    num_printed = 0
    for job, log in _looks(cluster, job_id):
        lines = own_lines(log)
        whole = lines if job.has_ended or log.endswith("\n") else lines[:-1]
        for line in whole[num_printed:]:
            if is_enough and is_enough.match(line):
                return None
            print(line, file=sys.stderr if line.startswith("error: ") else sys.stdout, flush=True)
        num_printed = max(num_printed, len(whole))
        if job.has_ended:
            return _print_ended(job, log)
    raise AssertionError


def _looks(cluster: Cluster, job_id: str) -> Iterator[tuple[Job, str]]:
    """Yield how a job stands and what it has written, again and again; a network may fail for a minute meanwhile."""
    heard = time.monotonic()
    while True:
        began = time.monotonic()
        try:
            job = cluster.job(job_id)
            if job is None:
                raise UserError(
                    f"{cluster.address} has forgotten job {job_id}: its head was replaced, or it was deleted"
                )
            yield job, cluster.log(job_id)
            heard = time.monotonic()
        except UnreachableError:
            if time.monotonic() - heard > _PATIENCE_S:
                raise
        # A long log takes a while to be read, and looking at it must not become the head's main work.
        time.sleep(max(_LOOK_EVERY_S, 5 * (time.monotonic() - began)))


def _wait(cluster: Cluster, job_id: str) -> Job:
    return next(job for job, _ in _looks(cluster, job_id) if job.has_ended)


def _print_ended(job: Job, log: str) -> int:
    """Say what a job's own words do not: that it could not start, or was killed. Return its exit code."""
    if parcel.BEGIN not in log:
        last = "\n".join((log.strip() or job.message).splitlines()[-5:])
        print(f"error: the cluster could not begin job {job.id}; its last words: {last}", file=sys.stderr)
    if job.status == "STOPPED":
        return INTERRUPTED
    return FAILED if job.exit_code is None else job.exit_code


def own_lines(log: str) -> list[str]:
    """Return the lines that our command has written: what comes before is Ray's."""
    return log.partition(f"{parcel.BEGIN}\n")[2].splitlines()


def _with_storage(asked: Asked, jobs: list[Job]) -> Asked:
    """Return a command with the storage that a sweep was launched with, if nobody has said another."""
    known = jobs[-1].metadata.get(_STORAGE) if jobs else None
    if asked.storage or not known:
        return asked
    return Asked(**{**vars(asked), "storage": known, "words": ["--home", known, *asked.words]})


def _how_to_go_on(cluster: Cluster, sweep: str) -> str:
    commands = ", ".join(f"`tuner {word} {sweep}`" for word in ("status", "stop", "resume", "export"))
    return (
        f"`tuner logs {sweep} --follow` shows it; {commands}, each with --cluster {cluster.address} or with "
        f"RAY_ADDRESS={cluster.address}"
    )


def _check_no_password(words: list[str]) -> None:
    for word in words:
        if _PASSWORD.search(word):
            raise UserError(
                f"{_PASSWORD.sub('://...@', word)}: no password may stand in a command, which everybody on the cluster "
                "can read: libpq takes it from PGPASSWORD or the file PGPASSFILE, set on the cluster's nodes"
            )
