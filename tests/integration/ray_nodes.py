"""Ray nodes as processes of their own on this machine, each with its own session folder, on ports that are free."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path


class RayNodes:
    """A head and nodes that join it, with a token; `environment` is that of whoever uses them."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="tn-"))  # short: Ray's sockets lie in it
        token = self._folder / "token"
        token.touch(0o600)
        token.write_text(secrets.token_hex(32))
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.address = f"127.0.0.1:{free.getsockname()[1]}"
        self._processes: list[subprocess.Popen[bytes]] = []
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")} | {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(token),
            "RAY_ADDRESS": self.address,
            "RAY_worker_niceness": "0",
            "PYTHONPATH": str(Path(__file__).parents[2]),
        }

    def start(self, *options: str, is_head: bool = False, before: Sequence[str] = (), **environment: str) -> int:
        """Start a node, wait until it is there, and return its number.

        Args:
            options: of `ray start`.
            is_head: whether it is the head; the first one is.
            before: a command that runs another one, which is its last arguments.
            environment: what only this node has.
        """
        where = ["--head", f"--port={self.address.rpartition(':')[2]}"] if is_head else [f"--address={self.address}"]
        number = len(self._processes)
        ray = [str(Path(sys.executable).with_name("ray")), "start", "--block", *where, *options]
        fixed = ["--node-ip-address=127.0.0.1", "--object-store-memory=80000000", "--disable-usage-stats"]
        fixed += ["--include-dashboard=false"] if is_head else []
        log = self._folder / f"node-{number}.log"
        mine = {name: value for name, value in self.environment.items() if name != "RAY_ADDRESS"}
        with log.open("wb") as file:
            process = subprocess.Popen(
                [*before, *ray, *fixed, f"--temp-dir={self._folder / str(number)}"],
                env={**mine, **environment},
                stdout=file,
                stderr=subprocess.STDOUT,
            )
        self._processes.append(process)
        deadline = time.monotonic() + 90
        while "Ray runtime started" not in log.read_text():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)
        return number

    def kill(self, number: int) -> None:
        """End a node at once, as a machine that goes out."""
        process = self._processes[number]
        children = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True, check=False)
        for pid in [*map(int, children.stdout.split()), process.pid]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait(30)

    def end(self) -> None:
        """End all nodes, the head last."""
        for process in reversed(self._processes):
            process.terminate()
        for process in self._processes:
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
        shutil.rmtree(self._folder, ignore_errors=True)
