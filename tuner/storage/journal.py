"""Optuna's journal of a sweep's studies: the bases of its readers and its only writer, and both for a journal file.

Every line that is written carries a checksum, see `trainables.storage.checked_lines`; lines of earlier releases, which
have none, come first. The checksums begin with the sweep's id, so that the lines of another sweep do not fit.
"""

from __future__ import annotations

import contextlib
import copy
import json
import logging
import os
import re
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from optuna.exceptions import OptunaError
from optuna.storages.journal import BaseJournalBackend
from pydantic_core import from_json

from trainables.errors import StorageError
from trainables.storage.atomic import append_whole
from trainables.storage.bounded import open_regular
from trainables.storage.checked_lines import DamagedLineError, LineChecksums
from tuner.errors import UserError

_MAX_LINE_BYTES = 16 * 1024**2
_BEGINNING = b'{"op_code":'
_WHOLE = re.compile(rb'"crc":"[0-9a-f]{8}"\}.', re.DOTALL)  # and more behind it than a line break
_log = logging.getLogger(__name__)


def new_checksums(sweep_id: str) -> LineChecksums:
    """Return the checksums of a journal without lines.

    Args:
        sweep_id: of the sweep whose studies it holds.
    """
    return LineChecksums(zlib.crc32(sweep_id.encode()))


def _parse(line: bytes) -> dict[str, Any]:
    """Return an entry. All trials have the same names, half of what their settings take in memory: they are shared."""
    try:
        entry = from_json(line, cache_strings="keys")
    except ValueError:  # it does not take half a surrogate pair, which a reason for a failure may have
        entry = json.loads(line)
    if not isinstance(entry, dict):
        raise ValueError("an entry is no JSON object")  # noqa: TRY004
    return entry


class JournalReader(BaseJournalBackend, ABC):
    """The entries of a journal for one `JournalStorage`; a driver may be adding more meanwhile.

    Every line is verified once: each call continues where the last one ended.

    Attributes:
        place: where the journal is, for messages.
        checksums: of the lines that have been read.
        num_unfinished_bytes: length of a last line without a line break: it is being written, or a crash cut it off.

    Args:
        place: where the journal is, for messages.
        sweep_id: of the sweep whose studies it holds.
    """

    def __init__(self, place: str, sweep_id: str) -> None:
        self.place = place
        self.checksums = new_checksums(sweep_id)
        self.num_unfinished_bytes = 0

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, object]]:
        """Yield the entries that were added since the last call.

        Args:
            log_number_from: number of entries read so far.

        Raises:
            UserError: a line is damaged; what follows it cannot be trusted.
        """
        if log_number_from != self.checksums.num_lines:
            raise ValueError(f"{self.checksums.num_lines} entries have been read, not {log_number_from}")
        for line in self._new_lines():
            try:
                self.checksums.check(line)
                entry = _parse(line)
            except (DamagedLineError, ValueError, RecursionError) as error:
                raise self.damaged(str(error)) from error
            yield entry

    def append_logs(self, logs: list[dict[str, object]]) -> None:
        """Refuse: only the driver writes, by a `JournalWriter`."""
        raise PermissionError("a study is written by its driver alone")

    def damaged(self, what: str) -> UserError:
        """Return the error for a damaged journal.

        Args:
            what: is wrong with it.
        """
        return UserError(f"{self.place} is damaged ({what}): put a copy of it in its place; nothing was changed")

    def drop_unfinished(self) -> None:
        """Remove a last line that a crash cut off, for the writer: adding to it would spoil the journal."""

    @abstractmethod
    def _new_lines(self) -> Iterator[bytes]:
        """Yield the lines after those that have been read, without their line breaks."""


class FileReader(JournalReader):
    """A journal file that is only read.

    Args:
        path: of the file, which need not exist.
        sweep_id: of the sweep whose studies it holds.
    """

    def __init__(self, path: Path, sweep_id: str) -> None:
        super().__init__(str(path), sweep_id)
        self._path = path
        self._offset = 0

    def _new_lines(self) -> Iterator[bytes]:
        try:
            file = open_regular(self._path)
        except FileNotFoundError:
            if self._offset:
                raise self.damaged("it is gone") from None
            return
        except OSError as error:
            raise UserError(f"{self._path} cannot be read: {error}") from error
        with file:
            if os.fstat(file.fileno()).st_size < self._offset:
                raise self.damaged("it has become shorter")
            file.seek(self._offset)
            self.num_unfinished_bytes = 0
            while line := file.readline(_MAX_LINE_BYTES + 1):
                if len(line) > _MAX_LINE_BYTES:
                    raise self.damaged(f"line {self.checksums.num_lines + 1} has over {_MAX_LINE_BYTES} bytes")
                if not line.endswith(b"\n"):
                    self._take_unfinished(line)
                    return
                self._offset += len(line)
                yield line[:-1]

    def _take_unfinished(self, line: bytes) -> None:
        if not line.startswith((_BEGINNING[: len(line)], b"\0")) or _WHOLE.search(line):
            raise self.damaged(f"line {self.checksums.num_lines + 1} has no line break")
        self.num_unfinished_bytes = len(line)

    def drop_unfinished(self) -> None:
        """Remove a last line that a crash cut off, for the writer: adding to it would spoil the journal."""
        if self.num_unfinished_bytes:
            _log.warning("%s: an unfinished line of %d bytes is dropped", self._path, self.num_unfinished_bytes)
            os.truncate(self._path, self._offset)
            self.num_unfinished_bytes = 0


@contextlib.contextmanager
def replaying(place: str) -> Iterator[None]:
    """Turn what Optuna raises for entries that do not fit together into words.

    Such entries come from releases that wrote no checksums, and are not all noticed.

    Args:
        place: where the journal is.

    Raises:
        UserError: an entry is damaged.
    """
    try:
        yield
    except (OptunaError, LookupError, TypeError, AttributeError, AssertionError, ArithmeticError) as error:
        raise _misfit(place, error) from error
    except ValueError as error:
        if isinstance(error, UserError):
            raise
        raise _misfit(place, error) from error


def _misfit(place: str, error: Exception) -> UserError:
    reason = f"{type(error).__name__}: {error}".splitlines()[0]
    return UserError(
        f"{place} is damaged (an entry does not fit those before it, {reason}): put a copy of it in its place; nothing "
        "was changed"
    )


class JournalWriter(BaseJournalBackend, ABC):
    """A journal for its only writer and one `JournalStorage`. Entries that it has added itself are not read back.

    Args:
        reader: reads the entries that exist.
    """

    def __init__(self, reader: JournalReader) -> None:
        self._reader: JournalReader | None = reader
        self._checksums = reader.checksums
        self._unread: list[bytes] = []

    @property
    def _num_lines(self) -> int:
        return self._checksums.num_lines

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, object]]:
        """Return all existing entries at the first call, later those that were added since the last call."""
        if self._reader is not None:
            existing = list(self._reader.read_logs(0))
            self._reader.drop_unfinished()
            self._reader = None
            return iter(existing)
        new, self._unread = self._unread, []
        return map(_parse, new)

    def append_logs(self, logs: list[dict[str, object]]) -> None:
        """Add entries, each a line; they are durable after `sync`."""
        lines = [json.dumps(log, separators=(",", ":")).encode() for log in logs]
        checksums = copy.copy(self._checksums)
        self._write([checksums.seal(line) for line in lines])
        self._checksums = checksums
        self._unread += lines

    @abstractmethod
    def _write(self, lines: list[bytes]) -> None:
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
        sweep_id: of the sweep whose studies it holds.
    """

    def __init__(self, path: Path, sweep_id: str) -> None:
        super().__init__(FileReader(path, sweep_id))
        self._path = path
        self._as_left = _look(path)

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, object]]:
        """See `JournalWriter.read_logs`; the first call drops an unfinished last line."""
        is_first = self._reader is not None
        entries = super().read_logs(log_number_from)
        if is_first:
            self._as_left = _look(self._path)
        return entries

    def _write(self, lines: list[bytes]) -> None:
        self._check()
        append_whole(self._path, b"".join(line + b"\n" for line in lines))
        self._as_left = _look(self._path)

    def sync(self) -> None:
        """Wait until the disk has every line.

        Raises:
            StorageError: the file is not the one that was written; see `_check`.
            OSError: the disk cannot be written.
        """
        self._check()
        if self._as_left is not None:
            with self._path.open("rb+") as file:
                os.fsync(file.fileno())

    def _check(self) -> None:
        """Check that the file is as this writer has left it.

        Raises:
            StorageError: it was removed or replaced, or another process has written to it.
        """
        if _look(self._path) != self._as_left:
            raise StorageError(
                f"{self._path} was removed, replaced or changed by another process while the driver ran. Nothing more "
                "was written; what was reported before is in that file, wherever it is now: put it back"
            )


def _look(path: Path) -> tuple[int, int, int] | None:
    """Return device, number and size of a file; None if there is none."""
    try:
        info = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return info.st_dev, info.st_ino, info.st_size
