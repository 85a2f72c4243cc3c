"""Ray clusters of separate processes on this machine, with a token: a head and workers that a test can kill by pid."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from tests.support.servers import free_port

ROOT = Path(__file__).parent.parent.parent
RARE_STATISTICS = {"REPORTER_UPDATE_INTERVAL_MS": "120000", "NODE_STATS_UPDATE_INTERVAL_SECONDS": "120"}
"""Each node's agent and the dashboard look at all processes every 5 s and 15 s, which no test needs."""


class Node:
    """One node: a `tuner cluster` command with a folder of its own, like a node on a machine of its own."""

    def __init__(
        self, arguments: list[str], environment: dict[str, str], folder: Path, before: Sequence[str] = ()
    ) -> None:
        self._folder = folder
        self._log = folder / "log"
        command = [*before, sys.executable, "-m", "tuner", "cluster", *arguments]
        command += ["--temp-dir", str(folder), "--object-store-memory", str(100 * 1024**2)]
        with self._log.open("w") as log:
            self.process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)

    @property
    def output(self) -> str:
        """What it has printed so far."""
        return self._log.read_text()

    def wait(self) -> None:
        """Wait until the node has joined its cluster."""
        deadline = time.monotonic() + 200
        while "until Ctrl-C" not in self.output:
            assert self.process.poll() is None, self.output
            assert time.monotonic() < deadline, self.output
            time.sleep(0.1)

    def pid_of(self, name: str) -> int:
        """Return the process of that name, like ``raylet`` or ``gcs_server``."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return next(int(child) for child in children if Path(f"/proc/{child}/comm").read_text().strip() == name)

    def kill(self, name: str) -> None:
        """Kill one of its processes, and wait until all of them have ended, as when a machine fails."""
        os.kill(self.pid_of(name), signal.SIGKILL)
        self.process.wait(60)

    def terminate(self) -> None:
        """Ask it to end, without waiting for that."""
        if self.process.poll() is None:
            self.process.terminate()

    def end(self) -> None:
        """Terminate it, kill it if that takes too long, and remove its folder."""
        self.terminate()
        if self.process.poll() is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(20)
        if self.process.poll() is None:
            self.process.kill()
        shutil.rmtree(self._folder, ignore_errors=True)


class RayCluster:
    """A head, and workers of one CPU each."""

    def __init__(self, token: Path, cpus: int = 0, **variables: str) -> None:
        """Start the head; without CPUs it runs drivers only. All nodes get the environment variables."""
        if not token.exists():
            token.touch(mode=0o600)
            token.write_text("0" * 64)
        # Paths of sockets may have 107 characters, and a test's folder is longer than that.
        self.folder = Path(tempfile.mkdtemp(prefix="ray-"))
        self.token = token
        self.nodes: list[Node] = []
        port, dashboard_port = free_port(), free_port()
        self.gcs = f"127.0.0.1:{port}"
        self.address = f"http://127.0.0.1:{dashboard_port}"
        mine = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "TUNER_", "MLFLOW_"))}
        mine |= {"RAY_AUTH_TOKEN_PATH": str(token), "RAY_worker_niceness": "0", "PYTHONPATH": str(ROOT)}
        mine["RAY_health_check_period_ms"] = "1000"  # a dead node is noticed after five of them; by default 3000 each
        mine |= RARE_STATISTICS | {name: value for name, value in os.environ.items() if name == "TUNER_CACHE"}
        self.environment = {**mine, "PATH": f"{Path(sys.executable).parent}:{mine['PATH']}", **variables}
        self._start("head", "--port", str(port), "--dashboard-port", str(dashboard_port), "--cpus", str(cpus))
        try:
            self._wait()
        except BaseException:
            self.end()
            raise

    @property
    def head(self) -> Node:
        """The head's node."""
        return self.nodes[0]

    @property
    def environment_inside(self) -> dict[str, str]:
        """The environment of a driver on one of its machines, which Ray would set for a job."""
        return {**self.environment, "RAY_AUTH_MODE": "token", "RAY_ADDRESS": self.gcs}

    def add_worker(self, before: Sequence[str] = (), **variables: str) -> Node:
        """Let one more node join.

        Args:
            before: a command that runs another one, which is its last arguments.
            variables: what only this node has.
        """
        node = self._start("join", self.gcs, "--cpus", "1", before=before, **variables)
        node.wait()
        return node

    def get(self, path: str, token: str | None = None) -> int:
        """Return the status with which the dashboard answers."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        try:
            with urllib.request.urlopen(
                urllib.request.Request(self.address + path, headers=headers), timeout=10
            ) as response:
                return int(response.status)
        except urllib.error.HTTPError as error:
            return error.code

    def end(self) -> None:
        """End all nodes, workers first."""
        for worker in self.nodes[1:]:
            worker.terminate()
        for node in reversed(self.nodes):
            node.end()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _start(self, *arguments: str, before: Sequence[str] = (), **variables: str) -> Node:
        folder = self.folder / str(len(self.nodes))
        folder.mkdir()
        # By default these have one port each, which a second node of this machine would miss.
        further = ["--dashboard-agent-listen-port", str(free_port())]
        # Workers on any free port: two nodes of a machine would choose the same of the range that is Ray's default.
        further += ["--min-worker-port", "0", "--max-worker-port", "0"]
        if arguments[0] == "head":
            further += ["--ray-client-server-port", str(free_port())]
        self.nodes.append(Node([*arguments, *further], {**self.environment, **variables}, folder, before))
        return self.nodes[-1]

    def _wait(self) -> None:
        deadline = time.monotonic() + 200
        token = self.token.read_text()
        while time.monotonic() < deadline:
            assert self.head.process.poll() is None, self.head.output
            with contextlib.suppress(OSError):
                if self.get("/api/jobs/", token) == 200:
                    return
            time.sleep(0.2)
        raise AssertionError(self.head.output)
