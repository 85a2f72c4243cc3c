"""A run's log: what its process writes while it trains, in the run's folder, added to from attempt to attempt."""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from trainables.common.redaction import redact
from trainables.storage.bounded import append_regular
from trainables.storage.sweep_store import SweepStore

NAME = "log.txt"


class RunLog(io.TextIOBase):
    """Takes text like a file. What cannot be written is lost: no run fails for its log."""

    def __init__(self, folder: Path, store: SweepStore, may_write: Callable[[], bool] = lambda: True) -> None:
        """Log to a run's folder.

        Args:
            folder: of the run; made when something is written.
            store: that the folder is in.
            may_write: whether text is taken; asked at each write.
        """
        super().__init__()
        self._store = store
        self._path = folder / NAME
        self._may_write = may_write

    def writable(self) -> bool:
        """Say that text can be written."""
        return True

    def write(self, text: str) -> int:
        """Add text, its secrets masked; return the number of its characters."""
        if not self._may_write():
            return len(text)
        with contextlib.suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with append_regular(self._path) as file:
                file.write(redact(text).encode(errors="backslashreplace"))
        return len(text)

    def fetch(self) -> None:
        """Begin with what earlier attempts have written, if the folder is in a working copy."""
        with contextlib.suppress(OSError):
            self._store.fetch(self._path)

    def keep(self) -> None:
        """Upload the log to the object store, if there is one."""
        with contextlib.suppress(OSError):
            if self._may_write():
                self._store.upload_file(self._path)

    def note(self, text: str) -> None:
        """Add a line with the time of day in UTC."""
        self.write(f"{datetime.now(UTC).isoformat(timespec='seconds')} {text}\n")

    @contextlib.contextmanager
    def capture(self) -> Iterator[None]:
        """Take what Python code prints, logs and warns of meanwhile, in this process."""
        handler = logging.StreamHandler(self)
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        root = logging.getLogger()
        root.addHandler(handler)
        try:
            with contextlib.redirect_stdout(self), contextlib.redirect_stderr(self):
                yield
        finally:
            root.removeHandler(handler)
