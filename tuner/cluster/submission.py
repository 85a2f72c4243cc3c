"""Commands that are typed here and run by a cluster: each is a job there, with the same arguments and exit code.

The job of a driver is named after its sweep, ``tuner-NAME``, then ``tuner-NAME.2`` and so on, so that nothing is
started twice. Any other command is a job that is deleted some time after it has ended.
"""

from __future__ import annotations

import re
import secrets
import shlex
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from search_spaces.limits import MAX_CONFIRMED
from tuner.cluster.client import Cluster, Job
from tuner.cluster.command import RemoteCommand, digest, environment
from tuner.cluster.logs import command_lines, follow, print_ending, print_line, print_log, wait
from tuner.cluster.nodes import STOP_WAIT_S
from tuner.cluster.payload import REQUEST, CommandResult, Expected, Request, releases, unpack, without_control
from tuner.errors import FAILED, INTERRUPTED, MISTAKE, UserError

# These drive a sweep; the first two return once its runs have begun, the others follow it to its end.
STARTING, DRIVING = ("launch", "resume"), ("launch", "resume", "confirm", "evaluate")
_SWEEP, _STORAGE, _COMMAND, _DIGEST = "tuner.sweep", "tuner.storage", "tuner.command", "tuner.digest"
_RUN_LINE = re.compile(r"(trial|baseline)-\S+ ")
_TRIES = 3
# The folders that commands make on this machine unless --output names another, and the kinds of files in them.
_FOLDERS = {"export": ("exports", (".json", ".safetensors", ".pt2", ".md", ".yaml")), "draw": ("pictures", (".png",))}
_SEVERAL = ("--top", "--front")  # options with which they make several folders
_FILES = {"report": "reports/{sweep}.html"}  # likewise, of commands that make one file
_QUERY_PREFIX = "tuner."  # the job of a sweep has another one


Tell = Callable[[str], None]
"""Is told what has become of a job, in a sentence for a person."""


def send(cluster: Cluster, command: RemoteCommand, tell: Tell) -> int:
    """Run a command on a cluster, print its output, and return its exit code.

    Args:
        cluster: that runs it.
        command: that is run.
        tell: see `Tell`.

    Raises:
        UserError: it cannot be sent, or the cluster does not accept it.
    """
    if command.command in DRIVING:
        return _drive(cluster, command, tell)
    jobs = jobs_of(cluster, command)
    running = [job for job in jobs if not job.has_ended]
    if command.command == "stop" and running:
        return _stop(cluster, command, running, tell)
    if command.command == "logs" and command.run is None and jobs:
        last = next((job for job in reversed(jobs) if _has_driven(job)), jobs[-1])
        return (follow(cluster, last.id) or 0) if command.follow else print_log(cluster, last)
    return _query(cluster, _with_storage(command, jobs))


def jobs_of(cluster: Cluster, command: RemoteCommand) -> list[Job]:
    """Return the jobs that have driven the sweep of a command, oldest first."""
    jobs = [job for job in cluster.jobs() if command.sweep and job.metadata.get(_SWEEP) == command.sweep]
    return [job for job in jobs if command.storage in (None, job.metadata.get(_STORAGE))]


def next_id(sweep: str, taken: list[str]) -> str:
    """Return the name of a sweep's next job: ``tuner-NAME``, then ``tuner-NAME.2``."""
    matches = [re.fullmatch(rf"tuner-{re.escape(sweep)}(?:\.(\d{{1,9}}))?", name) for name in taken]
    last = max((int(match[1] or 1) for match in matches if match), default=0)
    return f"tuner-{sweep}.{last + 1}" if last else f"tuner-{sweep}"


def _drive(cluster: Cluster, command: RemoteCommand, tell: Tell) -> int:
    """Submit a driver, unless the same one is there already, and follow it until its runs begin or it ends."""
    sweep = str(command.sweep)
    for _ in range(_TRIES):
        named = [job for job in cluster.jobs() if job.metadata.get(_SWEEP) == sweep]
        launches = [job for job in named if job.metadata.get(_COMMAND) == "launch" and _has_driven(job)]
        if command.command == "launch" and launches:
            return _report_existing(cluster, command, launches[0], tell)
        if command.command != "launch":
            command = _with_storage(command, jobs_of(cluster, command))
        job_id = next_id(sweep, [job.id for job in named])
        if _submit(cluster, job_id, command):
            break
    else:
        raise UserError(f"{cluster.address} has a job {job_id} of somebody else's: choose another --name")
    try:
        code = follow(cluster, job_id, until=_RUN_LINE if command.command in STARTING else None)
    except KeyboardInterrupt:
        tell(f"\n{sweep} goes on there; {_next_commands(cluster, sweep)}")
        return INTERRUPTED
    if code is None:
        tell(f"{sweep} has begun as job {job_id}; {_next_commands(cluster, sweep)}")
    return code or 0


def _has_driven(job: Job) -> bool:
    """Return whether a job has driven its sweep, or is about to: it was not refused, and could start."""
    return not (job.status == "FAILED" and job.exit_code in (None, MISTAKE))


def _report_existing(cluster: Cluster, command: RemoteCommand, existing: Job, tell: Tell) -> int:
    if existing.metadata.get(_DIGEST) != digest(command):
        raise UserError(
            f"{cluster.address} has another sweep named {command.sweep!r} (job {existing.id}, other space or options): "
            f"choose another --name, or `tuner resume {command.sweep}` for that one"
        )
    tell(f"{command.sweep} is there already (job {existing.id}, {existing.status.lower()}); nothing was submitted")
    tell(_next_commands(cluster, existing.metadata[_SWEEP]))
    return 0


def _submit(cluster: Cluster, job_id: str, command: RemoteCommand, request: Request | None = None) -> bool:
    request = request or Request({**releases(), **command.packages}, command.files)
    metadata = {
        **({_SWEEP: command.sweep} if command.sweep and command.command in DRIVING else {}),
        **({_STORAGE: command.storage} if command.storage else {}),
        _COMMAND: command.command,
        _DIGEST: digest(command),
        REQUEST: request.encode(),
    }
    entrypoint = f"exec python3 -P -m tuner job {shlex.join([command.command, *command.argv])}"
    return cluster.submit(job_id, entrypoint, metadata, environment(), secrets.token_hex(8), command.uploads)


def _query(cluster: Cluster, command: RemoteCommand) -> int:
    """Run a command that ends soon, or whose output is followed."""
    cluster.delete_ended(_QUERY_PREFIX)
    folder = command.output.absolute().parent if command.output else Path.cwd()
    request = Request(releases(), command.files, is_captured=not command.follow, folder=str(folder))
    job_id = f"{_QUERY_PREFIX}{command.command}.{secrets.token_hex(6)}"
    _submit(cluster, job_id, command, request)
    try:
        if command.follow:
            return follow(cluster, job_id) or 0
        job = wait(cluster, job_id)
        return _print_result(cluster, job, folder, _expected(command))
    except KeyboardInterrupt:
        cluster.stop(job_id)
        return INTERRUPTED


def _expected(command: RemoteCommand) -> Expected | None:
    """Return what a command makes on this machine, None if it makes nothing."""
    output = re.escape(command.output.name) if command.output else None
    if command.command in _FOLDERS:
        parent, suffixes = _FOLDERS[command.command]
        has_code = command.command == "export"
        own = rf"{command.sweep}-[a-z0-9][\w.-]*"
        if any(word.partition("=")[0] in _SEVERAL for word in command.argv):
            return Expected(rf"{output or parent}/{own}", frozenset(suffixes), MAX_CONFIRMED, has_code=has_code)
        return Expected(output or rf"{parent}/{own}", frozenset(suffixes), has_code=has_code)
    if output is None and command.command in _FILES:
        output = re.escape(_FILES[command.command].format(sweep=command.sweep))
    return Expected(output) if output else None


def _print_result(cluster: Cluster, job: Job, folder: Path, expected: Expected | None) -> int:
    log = cluster.log(job.id)
    result = CommandResult.find(log)
    if result is None:
        for line in command_lines(log):
            print_line(line)
        return print_ending(job, log)
    unpack(result.files, folder, expected)
    sys.stdout.write(without_control(result.output))
    sys.stderr.write(without_control(result.errors))
    return FAILED if job.exit_code is None else job.exit_code


def _stop(cluster: Cluster, command: RemoteCommand, jobs: list[Job], tell: Tell) -> int:
    for job in jobs:
        cluster.stop(job.id)
    for job in jobs:
        tell(f"{job.id} is asked to end, for which it has {STOP_WAIT_S} s")
        wait(cluster, job.id)
        endings = [line for line in command_lines(cluster.log(job.id)) if line.startswith(("Interrupted", "Stopped"))]
        killed = f"{job.id} was killed: `tuner resume {command.sweep}` goes on where it stands"
        tell(endings[-1] if endings else killed)
    return 0


def _with_storage(command: RemoteCommand, jobs: list[Job]) -> RemoteCommand:
    """Return a command with the storage that its sweep was launched with, unless one was typed."""
    known = jobs[-1].metadata.get(_STORAGE) if jobs else None
    if command.storage or not known:
        return command
    return replace(command, storage=known, argv=["--home", known, *command.argv])


def _next_commands(cluster: Cluster, sweep: str) -> str:
    commands = ", ".join(f"`tuner {word} {sweep}`" for word in ("status", "stop", "resume", "export"))
    return (
        f"`tuner logs {sweep} --follow` shows it; {commands}, each with --cluster {cluster.address} or with "
        f"RAY_ADDRESS={cluster.address}"
    )
