"""A sweep's studies as Optuna's journal in a database: one row a line, in a table that all sweeps share.

That is Optuna's `JournalStorage`, not its `RDBStorage`: that one takes a dozen round trips for every report, and an
operation whose answer was lost cannot be told from one that failed. Here a line's number is its key, and the connection
that writes it holds the sweep's lock: it is there once or not at all.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from typing import Any

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
    """For those who only read; a driver may be writing meanwhile."""

    def __init__(self, url: str, sweep_id: str) -> None:
        self._url = url
        self._sweep_id = sweep_id

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:
        """Return the lines from one on; none where the sweep has not begun.

        Raises:
            UserError: the database cannot be reached.
        """
        for start in itertools.count(log_number_from, _PAGE):
            page = self._page(start)
            yield from map(json.loads, page)
            if len(page) < _PAGE:
                return

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Refuse: only the driver writes."""
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
        """Wait until the database has every line, once.

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
            there = _lines(connection, self._lock.sweep_id, first, None)
            if there != self._pending:
                raise StudyError("another driver has written to the study meanwhile")


def _lines(connection: psycopg.Connection, sweep_id: str, start: int, limit: int | None) -> list[str]:
    return [row[0] for row in connection.execute(_READ, (sweep_id, start, limit))]
