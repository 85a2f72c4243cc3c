"""Verifies that machines share a storage: each can write there, and read what another one has written.

The driver writes a probe, a file with a new name. A machine that can read the probe shares the storage. It answers with
a file of its own beside the probe, which the driver must be able to read in turn.
"""

from __future__ import annotations

import functools
import socket
import time
import uuid

from trainables.errors import StorageError
from trainables.storage.object_store import store_at

_PREFIX = ".mark-"
_VISIBLE_WITHIN_S = 5.0  # network file systems update their caches after seconds
_LOOK_EVERY_S = 0.25


def write_probe(place: str) -> str:
    """Write a new probe, remove all earlier ones, and return its name.

    Args:
        place: a folder, or the URL of one in an object store.

    Raises:
        StorageError: the place cannot be written.
    """
    store = store_at(place)
    for name in store.files(recursive=False):
        if name.startswith(_PREFIX):
            store.remove(name)
    probe = f"{_PREFIX}{uuid.uuid4().hex}"
    store.write(probe, probe.encode())
    return probe


def answer_probe(place: str, probe: str) -> str:
    """Write a file beside another machine's probe, and return its name.

    Args:
        place: a folder, or the URL of one in an object store.
        probe: name of the probe.

    Raises:
        StorageError: the probe is not visible here, or nothing can be written beside it.
    """
    answer = f"{probe}-{uuid.uuid4().hex}"
    if not is_visible(place, probe):
        raise StorageError(f"{place} is not the folder that the driver writes into")
    store_at(place).write(answer, answer.encode())
    return answer


def is_visible(place: str, name: str) -> bool:
    """Return whether a probe or an answer of another machine can be read here, now or within five seconds."""
    deadline = time.monotonic() + _VISIBLE_WITHIN_S
    while store_at(place).read(name) != name.encode():
        if time.monotonic() > deadline:
            return False
        time.sleep(_LOOK_EVERY_S)
    return True


@functools.cache
def verify(place: str, probe: str) -> None:
    """Verify that this machine shares a place with the driver, once in a process.

    Args:
        place: a folder, or the URL of one in an object store.
        probe: name of the driver's probe.

    Raises:
        StorageError: see `answer_probe`; the message names this machine and the place.
    """
    try:
        store_at(place).remove(answer_probe(place, probe))
    except StorageError as error:
        raise StorageError(f"on {socket.gethostname()}, {error}") from error
