"""A real PostgreSQL on loopback, with a password, that a test can restart by its process id."""

from __future__ import annotations

import contextlib
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import psycopg

from tests.support.servers import free_port

USER = "tuner"
_BINARIES = next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)), None)


def missing() -> str | None:
    """Return what keeps PostgreSQL from being started here, None if nothing does."""
    if _BINARIES is None and shutil.which("initdb") is None:
        return "PostgreSQL is not installed: apt-get install postgresql"
    return None if shutil.which("openssl") else "openssl is not installed: apt-get install openssl"


class PostgresServer:
    """One server in a temporary folder; it refuses to run as root, so root starts it as somebody else."""

    def __init__(self) -> None:
        # Beside pytest's own folders, which nobody but their owner may enter.
        self._folder = Path(tempfile.mkdtemp(prefix="tuner-postgres-"))
        self._account = {"user": _account(), "group": _account(), "extra_groups": []} if os.geteuid() == 0 else {}
        if self._account:
            shutil.chown(self._folder, *[_account()] * 2)
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self.password = secrets.token_hex(8)
        self._initialize()

    def _initialize(self) -> None:
        """Make a server of one administrator, and of one user who owns databases and nothing else."""
        password = self._folder / "password"
        password.write_text(self.password)
        options = ["--username", "admin", "--pwfile", str(password), "--auth", "scram-sha-256", "--no-sync"]
        self._do("initdb", "--pgdata", self._data, "--no-instructions", *options)
        self._certify()
        self.start()
        self.execute(f"CREATE ROLE {USER} LOGIN PASSWORD '{self.password}'")

    def _certify(self) -> None:
        """Make its key and a self-signed certificate for 127.0.0.1."""
        key, self.certificate = self._folder / "data/server.key", self._folder / "data/server.crt"
        names = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
        kind = ["-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
        command = ["openssl", "req", *kind, *names, "-keyout", str(key), "-out", str(self.certificate)]
        subprocess.run(command, check=True, capture_output=True, **self._account)

    def start(self) -> None:
        """Start it, unless it is up; return when it answers."""
        if self._process is None:
            options = ["-D", self._data, "-p", str(self._port), "-c", "listen_addresses=127.0.0.1", "-c", "ssl=on"]
            with (self._folder / "log").open("ab") as log:
                self._process = subprocess.Popen(
                    [_binary("postgres"), *options, "-c", "unix_socket_directories="],
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                    **self._account,
                )
        deadline = time.monotonic() + 60
        while True:
            with contextlib.suppress(psycopg.OperationalError):
                self.execute("SELECT 1")
                return
            assert time.monotonic() < deadline, (self._folder / "log").read_text()
            time.sleep(0.1)

    @property
    def environment(self) -> dict[str, str]:
        """What a client needs to use it."""
        return {"PGHOST": "127.0.0.1", "PGPORT": str(self._port), "PGPASSWORD": self.password}

    def crash(self) -> None:
        """End it at once; what is committed is there again when it starts."""
        self._end(signal.SIGQUIT)

    def close(self) -> None:
        """End it and remove what it has written."""
        self._end(signal.SIGQUIT)
        shutil.rmtree(self._folder)

    def database(self) -> str:
        """Make a database of its own and return its URL, which holds no password."""
        name = f"test_{secrets.token_hex(4)}"
        self.execute(f"CREATE DATABASE {name} OWNER {USER}")
        return f"postgresql+psycopg://{USER}@127.0.0.1:{self._port}/{name}"

    def execute(self, statement: str, database: str = "postgres") -> list[tuple]:
        """Run a statement as the administrator and return the rows that it gives."""
        where = {"host": "127.0.0.1", "port": self._port, "dbname": database}
        with psycopg.connect(user="admin", password=self.password, autocommit=True, **where) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    @property
    def _data(self) -> str:
        return str(self._folder / "data")

    def _do(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [_binary(program), *arguments], capture_output=True, text=True, check=False, **self._account
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def _end(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(60)
            self._process = None


def _binary(program: str) -> str:
    return str(_BINARIES / program) if _BINARIES else str(shutil.which(program))


def _account() -> str:
    """Return the user as whom root starts the server."""
    return next(name for name in ("postgres", "nobody") if any(user.pw_name == name for user in pwd.getpwall()))
