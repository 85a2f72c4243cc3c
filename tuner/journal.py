"""The ledger's file: Optuna's journal, for the one writer who holds the sweep's lock."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from optuna.storages.journal import JournalFileBackend


class Journal(JournalFileBackend):
    """Reads like Optuna's backend; its lines are certain to be on disk only after `sync`.

    Optuna's own takes a lock file and waits for the disk for each of the dozen lines of a trial: on a slow disk that is
    most of what a trial costs. A process that is killed loses no line in either.
    """

    def __init__(self, path: Path) -> None:
        _mend(path)
        super().__init__(str(path))
        self._path = path

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Add lines; readers see them at once."""
        lines = "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs)
        with self._path.open("ab") as file:
            file.write(lines.encode())

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
            file.truncate(whole)
