"""Notices that the folder of a sweep was renamed, removed or replaced while something writes into it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from trainables.errors import StorageError, UserError
from trainables.storage.checked_json import read_json

_MARKER = "sweep.json"
_FORMATS = (1, 2, 3)


class FolderGuard:
    """A sweep's folder as it was when this object was made.

    Args:
        folder: of the sweep.
        sweep_id: of the sweep, if it is to be verified, too.

    Raises:
        StorageError: it is not there, holds another sweep, or the file that says which one is damaged.
    """

    def __init__(self, folder: Path, sweep_id: str | None = None) -> None:
        self._folder = folder
        self._at_first = self._look()
        if sweep_id is not None and self._read_id() != sweep_id:
            raise self._lost()

    def check(self) -> None:
        """Check that the folder is still there.

        Raises:
            StorageError: it was renamed, removed or replaced by another one.
        """
        if not os.path.samestat(self._at_first, self._look()):
            raise self._lost()

    def make(self, folder: Path) -> None:
        """Make a folder below the guarded one, with the folders between them, unless it is there.

        Raises:
            StorageError: the guarded folder is not there any more; it is not made anew.
            OSError: the folder cannot be made.
        """
        self.check()
        path = self._folder
        try:
            for part in folder.relative_to(self._folder).parts:
                path /= part
                path.mkdir(exist_ok=True)
        except FileNotFoundError as error:
            raise self._lost() from error

    def _read_id(self) -> object:
        """Return the id of the sweep in the folder."""
        path = self._folder / _MARKER
        try:
            content = read_json(path, dict[str, Any], remedy="put a copy of it in its place", formats=_FORMATS)
        except FileNotFoundError as error:
            raise self._lost() from error
        except UserError as error:
            raise StorageError(str(error)) from error
        return content.get("id")

    def _look(self) -> os.stat_result:
        try:
            (self._folder / _MARKER).stat()
            return self._folder.stat()
        except (FileNotFoundError, NotADirectoryError) as error:
            raise self._lost() from error

    def _lost(self) -> StorageError:
        return StorageError(
            f"{self._folder} was renamed, removed or replaced while the sweep ran. Nothing was made anew in its place; "
            "what was reported before is in the folder, wherever it is now: move it back"
        )
