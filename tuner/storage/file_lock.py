"""A lock on a file itself, which nobody can take away by removing a lock file beside it.

On a network file system (NFS) it is a lock on the server: it keeps processes on other machines out, too.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path

from filelock import Timeout

from trainables.storage.atomic import is_storage_trouble

_TRY_EVERY_S = 0.05
_NO_FILE = {errno.ELOOP, errno.ENXIO, errno.ENOTDIR}
"""What a link to itself, a socket, and a path below a file give."""


@contextlib.contextmanager
def locked(path: Path, timeout_s: float) -> Iterator[None]:
    """Hold the exclusive lock of a file; it ends with this process, however that ends.

    Args:
        path: of the file, which is made if it is missing; its folder must exist.
        timeout_s: for how many seconds another process is waited for.

    Raises:
        Timeout: another process holds the lock.
        OSError: the file cannot be opened or locked, or is not a regular file.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NONBLOCK, 0o666)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise OSError(errno.EINVAL, "not a regular file", str(path))
            if _take(descriptor, fcntl.LOCK_EX) and _is_at(path, descriptor):
                yield
                return
        finally:
            os.close(descriptor)
        if time.monotonic() > deadline:
            raise Timeout(str(path))
        time.sleep(_TRY_EVERY_S)


def is_locked(path: Path) -> bool:
    """Return whether a process holds the exclusive lock of a file; False if there is no such file.

    Does not disturb others who look at the same time; a process that takes the lock meanwhile tries again.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except FileNotFoundError:
        return False
    except OSError as error:
        if error.errno in _NO_FILE or is_storage_trouble(error):
            return False  # what this process may not read, no driver of the same user has made
        raise
    try:
        return not _take(descriptor, fcntl.LOCK_SH)
    finally:
        os.close(descriptor)


def _take(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_at(path: Path, descriptor: int) -> bool:
    """Return whether a path still names an open file."""
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
