"""A job on a cluster as it is followed from elsewhere, over a network that may fail for a while."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterator

from tuner.cluster import payload as parcel
from tuner.cluster.client import Cluster, Job, UnreachableError
from tuner.errors import FAILED, INTERRUPTED, UserError

_PATIENCE_S = 60.0
_LOOK_EVERY_S = 0.5


def print_log(cluster: Cluster, job: Job) -> int:
    """Print what a job has written; return 0, for an exit code."""
    for line in own_lines(cluster.log(job.id)):
        print_line(line)
    return 0


def print_line(line: str) -> None:
    """Print a line of a job's log to where its command has written it."""
    is_error = line.startswith(parcel.ERROR_MARK)
    print(line.removeprefix(parcel.ERROR_MARK), file=sys.stderr if is_error else sys.stdout, flush=True)


def follow(cluster: Cluster, job_id: str, is_enough: re.Pattern[str] | None = None) -> int | None:
    """Print what a job writes until it ends; return its exit code, or None once a line was enough to know."""
    num_printed = 0
    for job, log in _looks(cluster, job_id):
        lines = own_lines(log)
        whole = lines if job.has_ended or log.endswith("\n") else lines[:-1]
        for line in whole[num_printed:]:
            if is_enough and is_enough.match(line):
                return None
            print_line(line)
        num_printed = max(num_printed, len(whole))
        if job.has_ended:
            return say_ending(job, log)
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


def wait(cluster: Cluster, job_id: str) -> Job:
    """Return a job once it has ended."""
    return next(job for job, _ in _looks(cluster, job_id) if job.has_ended)


def say_ending(job: Job, log: str) -> int:
    """Say what a job's own words do not: that it could not start, or was killed. Return its exit code."""
    if parcel.BEGIN not in log:
        last = "\n".join((log.strip() or job.message).splitlines()[-5:])
        print(f"error: the cluster could not begin job {job.id}; its last words: {last}", file=sys.stderr)
    if job.status == "STOPPED":
        return INTERRUPTED
    return FAILED if job.exit_code is None else job.exit_code


def own_lines(log: str) -> list[str]:
    """Return the lines that our command has written: what comes before is Ray's, or of a job that was deleted."""
    _, begin, own = log.rpartition(f"{parcel.BEGIN}\n")
    return own.removesuffix("\n").split("\n") if begin and own else []
