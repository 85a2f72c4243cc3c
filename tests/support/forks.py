"""Commands that begin as a copy of a process in which everything is loaded already, which takes longer than most.

Each is a process of its own with its own session, environment, folder, output and exit code, as if Python had been
started for it. Only what Python itself does at its start is not done again.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import gc
import importlib
import json
import os
import random
import runpy
import select
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
_LOADED = (
    "mlflow.tracking",
    "tuner.cli.app",
    "tuner.execution.search",
    "tuner.execution.confirm",
    "tuner.tracking.sync",
)
_LOOK_EVERY_S = 0.05
_READ_AT_THE_START = ("RAY_", "PYTHON", "LC_", "LANG", "OMP_", "MKL_", "OPENBLAS_", "LD_")
_AND_LATER = ("RAY_ADDRESS", "RAY_AUTH_TOKEN_PATH")


def fits(python: str, environment: Mapping[str, str]) -> bool:
    """Return whether a command begins the same way in a copy: its Python is this one, and so is its environment.

    Variables that are read when a command needs them may differ.
    """
    if environment.get("PYTHONPATH", str(ROOT)) not in (str(ROOT), os.environ.get("PYTHONPATH")):
        return False
    ours = _environment()
    differing = {name for name in {*ours, *environment} if ours.get(name) != environment.get(name)}
    early = {name for name in differing if name.startswith(_READ_AT_THE_START)}
    return python == sys.executable and early <= {*_AND_LATER, "PYTHONPATH"}


class Fork:
    """A command that has been started; what `subprocess.Popen` would be, as far as tests need it."""

    def __init__(
        self, module: str, arguments: Sequence[str], folder: Path, environment: Mapping[str, str], output: Path
    ) -> None:
        self.returncode: int | None = None
        self._ended = output.with_name(f"{output.name}-ended")
        self._ended.unlink(missing_ok=True)
        request = {"module": module, "arguments": arguments, "folder": str(folder), "output": str(output)}
        server = _server()
        assert server.stdin is not None
        assert server.stdout is not None
        server.stdin.write(json.dumps({**request, "environment": dict(environment), "ended": str(self._ended)}) + "\n")
        server.stdin.flush()
        self.pid = int(server.stdout.readline())

    def poll(self) -> int | None:
        """Return its exit code, a signal's number negative; None while it runs."""
        if self.returncode is None and self._ended.exists():
            self.returncode = int(self._ended.read_text())
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end and return its exit code.

        Raises:
            subprocess.TimeoutExpired: it still runs after so many seconds.
        """
        deadline = time.monotonic() + timeout if timeout is not None else float("inf")
        while (code := self.poll()) is None:
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired(str(self._ended), timeout or 0.0)
            time.sleep(_LOOK_EVERY_S)
        return code

    def send_signal(self, number: int) -> None:
        """Send it a signal, unless it has ended."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        """Send it SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send it SIGKILL."""
        self.send_signal(signal.SIGKILL)


def _environment() -> dict[str, str]:
    """Return the environment in which everything is loaded: this process's, without what others have set for Ray."""
    return {name: value for name, value in os.environ.items() if not name.startswith("RAY_")} | {
        "RAY_worker_niceness": "0"
    }


@functools.cache
def _server() -> subprocess.Popen[str]:
    """Return the process that is copied, one for all tests of this process."""
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.support.forks"],
        cwd=ROOT,
        env=_environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
        text=True,
    )
    atexit.register(server.kill)
    return server


def _serve() -> dict[str, object]:
    """Copy this process for each request; return the request, in the copy alone."""
    path = list(sys.path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of MLflow's dependencies, as in a command
        for name in _LOADED:
            importlib.import_module(name)
    sys.path[:] = [folder for folder in path if folder not in ("", str(ROOT))]
    gc.freeze()  # a collection in a copy would copy all that is here
    ends: dict[int, str] = {}
    while True:
        if select.select([0], [], [], _LOOK_EVERY_S if ends else None)[0]:
            line = _read_line()
            if not line:
                os._exit(0)  # the tests have ended
            request = json.loads(line)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # threads of numerical libraries are idle here
                pid = os.fork()
            if pid == 0:
                return dict(request)
            ends[pid] = request["ended"]
            os.write(1, f"{pid}\n".encode())
        for pid in list(ends):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                whole = Path(ends.pop(pid))
                whole.with_suffix(".new").write_text(str(os.waitstatus_to_exitcode(status)))
                whole.with_suffix(".new").rename(whole)


def _read_line() -> bytes:
    """Read one request, and nothing of the next one."""
    line = b""
    while not line.endswith(b"\n"):
        if not (byte := os.read(0, 1)):
            return b""
        line += byte
    return line


def _become(request: dict[str, object]) -> None:
    """Be the command of a request, until this process ends."""
    os.setsid()
    os.chdir(str(request["folder"]))
    os.environ.clear()
    os.environ.update(request["environment"])  # type: ignore[call-overload]
    if folders := os.environ.get("PYTHONPATH"):
        sys.path[:0] = folders.split(os.pathsep)
    for target, name, how in ((0, os.devnull, os.O_RDONLY), (1, str(request["output"]), os.O_WRONLY | os.O_APPEND)):
        opened = os.open(name, how)
        os.dup2(opened, target)
        os.close(opened)
    os.dup2(1, 2)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    random.seed()
    sys.argv = [str(request["module"]), *request["arguments"]]  # type: ignore[misc]
    runpy.run_module(str(request["module"]), run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    _become(_serve())
