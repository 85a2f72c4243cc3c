"""A real MLflow server on loopback that a test can kill and start again."""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

# Each worker of pytest-xdist has a thousand ports of its own, below those that the system hands out to anybody.
_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 12
_ports = itertools.cycle(random.sample(range(20000 + 1000 * _WORKER, 21000 + 1000 * _WORKER), 1000))


def free_port() -> int:
    """Return a port of the loopback that nobody listens on now, and that no other test of this run is given."""
    for port in itertools.islice(_ports, 1000):
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no port is free")


class MlflowServer:
    """One server on one database; its processes form a process group, so that all can be killed together."""

    def __init__(self, folder: Path, store: str | None = None) -> None:
        """Set where it keeps artifacts, and runs unless `store` names another database."""
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._store = store or f"sqlite:///{self._database}"
        self._process: subprocess.Popen[bytes] | None = None
        self._port = free_port()
        self.uri = f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Start it, unless it is up; return when it answers."""
        if self._process is None:
            command = ["server", "--backend-store-uri", self._store, "--workers", "1"]
            command += ["--artifacts-destination", str(self._folder / "artifacts"), "--host", "127.0.0.1"]
            environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
            environment["MLFLOW_DISABLE_TELEMETRY"] = "true"
            with (self._folder / "log").open("ab") as log:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "mlflow", *command, "--port", str(self._port)],
                    start_new_session=True,
                    env=environment,
                    stdout=log,
                    stderr=log,
                )
        self._wait()

    def kill(self) -> None:
        """Kill it at once, whatever it is writing."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(30)
            self._process = None

    @contextlib.contextmanager
    def database_locked(self) -> Iterator[None]:
        """Keep everyone else from its database."""
        with contextlib.closing(sqlite3.connect(self._database, timeout=60, isolation_level=None)) as database:
            database.execute("BEGIN EXCLUSIVE")
            yield
            database.execute("ROLLBACK")

    @property
    def _database(self) -> Path:
        return self._folder / "server.db"

    def _wait(self) -> None:
        deadline = time.monotonic() + 180
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError), urllib.request.urlopen(f"{self.uri}/health", timeout=5):
                return
            time.sleep(0.2)
        raise AssertionError((self._folder / "log").read_text())
