"""Commands of this machine that a cluster runs: each is a job there, with the same words and the same exit code.

A driver's job is named after its sweep, ``tuner-NAME``, then ``tuner-NAME.2`` and so on, so that nothing is begun
twice. Any other command is a job that is forgotten a while after it has answered.
"""

from __future__ import annotations

import re
import secrets
import shlex
import sys
from dataclasses import replace
from pathlib import Path

from tuner.cluster import payload as parcel
from tuner.cluster.client import Cluster, Job
from tuner.cluster.command import Asked, digest, environment
from tuner.cluster.logs import follow, own_lines, print_line, print_log, say_ending, wait
from tuner.cluster.nodes import STOP_WAIT_S
from tuner.cluster.payload import REQUEST, releases
from tuner.errors import FAILED, INTERRUPTED, MISTAKE, UserError

# These drive a sweep: they return once it has begun, or follow it to its end.
BEGINNING, DRIVING = ("launch", "resume"), ("launch", "resume", "confirm", "judge")
_SWEEP, _STORAGE, _COMMAND, _DIGEST = "tuner.sweep", "tuner.storage", "tuner.command", "tuner.digest"
_A_RUN = re.compile(r"(trial|baseline)-\S+ ")
_TRIES = 3
_PASSING = "tuner."  # no sweep's job is named so


def send(cluster: Cluster, asked: Asked) -> int:
    """Run a command on a cluster, print what it prints, and return its exit code.

    Raises:
        UserError: it cannot be sent, or the cluster does not take it.
    """
    if asked.command in DRIVING:
        return _drive(cluster, asked)
    jobs = jobs_of(cluster, asked)
    if asked.command == "stop" and any(not job.has_ended for job in jobs):
        return _stop(cluster, asked, [job for job in jobs if not job.has_ended])
    if asked.command == "logs" and asked.run is None and jobs:
        last = next((job for job in reversed(jobs) if _has_driven(job)), jobs[-1])
        return (follow(cluster, last.id) or 0) if asked.streams else print_log(cluster, last)
    return _query(cluster, _with_storage(asked, jobs))


def jobs_of(cluster: Cluster, asked: Asked) -> list[Job]:
    """Return the jobs that have driven a sweep, oldest first."""
    found = [job for job in cluster.jobs() if asked.sweep and job.metadata.get(_SWEEP) == asked.sweep]
    return [job for job in found if asked.storage in (None, job.metadata.get(_STORAGE))]


def next_id(sweep: str, taken: list[str]) -> str:
    """Return the name of a sweep's next job: ``tuner-NAME``, then ``tuner-NAME.2``."""
    last = max((int(name.rpartition(".")[2]) if "." in name else 1 for name in taken), default=0)
    return f"tuner-{sweep}.{last + 1}" if last else f"tuner-{sweep}"


def _drive(cluster: Cluster, asked: Asked) -> int:
    """Submit a driver, unless the same is there already, and follow it until its runs begin or it ends."""
    sweep = str(asked.sweep)
    for _ in range(_TRIES):
        named = [job for job in cluster.jobs() if job.metadata.get(_SWEEP) == sweep]
        launches = [job for job in named if job.metadata[_COMMAND] == "launch" and _has_driven(job)]
        if asked.command == "launch" and launches:
            return _say_that_it_is_there(cluster, asked, launches[0])
        if asked.command != "launch":
            asked = _with_storage(asked, jobs_of(cluster, asked))
        job_id = next_id(sweep, [job.id for job in named])
        if _submit(cluster, job_id, asked):
            break
    else:
        raise UserError(f"{cluster.address} has a job {job_id} of somebody else's: choose another --name")
    try:
        code = follow(cluster, job_id, _A_RUN if asked.command in BEGINNING else None)
    except KeyboardInterrupt:
        print(f"\n{sweep} goes on there; {_how_to_go_on(cluster, sweep)}")
        return INTERRUPTED
    if code is None:
        print(f"{sweep} has begun as job {job_id}; {_how_to_go_on(cluster, sweep)}")
    return code or 0


def _has_driven(job: Job) -> bool:
    """Return whether a job has driven its sweep, or is about to: it was not refused, and could start."""
    return not (job.status == "FAILED" and job.exit_code in (None, MISTAKE))


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
    entrypoint = f"exec python3 -m tuner job {shlex.join([asked.command, *asked.words])}"
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
            return follow(cluster, job_id) or 0
        job = wait(cluster, job_id)
        return _print_answer(cluster, job, base, asked.output)
    except KeyboardInterrupt:
        cluster.stop(job_id)
        return INTERRUPTED


def _print_answer(cluster: Cluster, job: Job, base: Path, output: Path | None) -> int:
    log = cluster.log(job.id)
    answer = parcel.Answer.find(log)
    if answer is None:
        for line in own_lines(log):
            print_line(line)
        return say_ending(job, log)
    parcel.unpack(answer.files, base, may_replace=output.name if output else None)
    sys.stdout.write(answer.output)
    sys.stderr.write(answer.errors)
    return FAILED if job.exit_code is None else job.exit_code


def _stop(cluster: Cluster, asked: Asked, jobs: list[Job]) -> int:
    for job in jobs:
        cluster.stop(job.id)
    for job in jobs:
        print(f"{job.id} is asked to end, for which it has {STOP_WAIT_S} s", flush=True)
        wait(cluster, job.id)
        ending = [line for line in own_lines(cluster.log(job.id)) if line.startswith(("Interrupted", "Stopped"))]
        print(ending[-1] if ending else f"{job.id} was killed: `tuner resume {asked.sweep}` goes on where it stands")
    return 0


def _with_storage(asked: Asked, jobs: list[Job]) -> Asked:
    """Return a command with the storage that a sweep was launched with, if nobody has said another."""
    known = jobs[-1].metadata.get(_STORAGE) if jobs else None
    if asked.storage or not known:
        return asked
    return replace(asked, storage=known, words=["--home", known, *asked.words])


def _how_to_go_on(cluster: Cluster, sweep: str) -> str:
    commands = ", ".join(f"`tuner {word} {sweep}`" for word in ("status", "stop", "resume", "export"))
    return (
        f"`tuner logs {sweep} --follow` shows it; {commands}, each with --cluster {cluster.address} or with "
        f"RAY_ADDRESS={cluster.address}"
    )
