"""Storage that machines share: each proves that it can write there, and read what another one wrote.

One machine leaves a mark: a file with a new name, which no other machine can have from earlier. Another one that finds
it there sees the same storage, and writes a file of its own beside it.
"""

from __future__ import annotations

import functools
import socket
import time
import uuid
from pathlib import Path

from trainables.files import StorageError, write_whole

_PREFIX = ".mark-"
_ARRIVES_WITHIN_S = 5.0  # network file systems look again after seconds
_LOOK_EVERY_S = 0.25


def leave_mark(folder: Path) -> Path:
    """Leave a new mark in a folder, in the place of all earlier ones.

    Raises:
        OSError: the folder cannot be written.
    """
    for old in folder.glob(f"{_PREFIX}*"):
        old.unlink(missing_ok=True)
    mark = folder / f"{_PREFIX}{uuid.uuid4().hex}"
    write_whole(mark, mark.name.encode())
    return mark


def answer(mark: Path) -> Path:
    """Write a file beside a mark that another machine has left, and return it: whoever left the mark can read it.

    Raises:
        StorageError: the mark is not seen here, or nothing can be written beside it.
    """
    own = mark.with_name(f"{mark.name}-{uuid.uuid4().hex}")
    try:
        is_there = arrives(mark, mark.name.encode())
        if is_there:
            write_whole(own, own.name.encode())
    except OSError as error:
        raise StorageError(f"{mark.parent} cannot be written: {error}") from error
    if not is_there:
        raise StorageError(f"{mark.parent} is not the folder that the driver writes into")
    return own


def arrives(path: Path, content: bytes) -> bool:
    """Return whether a file has a content, or gets it within seconds."""
    deadline = time.monotonic() + _ARRIVES_WITHIN_S
    while True:
        try:
            if path.read_bytes() == content:
                return True
        except FileNotFoundError:
            pass
        if time.monotonic() > deadline:
            return False
        time.sleep(_LOOK_EVERY_S)


@functools.cache
def prove(mark: str | None) -> None:
    """Answer a mark, once in a process; nothing is to be proven where no mark was left.

    Raises:
        StorageError: see `answer`; the message names this machine and the folder.
    """
    if mark:
        try:
            answer(Path(mark)).unlink()
        except StorageError as error:
            raise StorageError(f"on {socket.gethostname()}, {error}") from error
