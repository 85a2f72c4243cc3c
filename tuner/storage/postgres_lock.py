"""The lock of a study in PostgreSQL: an advisory lock that lets one driver write, whatever host it runs on."""

from __future__ import annotations

import contextlib
import threading
import time
from typing import Any

import psycopg

from tuner.errors import UserError
from tuner.storage.postgres import LOST, WRITER_PATIENCE_S, Database, StudyError, ensure_table, first_row, reader, shown

_LOCK_WAIT_S = 5.0
_PING_EVERY_S = 0.5
_CLOSE_S = 3.0
# Drivers that lost their lock to a restart of the server take it again before anybody new can.
_RESTARTED_S, _PRECEDENCE_S = 60.0, 2.0
_HOLDER = """SELECT pid, application_name FROM pg_locks LEFT JOIN pg_stat_activity USING (pid)
    WHERE locktype = 'advisory' AND granted AND objsubid = 2 AND classid = %s AND objid = %s
    AND pg_locks.database = (SELECT oid FROM pg_database WHERE datname = current_database())"""


class StudyLock(Database):
    """A connection that holds the advisory lock of a study, and by which `DatabaseJournal` writes the study.

    PostgreSQL releases the lock when the connection ends, so nothing is ever written without it: a connection that is
    made anew takes the lock first. A thread checks an idle connection, so that the lock is soon taken again when the
    server was restarted.

    Attributes:
        sweep_id: the sweep whose study is locked.

    Args:
        url: of the database.
        sweep_id: hexadecimal id of the sweep.

    Raises:
        UserError: the database cannot be used, or another driver holds the lock; the message names it.
    """

    def __init__(self, url: str, sweep_id: str) -> None:
        self.sweep_id = sweep_id
        self._key = _key(sweep_id)
        self._has_held = False
        self._closing = threading.Event()
        super().__init__(url, patience_s=WRITER_PATIENCE_S)
        self._has_held = True
        self._keeper = threading.Thread(target=self._keep, name="study-lock", daemon=True)
        self._keeper.start()

    def close(self) -> None:
        """Release the lock; waits at most 3 s for a server that does not answer."""
        self._closing.set()
        self._keeper.join(_CLOSE_S)

    def _keep(self) -> None:
        try:
            while not self._closing.wait(_PING_EVERY_S):
                with contextlib.suppress(*LOST, StudyError), self._guard:
                    self.once(lambda connection: connection.execute("SELECT 1"))
        finally:
            super().close()

    def _prepare(self, connection: psycopg.Connection) -> None:
        deadline = time.monotonic() + _LOCK_WAIT_S
        if not self._has_held:
            ensure_table(connection)
            deadline += _wait_for_others(connection)
        while not first_row(connection, "SELECT pg_try_advisory_lock(%s, %s)", self._key)[0]:
            holder = first_row(connection, _HOLDER, self._key)
            if holder and holder[1] == self._name:  # ourselves, on a connection that is no more
                connection.execute("SELECT pg_terminate_backend(%s)", holder[:1])
            elif time.monotonic() > deadline:
                raise self._refusal(_who(holder))
            time.sleep(0.1)

    def _refusal(self, who: str) -> Exception:
        if self._has_held:
            return StudyError(f"{who} has taken over the sweep while this driver could not reach {shown(self.url)}")
        return UserError(f"the sweep is being run by {who}")


def holder(url: str, sweep_id: str) -> str | None:
    """Return the process that holds the lock of a study, in words; None if nobody does.

    Args:
        url: of the database.
        sweep_id: hexadecimal id of the sweep.

    Raises:
        UserError: the database cannot be reached or used.
    """
    try:
        row = reader(url).run(lambda connection: first_row(connection, _HOLDER, _key(sweep_id)))
    except (psycopg.Error, StudyError) as error:
        raise UserError(f"whether a driver is at work cannot be asked of {shown(url)}: {error}") from error
    return _who(row) if row else None


def _wait_for_others(connection: psycopg.Connection) -> float:
    """Let drivers that have lost the lock to a restart of the server take it first; return the seconds that took."""
    up_s = float(first_row(connection, "SELECT extract(epoch FROM now() - pg_postmaster_start_time())", ())[0])
    wait_s = _PRECEDENCE_S if up_s < _RESTARTED_S else 0.0
    time.sleep(wait_s)
    return wait_s


def _key(sweep_id: str) -> tuple[int, int]:
    """Return the two numbers, of 31 bits each, that a sweep's lock has."""
    return int(sweep_id[:8], 16) >> 1, int(sweep_id[8:16], 16) >> 1


def _who(holder: tuple[Any, ...]) -> str:
    """Return the process that holds a lock, in words; its name is what `Database` gives."""
    process, _, host = ((holder[1] if holder else "") or "").removeprefix("tuner ").partition("@")
    return f"process {process} on {host.split()[0]}" if process.isdigit() and host else "a process of another user"
