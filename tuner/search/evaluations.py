"""Files of evaluation results, each with its digest in the study: an older copy in its place is noticed."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

import optuna
from optuna.storages import BaseStorage, JournalStorage

from trainables.storage.checked_json import as_json
from tuner.storage.journal import JournalWriter, replaying
from tuner.sweep.evaluations import EVALUATION_FILES, RECORDED
from tuner.sweep.folder import SweepFolder
from tuner.sweep.reader import open_writer
from tuner.sweep.runs import Run, Tier

if TYPE_CHECKING:
    from tuner.storage.postgres_lock import StudyLock


class EvaluationWriter:
    """Writes files of evaluation results.

    Args:
        sweep: whose lock the caller holds.
        journal: of its study.
        storage: of its study.
    """

    def __init__(self, sweep: SweepFolder, journal: JournalWriter, storage: BaseStorage) -> None:
        self._sweep = sweep
        self._journal = journal
        self._storage = storage
        known = [study.user_attrs for study in storage.get_all_studies() if study.study_name == RECORDED]
        self._digests: dict[str, str] = dict(known[0]) if known else {}

    @classmethod
    def open(cls, sweep: SweepFolder, study_lock: StudyLock | None) -> EvaluationWriter:
        """Return a writer for a sweep whose study nothing else in this process writes.

        Args:
            sweep: whose lock the caller holds.
            study_lock: what `SweepFolder.lock` has returned: needed if a database holds the study.

        Raises:
            UserError: the journal is damaged, or the database cannot be used.
        """
        journal = open_writer(sweep, study_lock)
        with replaying(sweep.study_place):
            storage = JournalStorage(journal)
        return cls(sweep, journal, storage)

    def has_written(self, run: Run, tier: Tier) -> bool:
        """Return whether a file is the one that was written last; True if that is not known."""
        path = run.folder / EVALUATION_FILES[tier]
        recorded = self._digests.get(self._key(path))
        return recorded is None or hashlib.sha256(path.read_bytes()).hexdigest() == recorded

    def write(self, run: Run, tier: Tier, content: dict[str, object]) -> None:
        """Write the results of a tier's attacks on a run's classifier: first their digest, then the file.

        Raises:
            OSError: they cannot be written.
        """
        path, text = run.folder / EVALUATION_FILES[tier], as_json(content)
        digest = hashlib.sha256(text).hexdigest()
        study = optuna.create_study(study_name=RECORDED, storage=self._storage, load_if_exists=True)
        study.set_user_attr(self._key(path), digest)
        self._journal.sync()
        self._digests[self._key(path)] = digest
        self._sweep.store.write(path, text)

    def _key(self, path: Path) -> str:
        return path.relative_to(self._sweep.folder).as_posix()
