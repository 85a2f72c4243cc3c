"""Files are read up to a size, and only regular files are read or added to: a pipe or a device could be endless."""

from __future__ import annotations

import errno
import io
import os
import stat
from pathlib import Path
from typing import BinaryIO


def open_regular(path: Path) -> BinaryIO:
    """Open a file for reading, without waiting for whoever may write into a pipe.

    Raises:
        OSError: it cannot be opened, or is not a regular file.
    """
    return os.fdopen(_regular(path, os.O_RDONLY)[0], "rb")


def append_regular(path: Path) -> BinaryIO:
    """Open a file to add to its end, without waiting for whoever may read from a pipe; it is made if it is missing.

    Raises:
        OSError: it cannot be opened, or is not a regular file.
    """
    return os.fdopen(_regular(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)[0], "ab")


def read_bounded(path: Path, max_bytes: int) -> bytes:
    """Return the content of a regular file.

    Raises:
        OSError: it cannot be read, is not a regular file, or has more than so many bytes.
    """
    number, size = _regular(path, os.O_RDONLY)
    with io.FileIO(number) as file:  # a sweep has thousands of small files: no buffer is made for each
        content = b"" if size > max_bytes else file.readall()
    if max(size, len(content)) > max_bytes:
        raise OSError(errno.EFBIG, f"more than {max_bytes} bytes, which no such file has", str(path))
    return content


def _regular(path: Path, flags: int) -> tuple[int, int]:
    """Return the number of the open file, and its size in bytes."""
    number = os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
    info = os.fstat(number)
    if not stat.S_ISREG(info.st_mode):
        os.close(number)
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return number, info.st_size
