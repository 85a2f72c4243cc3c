"""What surrounds a sweep: code that lies about, secrets, odd folders and locales, and signals to the process group."""

from __future__ import annotations

import base64
import contextlib
import http.server
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.conftest import OF_FAIR_WORKERS
from tests.support.marks import files_with
from tests.support.servers import MlflowServer
from tuner.sweep.folder import SweepFolder
from tuner.sweep.reader import read_records

pytestmark = pytest.mark.ray

ROOT = Path(__file__).parents[2]
SPACE = """\
name: tiny
trainable: standard
dataset: {name: digits, validation: 200}
evaluation: {watch_images: 20, rank_images: 30}
budget: {trials: 1, compute: 1}
search: {sampler: random}
parameters:
  classifier: {architecture: mlp, learning_rate: {float: [1.0e-3, 2.0e-3]}}
"""
# What the packages, and what they start, look for by name; each writes down that it was run.
PLANTED = ("mlflow", "numpy", "optuna", "pickle", "pyarrow", "random", "ray", "search_spaces", "socket", "tempfile")
PLANTED += ("torch", "trainables", "tuner", "uvicorn")
TRAP = "import os, sys\nopen({report!r}, 'a').write(f'{{__file__}} in {{sys.orig_argv}}\\n')\nos._exit(66)\n"
# What pip writes for an entry point.
SCRIPT = """\
import sys
from tuner.cli.app import main
if __name__ == "__main__":
    sys.exit(main())
"""
SECRETS = (
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SECURITY_TOKEN",
    "AWS_SESSION_TOKEN",
    "HF_TOKEN",
    "MLFLOW_TRACKING_PASSWORD",
    "MLFLOW_TRACKING_TOKEN",
    "NCCL_RAS_ADDR",
    "PGPASSWORD",
    "RAY_AUTH_TOKEN",
    "TORCHFT_LIGHTHOUSE",
    "WANDB_API_KEY",
)
MARK = "5ec2e7ba5e5ec2e7ba5e5ec2e7ba5e5e"
USER = "me"
# As it is, and as HTTP has it.
MARKS = (MARK, base64.b64encode(f"{USER}:{MARK}".encode()).decode().rstrip("="))


class _Refusal(http.server.BaseHTTPRequestHandler):
    """Refuses every request, and repeats what it was asked with."""

    def _refuse(self) -> None:
        self.server.asked_with.append(self.headers["Authorization"])  # type: ignore[attr-defined]
        self.send_error(401, f"not with {self.headers['Authorization']}, {USER}:{MARK}")

    do_GET = do_POST = _refuse  # noqa: N815

    def log_message(self, *arguments: object) -> None:
        """Print nothing."""


@contextlib.contextmanager
def refusing(uri: str) -> Iterator[list[str | None]]:
    """Listen on the port of a URL meanwhile, and refuse every request.

    Yields:
        The header ``Authorization`` of each.
    """
    with http.server.ThreadingHTTPServer(("127.0.0.1", int(uri.rpartition(":")[2])), _Refusal) as server:
        server.asked_with = []  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.asked_with  # type: ignore[attr-defined]
        server.shutdown()
        thread.join()


class Surroundings:
    """A folder in which every planted module lies, as in the home of the sweeps, and an environment full of secrets.

    One of them is the password in the URL of an MLflow server, which is not up.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / "home"
        self.report = folder / "report"
        self.current = folder / "current"
        for place in (self.current, self.home):
            place.mkdir()
            for name in PLANTED:
                (place / f"{name}.py").write_text(TRAP.format(report=str(self.report)))
        (self.current / "tiny.yaml").write_text(SPACE)
        self._script = folder / "bin" / "tuner"
        self._script.parent.mkdir()
        self._script.write_text(SCRIPT)
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "MLFLOW_", "TUNER_"))}
        kept |= {"PYTHONPATH": str(ROOT), "TMPDIR": str(folder)}
        kept |= {name: os.environ[name] for name in ("TUNER_CACHE",) if name in os.environ}
        self.environment = {**kept, **dict([OF_FAIR_WORKERS]), **dict.fromkeys(SECRETS, MARK)}
        self.mlflow = MlflowServer(folder / "mlflow")
        self.environment["MLFLOW_TRACKING_URI"] = self.mlflow.uri.replace("://", f"://{USER}:{MARK}@")
        self.printed = ""

    def run(self, *arguments: str, code: int = 0) -> str:
        """Run the `tuner` script, check its exit code, and return what it has printed."""
        command = [sys.executable, str(self._script), *arguments, "--home", str(self.home)]
        done = subprocess.run(
            command, cwd=self.current, env=self.environment, capture_output=True, text=True, check=False, timeout=400
        )
        self.printed += done.stdout + done.stderr
        assert done.returncode == code, (self.printed, self.report.read_text() if self.report.exists() else "")
        return done.stdout + done.stderr


@pytest.fixture(scope="module")
def surroundings() -> Iterator[Surroundings]:
    """A sweep that a detached driver has trained there, evaluated on test images, and in the end sent to MLflow."""
    folder = Path(tempfile.mkdtemp(prefix="t-", dir="/tmp"))  # short: Ray's sockets lie below it
    made = Surroundings(folder)
    try:
        with refusing(made.mlflow.uri) as asked_with:
            made.run("launch", "tiny.yaml", "--name", "a", "--detach")
            made.run("watch", "a")
            made.run("evaluate", "a", "--images", "20")
            assert "cannot be written" in made.run("sync", "a", code=2)
        assert asked_with
        assert MARKS[1] in asked_with[0]
        assert "cannot be written" in made.run("sync", "a", code=2)  # nobody listens
        made.mlflow.start()
        made.run("sync", "a")
        yield made
    finally:
        made.mlflow.kill()
        shutil.rmtree(folder, ignore_errors=True)


def test_no_code_is_taken_from_the_current_folder_or_the_home(surroundings: Surroundings):
    assert not surroundings.report.exists(), surroundings.report.read_text()
    (record,) = read_records(SweepFolder.open("a", home=surroundings.home))
    assert record.state == "complete"


def test_no_secret_of_the_environment_is_printed_or_in_any_file(surroundings: Surroundings):
    surroundings.run("status", "a")
    surroundings.run("verify", "a")
    assert "a in MLflow: http://127.0.0.1:" in surroundings.run("ui")
    assert "MLflow cannot be written" in surroundings.run("logs", "a")
    assert not [mark for mark in MARKS if mark in surroundings.printed]
    names = {path.name for path in surroundings.folder.rglob("*")}
    assert "runtime_env_agent.log" in names, "Ray's session is not where it was looked for"
    assert {"driver.log", "server.db", "provenance.json"} <= names
    assert not files_with(surroundings.folder, *MARKS)


def test_other_users_cannot_enter_the_session_of_ray(surroundings: Surroundings):
    folder = surroundings.folder / f"tuner-{os.getuid()}"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert list(folder.glob("ray/session_*/sockets"))


ODD = """\
import sys, threading
from tuner import Sweep

def launch():
    print(Sweep.launch(sys.argv[1], home=sys.argv[2]).ending.completed)

thread = threading.Thread(target=launch)
thread.start()
thread.join()
"""


def test_a_thread_launches_it_without_a_home_directory_below_long_and_foreign_names(tmp_path):
    """Each of these alone ended in a traceback, or 60 seconds late with exit code 1."""
    long = tmp_path / ("x" * 120)
    home = tmp_path / "données"
    long.mkdir()
    (tmp_path / "tiny.yaml").write_text(SPACE)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "MLFLOW_", "TUNER_"))}
    kept |= {name: os.environ[name] for name in ("TUNER_CACHE",) if name in os.environ}
    kept |= {"PYTHONPATH": str(ROOT), "TMPDIR": str(long), "MPLBACKEND": "inline", **dict([OF_FAIR_WORKERS])}
    kept |= {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    kept.pop("HOME", None)
    command = [sys.executable, "-c", ODD, str(tmp_path / "tiny.yaml"), str(home)]
    done = subprocess.run(command, cwd=tmp_path, env=kept, capture_output=True, check=False, timeout=400)
    # If Ray ended with the thread, the exit code would be 1.
    assert (done.returncode, done.stdout[:4]) == (0, b"True"), done.stdout + done.stderr
