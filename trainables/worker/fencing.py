"""Attempts at a run: one that begins takes from all earlier ones what they need to write.

When a network is cut, a worker that is taken for dead trains on while its run goes on elsewhere. Each attempt puts its
checkpoints together in a folder of its own, from where they are renamed; the next attempt removes that folder, so the
last one has nothing left to rename. Unlike a look beforehand, this holds at whatever moment a worker comes back.

In an object store (`trainables.storage.object_store`) nothing is renamed: there, a file says which attempt is the
latest, and each looks.
"""

from __future__ import annotations

import contextlib
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

from trainables.errors import StorageError
from trainables.storage.folder_guard import FolderGuard
from trainables.storage.sweep_store import SweepStore

_PREFIX = ".attempt-"


class FencedError(RuntimeError):
    """A later attempt at the same run has begun: this one must write no more."""


class Attempt:
    """One attempt at a run."""

    def __init__(self, checkpoints: Path, store: SweepStore) -> None:
        """Take the folder of the run's checkpoints and the store that it is in; nothing is done there yet."""
        self._store = store
        self._checkpoints = checkpoints
        self._has_begun = False
        self._staging = checkpoints / f"{_PREFIX}{uuid.uuid4().hex}"
        self._latest = checkpoints.with_name("attempt")

    def begin(self, guard: FolderGuard | None = None) -> None:
        """Take the means to write from whoever had them.

        Args:
            guard: of the sweep's folder, which is not made anew; without one, all folders are made.

        Raises:
            OSError: the folder cannot be written.
        """
        if guard is not None:
            guard.make(self._checkpoints)
        self._staging.mkdir(parents=guard is None)
        self._has_begun = True
        self._store.upload(self._latest, self._staging.name.encode())
        for other in self._staging.parent.glob(".*"):
            if other != self._staging and other.is_dir():
                _take_away(other)

    def is_latest(self) -> bool:
        """Return whether this one has begun and no later one has."""
        return self._staging.is_dir()

    @contextlib.contextmanager
    def writing(self) -> Iterator[Path]:
        """Give the folder in which a checkpoint is put together.

        Raises:
            FencedError: a later attempt has begun; nothing was put in place.
            StorageError: the run's folder was renamed or removed.
        """
        if self._store.read_stored(self._latest) not in (None, self._staging.name.encode()):
            self.end()
        try:
            yield self._staging
        except OSError as error:
            if self.is_latest():
                raise
            if self._has_begun and not self._checkpoints.is_dir():
                raise StorageError(f"{self._checkpoints} was renamed or removed while the run was trained") from error
            raise FencedError(
                f"a later attempt has begun in {self._staging.parent}: this one writes no more"
            ) from error

    def end(self) -> None:
        """Give the means to write back."""
        shutil.rmtree(self._staging, ignore_errors=True)


def _take_away(folder: Path) -> None:
    """Remove a folder that somebody may be writing into: by its name it is gone at once."""
    gone = folder.with_name(f".gone-{uuid.uuid4().hex}")
    with contextlib.suppress(FileNotFoundError):  # another attempt was faster
        folder.rename(gone)
    shutil.rmtree(gone, ignore_errors=True)
