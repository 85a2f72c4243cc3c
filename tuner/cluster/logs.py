"""The log of a job on a cluster, printed or followed over a network that may fail for a while."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterator

from trainables.common.retries import RetryPolicy
from tuner.cluster.client import Cluster, Job, UnreachableError
from tuner.cluster.payload import BEGIN, ERROR_MARK, without_control
from tuner.errors import FAILED, INTERRUPTED, UserError

_RETRIES = RetryPolicy(first_wait_s=0.5, longest_wait_s=5.0, patience_s=60.0)
_POLL_INTERVAL_S = 0.5


def print_log(cluster: Cluster, job: Job) -> int:
    """Print what the command of a job has written so far; return 0, for an exit code."""
    for line in command_lines(cluster.log(job.id)):
        print_line(line)
    return 0


def print_line(line: str) -> None:
    """Print a line of a job's log to the stream, standard output or error, that its command wrote it to."""
    is_error = line.startswith(ERROR_MARK)
    print(without_control(line.removeprefix(ERROR_MARK)), file=sys.stderr if is_error else sys.stdout, flush=True)


def follow(cluster: Cluster, job_id: str, until: re.Pattern[str] | None = None) -> int | None:
    """Print what the command of a job writes until the job ends.

    Args:
        cluster: where the job is.
        job_id: its name.
        until: return before a line whose beginning matches is printed, while the job runs on.

    Returns:
        The exit code of the job; None if ``until`` has matched.

    Raises:
        UserError: the job is gone, or the cluster has been out of reach for a minute.
    """
    num_printed = 0
    for job, log in _poll(cluster, job_id):
        lines = command_lines(log)
        whole = lines if job.has_ended or log.endswith("\n") else lines[:-1]
        for line in whole[num_printed:]:
            if until and until.match(line):
                return None
            print_line(line)
        num_printed = max(num_printed, len(whole))
        if job.has_ended:
            return print_ending(job, log)
    raise AssertionError


def _poll(cluster: Cluster, job_id: str) -> Iterator[tuple[Job, str]]:
    """Yield the state of a job and its log, again and again; the network may fail for a minute meanwhile."""

    def look() -> tuple[Job, str, float]:
        began = time.monotonic()
        job = cluster.job(job_id)
        if job is None:
            raise UserError(f"{cluster.address} has forgotten job {job_id}: its head was replaced, or it was deleted")
        return job, cluster.log(job_id), time.monotonic() - began

    while True:
        job, log, took_s = _RETRIES.call(look, lambda error: isinstance(error, UnreachableError))
        yield job, log
        # A long log takes a while to be read, and that must not become the head's main work.
        time.sleep(max(_POLL_INTERVAL_S, 5 * took_s))


def wait(cluster: Cluster, job_id: str) -> Job:
    """Return a job once it has ended.

    Raises:
        UserError: the job is gone, or the cluster has been out of reach for a minute.
    """
    return next(job for job, _ in _poll(cluster, job_id) if job.has_ended)


def print_ending(job: Job, log: str) -> int:
    """Print why a job could not start, if that is so; return the exit code of a job that has ended."""
    if BEGIN not in log:
        last = "\n".join((log.strip() or job.message).splitlines()[-5:])
        print(
            f"error: the cluster could not begin job {job.id}; its last words: {without_control(last)}", file=sys.stderr
        )
    if job.status == "STOPPED":
        return INTERRUPTED
    return FAILED if job.exit_code is None else job.exit_code


def command_lines(log: str) -> list[str]:
    """Return the lines that our command has written: those before are Ray's, or of a job that was deleted."""
    _, begin, own = log.rpartition(f"{BEGIN}\n")
    return own.removesuffix("\n").split("\n") if begin and own else []
