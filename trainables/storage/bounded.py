"""Files are read up to a size, and only regular files are read or added to: a pipe or a device could be endless."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO


def open_regular(path: Path) -> BinaryIO:
    """Open a file for reading, without waiting for whoever may write into a pipe.

    Raises:
        OSError: it cannot be opened, or is not a regular file.
    """
    return os.fdopen(_regular(path, os.O_RDONLY), "rb")


def append_regular(path: Path) -> BinaryIO:
    """Open a file to add to its end, without waiting for whoever may read from a pipe; it is made if it is missing.

    Raises:
        OSError: it cannot be opened, or is not a regular file.
    """
    return os.fdopen(_regular(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT), "ab")


def _regular(path: Path, flags: int) -> int:
    number = os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
    if not stat.S_ISREG(os.fstat(number).st_mode):
        os.close(number)
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return number


def read_bounded(path: Path, max_bytes: int) -> bytes:
    """Return the content of a regular file.

    Raises:
        OSError: it cannot be read, is not a regular file, or has more than so many bytes.
    """
    with open_regular(path) as file:
        is_too_large = os.fstat(file.fileno()).st_size > max_bytes
        content = b"" if is_too_large else file.read()
    if is_too_large or len(content) > max_bytes:
        raise OSError(errno.EFBIG, f"more than {max_bytes} bytes, which no such file has", str(path))
    return content
