"""Connections to the PostgreSQL database that holds studies; a connection that is lost is made again.

A URL says where the database is and never holds a password: libpq takes it from ``PGPASSWORD`` or ``PGPASSFILE``.
"""

from __future__ import annotations

import atexit
import functools
import logging
import os
import secrets
import socket
import threading
from collections.abc import Callable
from typing import Any, TypeVar

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from trainables.common.retries import RetryPolicy
from trainables.errors import StorageError
from tuner.errors import UserError

SCHEMES = ("postgresql+psycopg://", "postgresql://")
WRITER_PATIENCE_S, READER_PATIENCE_S = 600.0, 60.0
"""For how many seconds an operation is tried again when the connection is lost."""
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.1, 5.0
LOST = (psycopg.OperationalError, psycopg.InterfaceError, psycopg.errors.ReadOnlySqlTransaction)
# A machine that is gone is noticed within half a minute, by either side.
_CLIENT = {"connect_timeout": 10, "keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3}
_CLIENT_TIMEOUT_MS = 25_000
_SERVER = "SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3"
_TABLE = """CREATE TABLE IF NOT EXISTS tuner_journal
    (sweep text NOT NULL, line bigint NOT NULL, content text NOT NULL, PRIMARY KEY (sweep, line))"""

_log = logging.getLogger(__name__)
_Answer = TypeVar("_Answer")


class StudyError(StorageError):
    """The study cannot be read or written. The driver gives the sweep up, as for a full disk; it can be resumed."""


def conninfo(url: str) -> str:
    """Return the connection string of libpq for a URL.

    Args:
        url: ``postgresql+psycopg://USER@HOST/DATABASE``; options may follow a question mark.

    Raises:
        UserError: it is no PostgreSQL URL, or holds a password; the message does not repeat it.
    """
    scheme = next((scheme for scheme in SCHEMES if url.startswith(scheme)), None)
    if scheme is None:
        kind = url.partition(":")[0] if "://" in url else "no URL"
        raise UserError(f"--study-storage must be {SCHEMES[0]}USER@HOST/DATABASE, got {kind}")
    try:
        parts = conninfo_to_dict("postgresql://" + url.removeprefix(scheme))
    except (psycopg.ProgrammingError, UnicodeDecodeError):  # whose words may repeat a password
        raise UserError(f"--study-storage is no URL: it must be {SCHEMES[0]}USER@HOST/DATABASE") from None
    if "password" in parts or "sslpassword" in parts:
        raise UserError(
            "--study-storage must not hold a password, which others could read: put it into PGPASSWORD, or into a file "
            "that PGPASSFILE names (mode 0600, host:port:database:user:password)"
        )
    return make_conninfo("", **{**_CLIENT, "tcp_user_timeout": _CLIENT_TIMEOUT_MS, **parts})


class Database:
    """A connection to PostgreSQL. Operations are tried again, on a new connection, when it is lost.

    Args:
        url: see `conninfo`.
        patience_s: for how many seconds an operation is tried again.

    Raises:
        UserError: the database cannot be reached or used now.
    """

    def __init__(self, url: str, *, patience_s: float) -> None:
        self.url = url
        self._conninfo = conninfo(url)
        self._patience_s = patience_s
        self._guard = threading.RLock()
        self._connection: psycopg.Connection | None = None
        self._name = f"tuner {os.getpid()}@{socket.gethostname()[:30]} {secrets.token_hex(4)}"
        try:
            self._connected()
        except psycopg.Error as error:
            raise _unusable(url, error) from error

    def run(self, work: Callable[[psycopg.Connection], _Answer]) -> _Answer:
        """Return the result of an operation.

        Args:
            work: takes the connection. It may be called again although an earlier call had its effect: the connection
                may be lost before the answer arrives.

        Raises:
            StudyError: the database was out of reach for `patience_s`; later calls do not wait again.
        """

        def attempt() -> _Answer:
            with self._guard:
                return self.once(work)

        policy = RetryPolicy(_FIRST_WAIT_S, _LONGEST_WAIT_S, self._patience_s)
        try:
            return policy.call(attempt, lambda error: isinstance(error, LOST), self._warn)
        except LOST as error:
            self._patience_s = 0.0  # whatever comes after this waits no more
            raise StudyError(f"{shown(self.url)} is out of reach: {_first_line(error)}") from error

    def close(self) -> None:
        """Close the connection."""
        with self._guard:
            self._drop()

    def _warn(self, error: Exception, left_s: float) -> None:
        _log.warning("%s is out of reach, tried again for %.0f s: %s", shown(self.url), left_s, _first_line(error))

    def once(self, work: Callable[[psycopg.Connection], _Answer]) -> _Answer:
        """Return the result of an operation, tried once; if the connection is lost, the next call makes a new one.

        Args:
            work: takes the connection.

        Raises:
            Exception: one of `LOST` if the connection is lost.
        """
        try:
            return work(self._connected())
        except LOST:
            self._drop()
            raise

    def _connected(self) -> psycopg.Connection:
        if self._connection is None:
            connection = psycopg.connect(
                self._conninfo, autocommit=True, prepare_threshold=None, application_name=self._name
            )
            try:
                connection.execute(_SERVER)
                self._prepare(connection)
            except BaseException:
                connection.close()
                raise
            self._connection = connection
        return self._connection

    def _prepare(self, connection: psycopg.Connection) -> None:
        """Run what a new connection needs first."""

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


@functools.cache
def reader(url: str) -> Database:
    """Return this process's connection for reading studies in a database.

    Raises:
        UserError: the database cannot be reached or used.
    """
    database = Database(url, patience_s=READER_PATIENCE_S)
    atexit.register(database.close)
    return database


def check(url: str) -> None:
    """Check that a database can hold studies, and create the table that it needs.

    Raises:
        UserError: with what to do.
    """
    try:
        reader(url).run(ensure_table)
    except (psycopg.Error, StudyError) as error:
        raise _unusable(url, error) from error


def ensure_table(connection: psycopg.Connection) -> None:
    """Create the table that all sweeps share, if it does not exist; safe when several processes do so at once."""
    if first_row(connection, "SELECT to_regclass('tuner_journal')", ())[0] is None:
        with connection.transaction():
            connection.execute("SELECT pg_advisory_xact_lock(hashtext('tuner_journal'))")
            connection.execute(_TABLE)


def first_row(connection: psycopg.Connection, query: str, values: tuple[int, ...]) -> tuple[Any, ...]:
    """Return the first row of a query, empty if there is none."""
    return connection.execute(query.encode(), values).fetchone() or ()


def _unusable(url: str, error: Exception) -> UserError:
    return UserError(
        f"the study's database {shown(url)} cannot be used: {_first_line(error)}; put that right, or choose another "
        "--study-storage; a password belongs into PGPASSWORD or PGPASSFILE"
    )


def shown(url: str) -> str:
    """Return a database's URL for messages, without its options."""
    return url.partition("?")[0]


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
