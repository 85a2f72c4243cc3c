"""The ledger's file: Optuna's journal, for the one writer who holds the sweep's lock."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Generator
from pathlib import Path
from typing import Any

from optuna.storages.journal import JournalFileBackend

from trainables.files import append_whole
from tuner.errors import UserError

_log = logging.getLogger(__name__)


class JournalReader(JournalFileBackend):
    """Optuna's backend, for those who only read; a driver may be writing meanwhile."""

    def __init__(self, path: Path) -> None:
        super().__init__(str(path))
        self._path = path

    def read_logs(self, log_number_from: int) -> Generator[dict[str, Any], None, None]:
        """Return the lines from one on.

        Raises:
            UserError: a line is damaged; what follows it cannot be trusted.
        """
        try:
            yield from super().read_logs(log_number_from)
        except ValueError as error:
            raise UserError(
                f"{self._path} is damaged ({error}): put a copy of it in its place; nothing was changed"
            ) from error


class Journal(JournalReader):
    """Reads like Optuna's backend; its lines are certain to be on disk only after `sync`.

    Optuna's own takes a lock file and waits for the disk for each of the dozen lines of a trial: on a slow disk that is
    most of what a trial costs. A process that is killed loses no line in either.
    """

    def __init__(self, path: Path) -> None:
        _mend(path)
        super().__init__(path)

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Add lines; readers see them at once."""
        lines = "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs)
        append_whole(self._path, lines.encode())

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
