"""One Ray for all tests of a session, and the command line as a process of its own."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.forks import Fork, fits
from tests.support.postgres import PostgresServer, missing
from tests.support.sockets import descendants
from tuner.storage import postgres_lock
from tuner.sweep.folder import SweepFolder
from tuner.sweep.reader import read_records

# Ray starts its workers at nice 15, which beside other tests' processes means hardly ever.
OF_FAIR_WORKERS = ("RAY_worker_niceness", "0")


@pytest.fixture(scope="session")
def ray_here() -> Iterator[None]:
    import ray

    from tuner.execution.ray_tune.start import start_ray

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(*OF_FAIR_WORKERS)
        start_ray(num_cpus=2)
    yield
    ray.shutdown()


@pytest.fixture(scope="session")
def _postgres() -> Iterator[PostgresServer]:
    """One server for all tests of a session."""
    if reason := missing():
        pytest.skip(reason)
    server = PostgresServer()
    yield server
    server.close()


@pytest.fixture
def postgres(_postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[PostgresServer]:
    """The server, up, and named in the environment with its user's password, where libpq looks for them."""
    for name, value in _postgres.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(postgres_lock, "_RESTARTED_S", 0.0)  # it has just been started: nobody had a lock before
    _postgres.start()
    yield _postgres
    _postgres.start()


class Command:
    """A command in a process of its own. Its output goes to a file: Ray's processes may hold it open for longer."""

    def __init__(
        self,
        module: str,
        arguments: tuple[str, ...],
        folder: Path,
        environment: dict[str, str],
        output: Path,
        python: str = sys.executable,
    ) -> None:
        self._output = output
        self.process: subprocess.Popen[bytes] | Fork
        if fits(python, environment):
            output.touch()
            self.process = Fork(module, arguments, folder, environment, output)
            return
        with output.open("w") as file:
            self.process = subprocess.Popen(
                [python, "-m", module, *arguments],
                cwd=folder,
                env=environment,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def output(self) -> str:
        """What it has printed so far."""
        return self._output.read_text()

    def terminate_group(self) -> None:
        """Send SIGTERM to its process group, as ``timeout`` does."""
        os.killpg(self.process.pid, signal.SIGTERM)

    def terminate_all(self) -> None:
        """Send SIGTERM to it and to every process that it has started, as systemd does."""
        for pid in descendants(self.process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)

    def finish(self, code: int) -> str:
        """Wait for its end, check its exit code and return its output."""
        returned = self.process.wait(1200)
        assert returned == code, self.output
        return self.output


class CommandLine:
    """Runs `tuner` in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.module, self.python = "tuner", sys.executable
        self.home = folder / "sweeps"
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        for name in ("TUNER_HOME", "MLFLOW_TRACKING_URI"):
            self.environment.pop(name, None)
        self.environment |= [OF_FAIR_WORKERS]
        self._started: list[Command] = []

    def draw_nothing(self) -> None:
        """Leave out a sweep's pictures, which take a driver seconds of computing whenever it ends."""
        self.module = "tests.support.undrawn"
        self.environment["PYTHONPATH"] = str(Path(__file__).parents[2])

    def start(self, *arguments: str) -> Command:
        """Start a command; it is ended with the test."""
        output = self.folder / f"output-{len(self._started)}"
        command = Command(self.module, arguments, self.folder, self.environment, output, self.python)
        self._started.append(command)
        return command

    def run(self, *arguments: str, code: int = 0) -> str:
        """Run a command to its end, check its exit code and return its output."""
        return self.start(*arguments).finish(code)

    def wait_until(self, name: str, condition: Callable[[list], bool], command: Command) -> None:
        """Wait until the records of a running sweep fulfil a condition."""
        deadline = time.monotonic() + 400
        while time.monotonic() < deadline:
            assert command.process.poll() is None, command.output
            if (self.home / name / "sweep.json").exists():
                records = read_records(SweepFolder.open(name, home=self.home))
                if condition(records):
                    return
            time.sleep(0.1)
        raise AssertionError("the sweep did not get there in time")

    def end(self) -> None:
        """End what still runs."""
        for command in self._started:
            if command.process.poll() is None:
                command.process.kill()
                command.process.wait(30)


@pytest.fixture
def command_line(tmp_path: Path) -> Iterator[CommandLine]:
    # What a shell runs in the background is born deaf to Ctrl-C, and so would be whatever is started here.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    line = CommandLine(tmp_path)
    yield line
    line.end()
