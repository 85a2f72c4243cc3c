"""Storage that machines share: each proves that it can write there, and read what another one wrote.

One machine leaves a mark: a file with a new name, which no other machine can have from earlier. Another one that finds
it there sees the same storage, and writes a file of its own beside it.
"""

from __future__ import annotations

import functools
import socket
import time
import uuid

from trainables.errors import StorageError
from trainables.storage.object_store import store_at

_PREFIX = ".mark-"
_ARRIVES_WITHIN_S = 5.0  # network file systems look again after seconds
_LOOK_EVERY_S = 0.25


def leave_mark(place: str) -> str:
    """Leave a new mark in a folder or at a URL, in the place of all earlier ones, and return its name there.

    Raises:
        StorageError: the place cannot be written.
    """
    store = store_at(place)
    for name in store.files(recursive=False):
        if name.startswith(_PREFIX):
            store.remove(name)
    mark = f"{_PREFIX}{uuid.uuid4().hex}"
    store.write(mark, mark.encode())
    return mark


def answer(place: str, mark: str) -> str:
    """Write a file beside a mark that another machine has left, and return its name: whoever left the mark can read it.

    Raises:
        StorageError: the mark is not seen here, or nothing can be written beside it.
    """
    own = f"{mark}-{uuid.uuid4().hex}"
    if not arrives(place, mark):
        raise StorageError(f"{place} is not the folder that the driver writes into")
    store_at(place).write(own, own.encode())
    return own


def arrives(place: str, name: str) -> bool:
    """Return whether a file that another machine has written there is seen here, or is within seconds."""
    deadline = time.monotonic() + _ARRIVES_WITHIN_S
    while store_at(place).read(name) != name.encode():
        if time.monotonic() > deadline:
            return False
        time.sleep(_LOOK_EVERY_S)
    return True


@functools.cache
def prove(place: str, mark: str) -> None:
    """Answer a mark, once in a process.

    Raises:
        StorageError: see `answer`; the message names this machine and the place.
    """
    try:
        store_at(place).remove(answer(place, mark))
    except StorageError as error:
        raise StorageError(f"on {socket.gethostname()}, {error}") from error
