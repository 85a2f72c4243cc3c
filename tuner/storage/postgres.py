"""Connections to the PostgreSQL database that holds studies; a connection that is lost is made again.

A URL says where the database is and never holds a password: libpq takes it from ``PGPASSWORD`` or ``PGPASSFILE``. It
is proved to the server by SCRAM alone, which does not show it, and only to servers that the user has named.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import logging
import os
import secrets
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from trainables.common.retries import RetryPolicy
from trainables.errors import StorageError
from tuner.errors import UserError
from tuner.storage import known_servers

SCHEMES = ("postgresql+psycopg://", "postgresql://")
WRITER_PATIENCE_S, READER_PATIENCE_S = 600.0, 60.0
"""For how many seconds an operation is tried again when the connection is lost."""
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.1, 5.0
LOST = (psycopg.OperationalError, psycopg.InterfaceError, psycopg.errors.ReadOnlySqlTransaction)
# A machine that is gone is noticed within half a minute, by either side.
_CLIENT = {"connect_timeout": 10, "keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3}
_CLIENT_TIMEOUT_MS = 25_000
# What may follow the question mark of a URL, which may be that of somebody else's sweep.
_OPTIONS = {
    *("sslmode", "sslrootcert", "sslcrl", "sslcert", "sslkey", "sslsni", "ssl_min_protocol_version", "channel_binding"),
    *("connect_timeout", "keepalives", *_CLIENT, "tcp_user_timeout", "target_session_attrs", "options"),
    *("application_name", "fallback_application_name"),
}
_PASSWORDS = Path("~/.pgpass")
_SERVER_OPTIONS = {"host", "port", "user", "dbname"}  # for a URL without a host: the folder of a socket has slashes
_SERVER = "SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3"
_TABLE = """CREATE TABLE IF NOT EXISTS tuner_journal
    (sweep text NOT NULL, line bigint NOT NULL, content text NOT NULL, PRIMARY KEY (sweep, line))"""
_COLUMNS = {"sweep": "text", "line": "bigint", "content": "text"}
_COLUMNS_THERE = """SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute
    WHERE attrelid = to_regclass('tuner_journal') AND attnum > 0 AND NOT attisdropped"""
_IS_UNIQUE = """SELECT EXISTS (SELECT FROM pg_index WHERE indrelid = to_regclass('tuner_journal') AND indisunique
    AND ARRAY['sweep', 'line']::name[] = ARRAY(SELECT attname FROM pg_attribute
        WHERE attrelid = indrelid AND attnum = ANY(indkey) ORDER BY array_position(indkey::int2[], attnum)))"""
_RIGHTS = ("SELECT", "INSERT", "UPDATE")

_OTHER_WAY = "authentication method requirement"  # begins libpq's words for a server that asks in another way

_log = logging.getLogger(__name__)
_Answer = TypeVar("_Answer")


class StudyError(StorageError):
    """The study cannot be read or written. The driver gives the sweep up, as for a full disk; it can be resumed."""


def conninfo(url: str) -> str:
    """Return the connection string of libpq for a URL.

    Args:
        url: ``postgresql+psycopg://USER@HOST/DATABASE``; options may follow a question mark.

    Raises:
        UserError: it is no PostgreSQL URL, has an option that is not allowed, or holds a password; the message does not
            repeat it.
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
    _check_options(url)
    # Neither the password nor its MD5 is shown to a server. One that asks for none is taken where there is none.
    has_password = any(name in os.environ for name in ("PGPASSWORD", "PGPASSFILE")) or _PASSWORDS.expanduser().exists()
    ours = {"require_auth": "scram-sha-256" if has_password else "scram-sha-256,none", "gssencmode": "disable"}
    return make_conninfo("", **{**_CLIENT, "tcp_user_timeout": _CLIENT_TIMEOUT_MS, **parts, **ours})


def _check_options(url: str) -> None:
    """Refuse options that could send the connection elsewhere, or weaken it."""
    base, _, query = url.partition("?")
    authority = base.partition("://")[2].partition("/")[0]
    allowed = _OPTIONS if authority.rpartition("@")[2] else _OPTIONS | _SERVER_OPTIONS
    unknown = sorted({unquote(option.partition("=")[0]) for option in query.split("&") if option} - allowed)
    if unknown:
        raise UserError(
            f"--study-storage must not have the options {', '.join(map(repr, unknown))}: write "
            f"{SCHEMES[0]}USER@HOST:PORT/DATABASE, with no other options than {', '.join(sorted(allowed))}"
        )


class Database:
    """A connection to PostgreSQL. Operations are tried again, on a new connection, when it is lost.

    Args:
        url: see `conninfo`.
        patience_s: for how many seconds an operation is tried again.
        is_named: whether the user has just named it; otherwise its server must be known.

    Raises:
        UserError: the server is not known (see `tuner.storage.known_servers`), or the database cannot be reached
            or used now.
    """

    def __init__(self, url: str, *, patience_s: float, is_named: bool = False) -> None:
        self.url = url
        self._conninfo = conninfo(url)
        if not is_named:
            known_servers.check_known(conninfo_to_dict(self._conninfo))
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
            raise StudyError(f"{shown(self.url)} is out of reach: {first_line(error)}") from error

    def close(self) -> None:
        """Close the connection."""
        with self._guard:
            self._drop()

    def _warn(self, error: Exception, left_s: float) -> None:
        _log.warning("%s is out of reach, tried again for %.0f s: %s", shown(self.url), left_s, first_line(error))

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
    """Check that a database that the user has named can hold studies, and create the table that it needs.

    Raises:
        UserError: with what to do.
    """
    try:
        with contextlib.closing(Database(url, patience_s=READER_PATIENCE_S, is_named=True)) as database:
            database.run(ensure_table)
    except (psycopg.Error, StudyError) as error:
        raise _unusable(url, error) from error
    known_servers.remember(conninfo_to_dict(conninfo(url)))


def ensure_table(connection: psycopg.Connection) -> None:
    """Create the table that all sweeps share, if it does not exist, and check that it can be used.

    Safe when several processes do so at once.

    Raises:
        UserError: the server is read-only, the table is of another shape, or the user may not use it.
        psycopg.Error: the user may not create it.
    """
    user, database = first_row(connection, "SELECT current_user, current_database()", ())
    if first_row(connection, "SELECT current_setting('transaction_read_only')", ())[0] == "on":
        raise UserError(
            f"the study's database {database!r} is read-only: name the primary server, or end its read-only mode "
            "(default_transaction_read_only)"
        )
    _create_table(connection)
    there: dict[str, str] = dict(connection.execute(_COLUMNS_THERE).fetchall())
    if there != _COLUMNS or not first_row(connection, _IS_UNIQUE, ())[0]:
        columns = ", ".join(f"{name} {kind}" for name, kind in there.items())
        raise UserError(
            f"the study's database {database!r} has a table tuner_journal of another shape ({columns}): rename it, or "
            "choose another --study-storage"
        )
    rights = "SELECT has_table_privilege('tuner_journal', right_) FROM unnest(%s::text[]) AS right_"
    rows = connection.execute(rights, (list(_RIGHTS),)).fetchall()
    missing = [right for right, (has,) in zip(_RIGHTS, rows, strict=True) if not has]
    if missing:
        raise UserError(
            f"the user {user!r} has no right to {', '.join(missing)} in the table tuner_journal of the database "
            f'{database!r}: its owner grants it with GRANT {", ".join(_RIGHTS)} ON tuner_journal TO "{user}"'
        )


def _create_table(connection: psycopg.Connection) -> None:
    if first_row(connection, "SELECT to_regclass('tuner_journal')", ())[0] is None:
        with connection.transaction():
            connection.execute("SELECT pg_advisory_xact_lock(hashtext('tuner_journal'))")
            connection.execute(_TABLE)


def first_row(connection: psycopg.Connection, query: str, values: tuple[int, ...]) -> tuple[Any, ...]:
    """Return the first row of a query, empty if there is none."""
    return connection.execute(query.encode(), values).fetchone() or ()


def _unusable(url: str, error: Exception) -> UserError:
    how = "let it ask for the password by SCRAM" if _OTHER_WAY in str(error) else "put that right"
    return UserError(
        f"the study's database {shown(url)} cannot be used: {first_line(error)}; {how}, or choose another "
        "--study-storage; a password belongs into PGPASSWORD or PGPASSFILE"
    )


def shown(url: str) -> str:
    """Return a database's URL for messages, without its options."""
    return url.partition("?")[0]


def first_line(error: Exception) -> str:
    """Return the first line of an error's message, which says what is wrong; the rest repeats the query."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
