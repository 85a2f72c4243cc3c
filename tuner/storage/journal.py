"""Optuna's journal of a sweep's studies: the base of its only writer, and reader and writer of a journal file."""

from __future__ import annotations

import json
import logging
import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

from optuna.storages.journal import BaseJournalBackend, JournalFileBackend

from trainables.storage.atomic import append_whole
from tuner.errors import UserError

_log = logging.getLogger(__name__)


class JournalReader(JournalFileBackend):
    """A journal file that is only read; a driver may be writing meanwhile.

    Args:
        path: of the file.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(str(path))
        self._path = path

    def read_logs(self, log_number_from: int) -> Generator[dict[str, object], None, None]:
        """Yield the entries from a number on.

        Raises:
            UserError: a line is damaged; what follows it cannot be trusted.
        """
        try:
            yield from super().read_logs(log_number_from)
        except ValueError as error:
            raise UserError(
                f"{self._path} is damaged ({error}): put a copy of it in its place; nothing was changed"
            ) from error


def _shared(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    return {sys.intern(name): value for name, value in pairs}


# All trials have the same names, half of what their settings take in memory.
_decode = json.JSONDecoder(object_pairs_hook=_shared).decode


class JournalWriter(BaseJournalBackend, ABC):
    """A journal for its only writer and one `JournalStorage`. Entries that it has added itself are not read back.

    Args:
        reader: reads the entries that exist.
    """

    def __init__(self, reader: BaseJournalBackend) -> None:
        self._reader: BaseJournalBackend | None = reader
        self._num_lines = 0
        self._unread: list[str] = []

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, object]]:
        """Return all existing entries at the first call, later those that were added since the last call."""
        if self._reader is not None:
            existing, self._reader = list(self._reader.read_logs(0)), None
            self._num_lines = len(existing)
            return iter(existing)
        new, self._unread = self._unread, []
        return map(_decode, new)

    def append_logs(self, logs: list[dict[str, object]]) -> None:
        """Add entries, each a line; they are durable after `sync`."""
        lines = [json.dumps(log, separators=(",", ":")) for log in logs]
        self._write(lines)
        self._num_lines += len(lines)
        self._unread += lines

    @abstractmethod
    def _write(self, lines: list[str]) -> None:
        """Add lines, or keep them to be added by `sync`: all or none."""

    @abstractmethod
    def sync(self) -> None:
        """Wait until every line is durable: it survives a crash of this process and of its machine.

        Raises:
            OSError: they cannot be written; see `trainables.storage.atomic.is_storage_trouble`.
        """


class Journal(JournalWriter):
    """A journal in a file; readers see a line as soon as it is added.

    Optuna's ``JournalFileBackend`` takes a lock file and waits for the disk for each of the dozen lines of a trial,
    which on a slow disk is most of what a trial costs. Neither loses a line when its process is killed.

    Args:
        path: of the file; an unfinished last line, left by a crash, is cut off.
    """

    def __init__(self, path: Path) -> None:
        _mend(path)
        super().__init__(JournalReader(path))
        self._path = path

    def _write(self, lines: list[str]) -> None:
        append_whole(self._path, "".join(line + "\n" for line in lines).encode())

    def sync(self) -> None:
        """Wait until the disk has every line."""
        with self._path.open("ab") as file:
            os.fsync(file.fileno())


def _mend(path: Path) -> None:
    """Cut back a line that a crash cut off: appending to it would spoil the journal."""
    if not path.exists():
        return
    with path.open("rb+") as file:
        content = file.read()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            _log.warning("%s: an unfinished line of %d bytes is dropped", path, len(content) - whole)
            file.truncate(whole)
