"""Optuna's journal of a sweep's studies in PostgreSQL: a row for each line, in a table that all sweeps share.

Optuna's ``RDBStorage`` takes a dozen round trips for every report, and cannot tell an operation whose answer was lost
from one that failed. Here the number of a line is its key, and the connection that writes it holds the study's lock, so
that each line is written exactly once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import psycopg

from tuner.errors import UserError
from tuner.storage.journal import JournalReader, JournalWriter
from tuner.storage.postgres import StudyError, first_line, reader, shown
from tuner.storage.postgres_lock import StudyLock

_PAGE = 10_000
_COUNT = -1  # as number of a line: its content is the number of lines, by which missing last ones are noticed
_READ = f"""SELECT line, content FROM (
        (SELECT line, content FROM tuner_journal WHERE sweep = %(sweep)s AND line = {_COUNT})
        UNION ALL
        (SELECT line, content FROM tuner_journal WHERE sweep = %(sweep)s AND line >= %(start)s
            ORDER BY line LIMIT %(limit)s)
    ) AS lines ORDER BY line"""  # noqa: S608 - a constant
_ADD = f"""WITH added AS (
        INSERT INTO tuner_journal
            SELECT %(sweep)s, %(start)s + number - 1, content
            FROM unnest(%(lines)s::text[]) WITH ORDINALITY AS new (content, number)
            WHERE coalesce((SELECT max(line) FROM tuner_journal WHERE sweep = %(sweep)s AND line >= 0), -1)
                = %(start)s - 1
        RETURNING line
    ), counted AS (
        INSERT INTO tuner_journal SELECT %(sweep)s, {_COUNT}, max(line) + 1 FROM added HAVING count(*) > 0
        ON CONFLICT (sweep, line) DO UPDATE SET content = excluded.content
    ) SELECT count(*) FROM added"""  # noqa: S608 - a constant
_Rows = Sequence[tuple[int, str]]


class DatabaseReader(JournalReader):
    """A journal in a database that is only read; a driver may be writing meanwhile.

    Args:
        url: of the database.
        sweep_id: hexadecimal id of the sweep.
    """

    def __init__(self, url: str, sweep_id: str) -> None:
        super().__init__(f"the study of sweep {sweep_id} in {shown(url)}", sweep_id)
        self._url = url
        self._sweep_id = sweep_id

    def damaged(self, what: str) -> UserError:
        """Return the error for a damaged journal.

        Args:
            what: is wrong with it.
        """
        return UserError(f"{self.place} is damaged ({what}): restore its table tuner_journal; nothing was changed")

    def _new_lines(self) -> Iterator[bytes]:
        """Yield the lines after those that have been read; none if the sweep has not started.

        Raises:
            UserError: the database cannot be reached, or lines are missing.
        """
        while True:
            page = self._page(self.checksums.num_lines)
            count = page[0][1] if page and page[0][0] == _COUNT else "0"
            lines = [row for row in page if row[0] != _COUNT]
            for number, content in lines:
                if number != self.checksums.num_lines:
                    raise self.damaged(f"line {self.checksums.num_lines + 1} is missing")
                if not isinstance(content, str):
                    raise self.damaged("the table is of another shape")
                yield content.encode()
            if len(lines) < _PAGE:
                if not count.isdecimal() or int(count) > self.checksums.num_lines:
                    raise self.damaged(f"it has {self.checksums.num_lines} lines instead of {count}")
                return

    def _page(self, start: int) -> _Rows:
        try:
            return reader(self._url).run(lambda connection: _rows(connection, self._sweep_id, start, _PAGE))
        except psycopg.errors.UndefinedTable:
            if start:
                raise self.damaged("the table is gone") from None
            return []
        except (psycopg.Error, StudyError) as error:
            raise UserError(
                f"{self.place} cannot be read: {first_line(error)}; see that its table tuner_journal is there, "
                "as it was, and that the user may SELECT from it"
            ) from error


class DatabaseJournal(JournalWriter):
    """A journal in a database, written by the connection that holds the study's lock; readers see what is synced.

    Args:
        lock: of the study, held for as long as the journal is written.
    """

    def __init__(self, lock: StudyLock) -> None:
        super().__init__(DatabaseReader(lock.url, lock.sweep_id))
        self._lock = lock
        self._pending: list[str] = []

    def _write(self, lines: list[bytes]) -> None:
        self._pending += [line.decode() for line in lines]

    def sync(self) -> None:
        """Wait until the database has stored every line, each once.

        Raises:
            StudyError: it was out of reach for too long, another driver has taken over, or lines were removed.
        """
        if self._pending:
            try:
                self._lock.run(self._add)
            except psycopg.Error as error:
                raise StudyError(
                    f"the study in {shown(self._lock.url)} cannot be written: {first_line(error)}; see that its table "
                    "tuner_journal is there as it was, and that the user may SELECT, INSERT and UPDATE in it"
                ) from error
            self._pending = []

    def _add(self, connection: psycopg.Connection) -> None:
        sweep_id, first = self._lock.sweep_id, self._num_lines - len(self._pending)
        values = {"sweep": sweep_id, "start": first, "lines": self._pending}
        added = (connection.execute(_ADD.encode(), values).fetchone() or (0,))[0]
        if added < len(self._pending):  # by an earlier attempt, whose answer was lost
            stored = [content for number, content in _rows(connection, sweep_id, first, None) if number != _COUNT]
            if stored != self._pending:
                raise StudyError(
                    f"another driver has written to the study in {shown(self._lock.url)} meanwhile, or its last lines "
                    "were removed"
                )


def remove_study(url: str, sweep_id: str) -> None:
    """Remove all lines of a journal from a database, where a copy of it could not be finished.

    Raises:
        StudyError: the database was out of reach for too long.
    """
    reader(url).run(lambda connection: connection.execute("DELETE FROM tuner_journal WHERE sweep = %s", (sweep_id,)))


def _rows(connection: psycopg.Connection, sweep_id: str, start: int, limit: int | None) -> _Rows:
    values = {"sweep": sweep_id, "start": start, "limit": limit}
    return connection.execute(_READ.encode(), values).fetchall()
