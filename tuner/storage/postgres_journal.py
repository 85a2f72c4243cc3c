"""Optuna's journal of a sweep's studies in PostgreSQL: a row for each line, in a table that all sweeps share.

Optuna's ``RDBStorage`` takes a dozen round trips for every report, and cannot tell an operation whose answer was lost
from one that failed. Here the number of a line is its key, and the connection that writes it holds the study's lock, so
that each line is written exactly once.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator

import psycopg
from optuna.storages.journal import BaseJournalBackend

from tuner.errors import UserError
from tuner.storage.journal import JournalWriter
from tuner.storage.postgres import StudyError, reader
from tuner.storage.postgres_lock import StudyLock

_PAGE = 10_000
_READ = "SELECT content FROM tuner_journal WHERE sweep = %s AND line >= %s ORDER BY line LIMIT %s"
_ADD = """INSERT INTO tuner_journal SELECT %s, %s + number - 1, content
    FROM unnest(%s::text[]) WITH ORDINALITY AS added (content, number) ON CONFLICT DO NOTHING"""


class DatabaseReader(BaseJournalBackend):
    """A journal in a database that is only read; a driver may be writing meanwhile.

    Args:
        url: of the database.
        sweep_id: hexadecimal id of the sweep.
    """

    def __init__(self, url: str, sweep_id: str) -> None:
        self._url = url
        self._sweep_id = sweep_id

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, object]]:
        """Yield the entries from a number on; none if the sweep has not started.

        Raises:
            UserError: the database cannot be reached.
        """
        for start in itertools.count(log_number_from, _PAGE):
            page = self._page(start)
            yield from map(json.loads, page)
            if len(page) < _PAGE:
                return

    def append_logs(self, logs: list[dict[str, object]]) -> None:
        """Raise `PermissionError`: only `DatabaseJournal` writes."""
        raise PermissionError("a study is written by its driver alone")

    def _page(self, start: int) -> list[str]:
        try:
            return reader(self._url).run(lambda connection: _lines(connection, self._sweep_id, start, _PAGE))
        except psycopg.errors.UndefinedTable:
            return []
        except (psycopg.Error, StudyError) as error:
            raise UserError(f"the study cannot be read: {error}") from error


class DatabaseJournal(JournalWriter):
    """A journal in a database, written by the connection that holds the study's lock; readers see what is synced.

    Args:
        lock: of the study, held for as long as the journal is written.
    """

    def __init__(self, lock: StudyLock) -> None:
        super().__init__(DatabaseReader(lock.url, lock.sweep_id))
        self._lock = lock
        self._pending: list[str] = []

    def _write(self, lines: list[str]) -> None:
        self._pending += lines

    def sync(self) -> None:
        """Wait until the database has stored every line, each once.

        Raises:
            StudyError: it was out of reach for too long, or another driver has taken over the sweep.
        """
        if self._pending:
            self._lock.run(self._add)
            self._pending = []

    def _add(self, connection: psycopg.Connection) -> None:
        first = self._num_lines - len(self._pending)
        added = connection.execute(_ADD, (self._lock.sweep_id, first, self._pending)).rowcount
        if added < len(self._pending):  # by an earlier attempt, whose answer was lost
            stored = _lines(connection, self._lock.sweep_id, first, None)
            if stored != self._pending:
                raise StudyError("another driver has written to the study meanwhile")


def _lines(connection: psycopg.Connection, sweep_id: str, start: int, limit: int | None) -> list[str]:
    return [row[0] for row in connection.execute(_READ, (sweep_id, start, limit))]
