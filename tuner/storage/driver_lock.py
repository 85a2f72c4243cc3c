"""The lock of a sweep, which one driver holds at a time, and which process that is.

The driver also writes how many lines it leaves in the study's journal: the checksums of the lines show that each is
what was written, but not that the last ones are there.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from trainables.storage.atomic import is_storage_trouble
from trainables.storage.bounded import open_regular
from trainables.storage.checked_json import read_json
from trainables.storage.folder_guard import FolderGuard
from trainables.storage.sweep_store import SweepStore
from tuner.errors import UserError
from tuner.storage.file_lock import is_locked, locked

if TYPE_CHECKING:
    from tuner.storage.postgres_lock import StudyLock

OWNER = "owner.json"
JOURNAL = "study.journal"
_FORMAT = 1
_LOCK = ".lock"
_AT_ONCE = 1 << 20  # bytes
# How long a driver waits for the lock: longer than a look by `tuner status` holds it.
_LOCK_WAIT_S = 1.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Driver:
    """The process that drives a sweep, or drove it last; the content of ``owner.json``.

    Attributes:
        format: version of the file's format.
        pid: of the process.
        host: name of its machine.
        lines: how many lines the study's journal had when the process began or, once it has ended by itself, when it
            ended. None if a database holds the study, and in files of earlier releases.
        command: the subcommand of `tuner` that continues what the process does; None in files of earlier releases.
    """

    format: int
    pid: int
    host: str
    lines: int | None = None
    command: str | None = None


def read_owner(folder: Path, sweep_id: str) -> Driver | None:
    """Return the process that drives a sweep, or drove it last; None if none has.

    Args:
        folder: of the sweep.
        sweep_id: of the sweep.

    Raises:
        UserError: the file is damaged.
    """
    try:
        return read_json(folder / OWNER, Driver, remedy="the next driver writes it again", sweep_id=sweep_id)
    except FileNotFoundError:
        return None


def read_lines_left(folder: Path, sweep_id: str) -> int:
    """Return how many lines the study's journal has at least, by what its last driver has written; 0 if nothing.

    Args:
        folder: of the sweep.
        sweep_id: of the sweep.

    Raises:
        UserError: the file is damaged.
    """
    owner = read_owner(folder, sweep_id)
    return (owner.lines or 0) if owner else 0


def lost_lines(folder: Path, present: int, left: int) -> str:
    """Return the words for a study's journal that has lost its last lines.

    Args:
        folder: of the sweep.
        present: number of lines that are there.
        left: number of lines that its last driver has left.
    """
    return (
        f"{folder / JOURNAL} has {present} lines, and its last driver left {left}: it is an older copy, or its end was "
        "cut off; put the newer one in its place"
    )


@dataclass(frozen=True)
class SweepLock:
    """The lock of a sweep.

    Attributes:
        folder: of the sweep.
        store: that the folder is in.
        sweep_id: of the sweep.
        study_storage: URL of the database that holds the study; None if a file does.
    """

    folder: Path
    store: SweepStore
    sweep_id: str
    study_storage: str | None

    @contextlib.contextmanager
    def held(self) -> Iterator[StudyLock | None]:
        """Hold the lock, which keeps drivers away; only `driven` makes a driver of the holder.

        Yields:
            The lock of the study's database; None if a file holds the study.

        Raises:
            UserError: a driver holds it, whose process the message names, or the folder is not there any more.
        """
        if not (self.folder / "sweep.json").exists():
            raise UserError(f"{self.folder} is not there any more: `tuner status` lists the sweeps of a home")
        with contextlib.ExitStack() as stack:
            try:
                # Drivers of earlier releases lock this file alone.
                stack.enter_context(FileLock(self.folder / _LOCK, timeout=_LOCK_WAIT_S))
                study_lock = stack.enter_context(self.study())
                stack.enter_context(self.store.held(self.folder))
            except Timeout as error:
                holder = read_owner(self.folder, self.sweep_id)
                who = f"process {holder.pid} on {holder.host}" if holder else "process ? on ?"
                raise UserError(f"sweep {self.folder.name!r} is being run by {who}") from error
            except OSError as error:
                if is_storage_trouble(error):
                    raise
                path, what = error.filename or self.folder, error.strerror or error
                raise UserError(f"{path} cannot be locked ({what}): put a copy of the file in its place") from error
            yield study_lock

    @contextlib.contextmanager
    def driven(self, command: str | None = None) -> Iterator[None]:
        """Be the driver, which ``owner.json`` names, while this is entered; the lock is held by the caller.

        Args:
            command: see `Driver`.
        """
        guard = FolderGuard(self.folder)
        begin = self._num_lines()
        try:
            left = read_lines_left(self.folder, self.sweep_id)
        except UserError:  # damaged: it is written anew
            left = 0
        if left > (begin or 0):
            _log.warning("%s", lost_lines(self.folder, begin or 0, left))
        self._write_owner(max(begin, left) if begin is not None else None, command)
        try:
            yield
        finally:
            with contextlib.suppress(OSError):  # the number before this drive stays
                guard.check()
                if self._num_lines() != begin:
                    self._write_owner(self._num_lines(), command)

    def _write_owner(self, lines: int | None, command: str | None) -> None:
        owner = {"format": _FORMAT, "sweep_id": self.sweep_id, "pid": os.getpid(), "host": socket.gethostname()}
        self.store.write_json(self.folder / OWNER, {**owner, "lines": lines, "command": command})

    def _num_lines(self) -> int | None:
        """Return the number of lines of the study's journal; None if a database, which counts them, holds the study."""
        if self.study_storage is not None:
            return None
        try:
            with open_regular(self.folder / JOURNAL) as file:
                return sum(part.count(b"\n") for part in iter(lambda: file.read(_AT_ONCE), b""))
        except FileNotFoundError:
            return 0

    def study(self) -> contextlib.AbstractContextManager[StudyLock | None]:
        """Return the lock of what holds the study: its database, which drivers on other hosts share, or its file."""
        if self.study_storage is None:
            return locked(self.folder / JOURNAL, _LOCK_WAIT_S)
        from tuner.storage.postgres_lock import StudyLock

        return contextlib.closing(StudyLock(self.study_storage, self.sweep_id))

    def is_held(self) -> bool:
        """Return whether a process holds the lock; leaves no file behind, and disturbs no driver.

        Raises:
            UserError: the database that holds the study cannot be reached.
        """
        if self.study_storage is not None:
            from tuner.storage.postgres_lock import holder

            return holder(self.study_storage, self.sweep_id) is not None
        return is_locked(self.folder / JOURNAL) or is_locked(self.folder / _LOCK)
