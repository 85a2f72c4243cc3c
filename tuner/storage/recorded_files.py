"""JSON files that each have their digest in a journal: an older copy in the place of one is noticed."""

from __future__ import annotations

import hashlib
from pathlib import Path

import optuna
from optuna.storages import BaseStorage

from trainables.storage.checked_json import as_json, read_present
from trainables.storage.sweep_store import SweepStore
from tuner.errors import UserError
from tuner.storage.journal import JournalWriter

_PUT_BACK = "put the newest copy of it in its place"
STUDY = "files"
"""The study whose attributes are the SHA-256 of each file by its path in the folder; it has no trials."""


def check_newest(path: Path, digest: str) -> None:
    """Check that a file is what was written last.

    Raises:
        UserError: it is not, or cannot be read.
    """
    content = read_present(path, _PUT_BACK)
    if content is None:
        raise UserError(f"{path} is missing: {_PUT_BACK}")
    if hashlib.sha256(content).hexdigest() != digest:
        raise UserError(f"{path} is not what was written last: {_PUT_BACK}")


class RecordedFiles:
    """Writes files of a folder, and their digests into its journal.

    Args:
        folder: that the files are in.
        store: that the folder is in.
        journal: which nothing else writes.
        storage: of that journal.
    """

    def __init__(self, folder: Path, store: SweepStore, journal: JournalWriter, storage: BaseStorage) -> None:
        self._folder = folder
        self._store = store
        self._journal = journal
        self._storage = storage
        known = [study.user_attrs for study in storage.get_all_studies() if study.study_name == STUDY]
        self._digests: dict[str, str] = dict(known[0]) if known else {}

    def is_newest(self, path: Path) -> bool:
        """Return whether a file is what was written last; True if that is not known."""
        digest = self._digests.get(self._key(path))
        return digest is None or hashlib.sha256(path.read_bytes()).hexdigest() == digest

    def write_json(self, path: Path, content: dict[str, object]) -> None:
        """Write the digest of a file, and then the file, which appears whole.

        Raises:
            OSError: it cannot be written.
        """
        text = as_json(content)
        digest = hashlib.sha256(text).hexdigest()
        study = optuna.create_study(study_name=STUDY, storage=self._storage, load_if_exists=True)
        study.set_user_attr(self._key(path), digest)
        self._journal.sync()
        self._digests[self._key(path)] = digest
        self._store.write(path, text)

    def _key(self, path: Path) -> str:
        return path.relative_to(self._folder).as_posix()
