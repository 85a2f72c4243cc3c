"""Where a sweep's studies lie: a journal in its folder, or one in a database."""

from __future__ import annotations

from optuna.storages import JournalStorage

from tuner.journal import Journal, JournalReader, JournalWriter
from tuner.sweep import Sweep


def open_writer(sweep: Sweep) -> JournalWriter:
    """Return the journal of a sweep for its one writer: the caller holds the sweep's lock.

    Raises:
        UserError: it is damaged, or its database cannot be used.
    """
    if sweep.study_storage is None:
        return Journal(sweep.journal)
    from tuner.database_journal import DatabaseJournal
    from tuner.seats import seat_of

    return DatabaseJournal(seat_of(sweep.id), sweep.id)


def open_reader(sweep: Sweep) -> JournalStorage | None:
    """Return the studies of a sweep to be read, None where none has begun; a driver may be writing meanwhile.

    Whoever keeps it reads only what is new at each look.

    Raises:
        UserError: it is damaged, or its database cannot be reached.
    """
    if sweep.study_storage is not None:
        from tuner.database_journal import DatabaseReader

        return JournalStorage(DatabaseReader(sweep.study_storage, sweep.id))
    return JournalStorage(JournalReader(sweep.journal)) if sweep.journal.exists() else None
